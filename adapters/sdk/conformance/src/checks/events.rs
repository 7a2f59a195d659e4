//! Checks of the events and notes of golden and recorded frames.

use std::collections::BTreeMap;
use std::path::Path;

use marketprism_adapter_host::contract::{Decimal, Payload, Remark};
use marketprism_adapter_sdk::decimal::to_text;
use marketprism_adapter_sdk::testkit::start_lines;
use serde_json::Value;

use crate::case::{Case, Cases};
use crate::convert::ToSdk;
use crate::difference::first_line;
use crate::evidence::{Evidence, unexplained_events};
use crate::numbers::{Numbers, atto};
use crate::report::{Check, Findings};
use crate::session::lines;

/// Gives all frames one by one. The host refuses a result in which a frame has neither an event nor a note; a recording, which a
/// venue really sent, has to be read without a malformed frame.
pub(crate) fn frames(cases: &Cases<'_>) -> Check {
    let promise = "gives every frame an event or a note, and calls nothing malformed that a venue sent";
    let mut findings = Findings::new("frames", promise);
    if cases.frame_count() == 0 {
        return findings.skipped(super::NO_FRAMES);
    }
    let (mut events, mut notes) = (0, 0);
    for case in &cases.cases {
        let normalized = match case.normalize(1) {
            Ok(normalized) => normalized,
            Err(error) => {
                findings.cause(error);
                continue;
            }
        };
        events += normalized.events.len();
        notes += normalized.notes.len();
        for note in normalized.notes.iter().filter(|_| case.is_recording()) {
            if let Remark::Malformed(malformed) = &note.remark {
                let place = case.place(note.frame as usize);
                findings.cause(format!("{place}: malformed at byte {}: {}", malformed.at, malformed.what));
            }
        }
    }
    findings.done(format!("{} frames: {events} events, {notes} notes", cases.frame_count()))
}

const BATCH: usize = 64;

/// Compares what the component makes of the golden frames with the golden output, line by line.
pub(crate) fn golden(cases: &Cases<'_>) -> Check {
    let mut findings = Findings::new("golden", "makes of the golden frames what the golden output says");
    let Some((start, expected)) = &cases.start else {
        return findings.skipped("no golden frames for this exchange");
    };
    let (instruments, plan) = (start.instruments.to_sdk(), start.plan.to_sdk());
    compare("instruments", expected, &start_lines(&instruments, &plan), &mut findings);
    let (mut count, mut frames) = (1, 0);
    for case in &cases.cases {
        let Some(expected) = &case.expected else { continue };
        count += 1;
        frames += case.frames.len();
        match case.normalize(BATCH) {
            Ok(normalized) => compare(&case.name, expected, &lines(&case.market, &normalized), &mut findings),
            Err(error) => findings.cause(error),
        }
    }
    findings.done(format!("{count} cases, {frames} frames"))
}

fn compare(name: &str, path: &Path, came: &[Value], findings: &mut Findings) {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => return findings.cause(format!("{name}: expected output {}: {error}", path.display())),
    };
    let expected: Result<Vec<Value>, _> = text.lines().map(serde_json::from_str).collect();
    match expected {
        Ok(expected) => {
            if let Some((line, difference)) = first_line(&expected, came) {
                findings.cause(format!("{name} line {}, {difference}", line + 1));
            }
        }
        Err(error) => findings.cause(format!("{name}: expected output {}: {error}", path.display())),
    }
}

