//! The scales of an instrument hold the numbers that the venue sends.

use std::collections::BTreeMap;

use marketprism_adapter_host::contract::{Decimal, Payload};
use marketprism_adapter_sdk::decimal::to_text;

use crate::case::{Case, Cases};
use crate::convert::ToSdk;
use crate::findings::Findings;
use crate::numbers::atto;
use crate::report::Check;

use super::decimals::run;

/// One in so many numbers may be finer than the instrument's scale: orders that were placed before the venue made its steps coarser stay in
/// the book.
const FINER_ONE_IN: usize = 20;

#[derive(Default)]
struct ScaleCounts {
    numbers: usize,
    finer: usize,
    /// The first finer one.
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
    let Some(normalized) = run(case) else { return all };
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