/// Looks for every number of every event in the text of its frame.
pub(crate) fn decimals(cases: &Cases<'_>) -> Check {
    let promise =
        "gives only numbers that stand in the frame, exactly, or follow from contract size and value";
    let mut findings = Findings::new("decimals", promise);
    if cases.frame_count() == 0 {
        return findings.skipped(super::NO_FRAMES);
    }
    let mut events = 0;
    for case in &cases.cases {
        // Faults are findings of the check `frames`.
        let Ok(normalized) = case.normalize(BATCH) else { continue };
        events += normalized.events.len();
        let mut earlier = Numbers::default();
        let by_frame = normalized.by_frame(case.frames.len());
        for (index, (frame, (_, own, _))) in case.frames.iter().zip(by_frame).enumerate() {
            let is_json = serde_json::from_slice::<Value>(&frame.bytes).is_ok();
            let numbers = Numbers::of(&frame.bytes, is_json);
            let evidence =
                Evidence { frame: &numbers, earlier: &earlier, instruments: &case.market.instruments };
            for found in unexplained_events(own, &normalized.levels, evidence) {
                findings.cause(format!("{}, {found}", case.place(index)));
            }
            // A book's numbers explain nothing else.
            if own.iter().all(|event| !matches!(event.payload, Payload::Book(_))) {
                earlier.add(&numbers);
            }
        }
    }
    findings.done(format!("{events} events"))
}

/// One in so many numbers may be finer than the instrument's scale: orders that were placed before the venue made its steps coarser stay in
/// the book.
const FINER_ONE_IN: usize = 20;

#[derive(Default)]
struct ScaleCounts {
    numbers: usize,
    finer: usize,
    example: Option<String>,
}

/// Counts prices and quantities that do not fit the scales of their instrument. Golden frames hold invented extremes, so only recorded ones
/// count.
pub(crate) fn scales(cases: &Cases<'_>) -> Check {
    let promise = "declares scales that hold the prices and quantities which the venue sends";
    let mut findings = Findings::new("scales", promise);
    let recorded: Vec<&Case<'_>> = cases.cases.iter().filter(|case| case.is_recording()).collect();
    if recorded.is_empty() {
        return findings.skipped("no recording: golden frames may hold extremes that no instrument has");
    }
    let (mut numbers, mut finer) = (0, 0);
    for case in recorded {
        for (instrument, counts) in count(case) {
            numbers += counts.numbers;
            finer += counts.finer;
            if counts.finer * FINER_ONE_IN > counts.numbers {
                let (name, example) = (case.market.name(instrument), counts.example.unwrap_or_default());
                let (finer, all) = (counts.finer, counts.numbers);
                findings.cause(format!(
                    "{name}: {finer} of {all} numbers are finer than its scales, first {example}"
                ));
            }
        }
    }
    findings.done(format!("{numbers} numbers of recordings, {finer} of them finer"))
}

fn count(case: &Case<'_>) -> BTreeMap<u32, ScaleCounts> {
    let mut all: BTreeMap<u32, ScaleCounts> = BTreeMap::new();
    let Ok(normalized) = case.normalize(BATCH) else { return all };
    for event in &normalized.events {
        let mut pair = |instrument: u32, price: Decimal, quantity: Decimal| {
            let Some(one) = case.market.instruments.get(instrument as usize) else { return };
            let counts = all.entry(instrument).or_default();
            for (what, number, scale) in
                [("price", price, one.price_scale), ("quantity", quantity, one.quantity_scale)]
            {
                let unit = 10_i128.pow(u32::from(18_u8.saturating_sub(scale)));
                counts.numbers += 1;
                if atto(number) % unit != 0 {
                    counts.finer += 1;
                    counts.example.get_or_insert_with(|| {
                        let (text, place) = (to_text(number.to_sdk()), case.place(event.frame as usize));
                        format!("{place}: {what} is {text}, the scale is {scale}")
                    });
                }
            }
        };
        match &event.payload {
            Payload::Trade(trade) => pair(trade.instrument, trade.price, trade.quantity),
            Payload::Liquidation(forced) => pair(forced.instrument, forced.price, forced.quantity),
            Payload::Book(book) => {
                let from = book.levels_at as usize;
                let count = 2 * (book.bids as usize + book.asks as usize);
                let levels = normalized.levels.get(from..from + count).unwrap_or_default();
                for [price, quantity] in levels.as_chunks::<2>().0 {
                    let price = Decimal { mantissa: *price, scale: book.price_scale };
                    pair(book.instrument, price, Decimal { mantissa: *quantity, scale: book.quantity_scale });
                }
            }
            _ => {}
        }
    }
    all
}
