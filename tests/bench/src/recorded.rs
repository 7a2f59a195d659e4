//! Recorded events by stream, and their continuation to tables of a realistic size.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use marketprism_schema::{Body, BookLevels, DataType, Decimal, Event, EventId, StreamId, decode_json};
use marketprism_tests::parts;

/// Captures of venues: file, adapter, exchange.
const RECORDINGS: [(&str, &str, &str); 5] = [
    ("binance_spot.jsonl", "binance", "binance_spot"),
    ("binance_derivatives.jsonl", "binance", "binance_derivatives"),
    ("okx.jsonl", "okx", "okx_spot"),
    ("okx.jsonl", "okx", "okx_derivatives"),
    ("deribit.jsonl", "deribit", "deribit_derivatives"),
];
/// Frames of the adapters' tests, for the types that no capture holds: adapter, exchange, and what the file is named for.
const FRAMES: [(&str, &str, &str); 4] = [
    ("binance", "binance_derivatives", "funding"),
    ("binance", "binance_derivatives", "liquidations"),
    ("binance", "binance_derivatives", "polls"),
    ("deribit", "deribit_derivatives", "volatility"),
];
const MILLISECOND_NS: i64 = 1_000_000;

/// Events of one stream, as JSON lines in order.
pub struct RecordedStream {
    pub id: StreamId,
    pub lines: Vec<String>,
    /// Length of the capture; none for frames of tests.
    pub seconds: Option<f64>,
}

/// Streams of these types in the captures.
pub fn captured(data_types: &[DataType]) -> Result<Vec<RecordedStream>> {
    let mut streams = Vec::new();
    for (file, adapter, exchange) in RECORDINGS {
        let file = parts::recording(file).with_context(|| format!("recording {file} is not here"))?;
        // Each type on its own: states of a book are rare where its changes are asked for.
        for data_type in data_types {
            let asked = ["--data-type", data_type.as_str()];
            let replayed = replayed(&[&file], adapter, exchange, &asked)?;
            let received = replayed.iter().flat_map(|(_, lines)| lines).map(|(at_ns, _)| *at_ns);
            let span_ns = received.clone().max().zip(received.min()).map_or(0, |(last, first)| last - first);
            let seconds = Some(span_ns as f64 / 1e9);
            streams.extend(replayed.into_iter().map(|(id, lines)| RecordedStream::new(id, lines, seconds)));
        }
    }
    Ok(streams)
}

/// Streams of the other types, of which the adapters' tests have some frames.
pub fn of_tests() -> Result<Vec<RecordedStream>> {
    let mut streams = Vec::new();
    for (adapter, exchange, name) in FRAMES {
        let folder = parts::root().join("adapters").join(adapter).join("frames");
        let files = ["instruments", name].map(|name| folder.join(format!("{exchange}.{name}.jsonl")));
        let replayed = replayed(&[&files[0], &files[1]], adapter, exchange, &[])?;
        streams.extend(replayed.into_iter().map(|(id, lines)| RecordedStream::new(id, lines, None)));
    }
    Ok(streams)
}

/// Lines with the time of their receipt, by stream. Frames of tests may be malformed.
type ReplayedLines = Vec<(StreamId, Vec<(i64, String)>)>;

fn replayed(files: &[&Path], adapter: &str, exchange: &str, more: &[&str]) -> Result<ReplayedLines> {
    let output = Command::new(parts::binary("marketprism-edge"))
        .args(["replay", "--exchange", exchange, "--adapter"])
        .arg(parts::adapter(adapter))
        .args(more)
        .args(files)
        .output()?;
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let is_read = matches!(output.status.code(), Some(0 | 2));
    ensure!(is_read, "replay of {files:?}: {errors}");
    let mut lines: BTreeMap<String, Vec<(i64, String)>> = BTreeMap::new();
    for line in String::from_utf8(output.stdout)?.lines() {
        let event = decode_json(line.as_bytes())?;
        let header = &event.header;
        let data_type = event.body.data_type();
        let id = StreamId::new(data_type, &header.exchange, header.market_type, &header.symbol)?;
        lines.entry(id.to_string()).or_default().push((header.received_at_ns, line.to_owned()));
    }
    lines.into_iter().map(|(id, lines)| Ok((StreamId::parse(&id)?, lines))).collect()
}

/// Kind of a number, which decides how a continuation varies it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Price,
    Quantity,
    /// A number of the venue's that rises.
    Id,
    Other,
}

impl RecordedStream {
    fn new(id: StreamId, lines: Vec<(i64, String)>, seconds: Option<f64>) -> Self {
        Self { id, lines: lines.into_iter().map(|(_, line)| line).collect(), seconds }
    }

    /// The events with the scales of their instrument, which JSON leaves out. Snapshots among changes of books are left out: one comes in ten minutes.
    pub fn events(&self) -> Result<Vec<Event<'_>>> {
        let mut events = Vec::with_capacity(self.lines.len());
        for line in &self.lines {
            let event = decode_json(line.as_bytes())?;
            if !matches!(&event.body, Body::OrderBookDelta(delta) if delta.is_snapshot) {
                events.push(event);
            }
        }
        let mut scales = (0, 0);
        for event in &mut events {
            with_scales(event, &mut |price, quantity, _| {
                scales = (scales.0.max(price), scales.1.max(quantity));
                scales
            });
        }
        for event in &mut events {
            with_scales(event, &mut |_, _, _| scales);
        }
        Ok(events)
    }

    /// The events so many times in a row, the last ones received just before `now_ns`. Each copy has the rhythm of the recorded ones, but prices at
    /// other distances, other quantities and other steps of ids, so that no copy is the compression of another: a price or quantity
    /// that comes again within the recording comes again within the copy.
    pub fn continued(&self, copies: i64, now_ns: i64) -> Result<Vec<Event<'_>>> {
        let recorded = self.events()?;
        let first_ns = recorded.iter().map(|event| event.header.received_at_ns).min().unwrap_or_default();
        // Frames of tests are from times far apart.
        let after_ns = |place: i64, event: &Event<'_>| match self.seconds {
            Some(_) => event.header.received_at_ns - first_ns,
            None => place * 1_000 * MILLISECOND_NS,
        };
        let times = (0_i64..).zip(&recorded).map(|(place, event)| after_ns(place, event));
        let span_ns = times.max().unwrap_or_default() + 1_000 * MILLISECOND_NS;
        let begin_ns = now_ns - copies * span_ns;
        let numbers = |field| {
            let mut found = BTreeSet::new();
            for mut event in recorded.clone() {
                each_number(&mut event, &mut |of, number| {
                    found.extend((of == field).then_some(*number));
                });
            }
            found
        };
        let (prices, ids) = (numbers(Field::Price), numbers(Field::Id));
        let mut events = Vec::new();
        let (mut price, mut next_id) =
            (prices.first().copied().unwrap_or_default(), ids.first().copied().unwrap_or_default());
        let lowest = price;
        for copy in 0..copies {
            let noise = Noise { stream: &self.id.to_string(), copy };
            let price_of = stretched(&prices, price, &noise, |gap, tick| tick * (gap / tick + 1));
            let id_of = stretched(&ids, next_id, &noise, |gap, _| gap);
            for (place, event) in (0_i64..).zip(&recorded) {
                let mut event = event.clone();
                let at_ns = begin_ns + copy * span_ns + after_ns(place, &event);
                let moved_ns = at_ns - event.header.received_at_ns;
                event.header.received_at_ns += moved_ns + noise.below(&place, 5 * MILLISECOND_NS);
                let moved_us = match self.seconds {
                    Some(_) => moved_ns / 1_000,
                    None => at_ns / 1_000 - 50_000 - event.header.timestamp_us,
                };
                event.header.timestamp_us += moved_us + 1_000 * noise.below(&(place, "venue"), 3);
                for time_us in other_times(&mut event.body) {
                    *time_us += moved_us;
                }
                let mut at = 0_i64;
                each_number(&mut event, &mut |field, number| {
                    at += 1;
                    match field {
                        Field::Price => *number = price_of.get(number).copied().unwrap_or(*number),
                        Field::Id => *number = id_of.get(number).copied().unwrap_or(*number),
                        Field::Quantity => *number += noise.below(number, *number / 8),
                        // A hundredth part up or down.
                        Field::Other => *number += noise.below(&(place, at), *number / 50) - *number / 100,
                    }
                });
                if let Body::OrderBookDelta(delta) = &mut event.body {
                    delta.number += u64::try_from(copy)? * recorded.len() as u64;
                    delta.epoch_started_ns += begin_ns - first_ns;
                }
                event.header.event_id = EventId::of(&event);
                events.push(event);
            }
            let tick = tick(&prices);
            // Options are worth a few ticks: never below the recorded prices.
            price = lowest.max(price + tick * (noise.below(&"walk", 41) - 20));
            next_id = id_of.values().max().copied().unwrap_or_default() + 1;
        }
        Ok(events)
    }
}

/// Numbers that look random and are the same in each run.
struct Noise<'a> {
    stream: &'a str,
    copy: i64,
}

impl Noise<'_> {
    /// From 0 up to the limit, exclusive; 0 for the recorded events themselves, and for a limit below 2.
    fn below(&self, what: &impl std::hash::Hash, limit: i64) -> i64 {
        if self.copy == 0 || limit < 2 {
            return 0;
        }
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one((self.stream, self.copy, what));
        i64::try_from(hash % limit.unsigned_abs()).unwrap_or_default()
    }
}

/// Greatest common divisor of the distances.
fn tick(numbers: &BTreeSet<i64>) -> i64 {
    let gaps = numbers.iter().zip(numbers.iter().skip(1)).map(|(low, high)| high - low);
    gaps.fold(0, |mut a, mut b| {
        while b != 0 {
            (a, b) = (b, a % b);
        }
        a
    })
    .max(1)
}

/// The numbers in their order from `first` on, each distance longer by less than `most` of it and the tick.
fn stretched(
    numbers: &BTreeSet<i64>,
    first: i64,
    noise: &Noise<'_>,
    most: impl Fn(i64, i64) -> i64,
) -> HashMap<i64, i64> {
    let tick = tick(numbers);
    let mut last = None;
    let step = |&number: &i64| {
        let (before, at) = last.unwrap_or((number, first));
        let gap = number - before;
        let extra = noise.below(&number, most(gap, tick) / tick) * tick;
        let at = if last.is_some() { at + gap + extra } else { at };
        last = Some((number, at));
        (number, at)
    };
    numbers.iter().map(step).collect()
}

/// Gives the scales of prices and quantities, and takes those that they shall have.
fn with_scales(event: &mut Event<'_>, choose: &mut dyn FnMut(u8, u8, DataType) -> (u8, u8)) {
    let data_type = event.body.data_type();
    match &mut event.body {
        Body::Trade(trade) => {
            let (price, quantity) = choose(trade.price.scale, trade.quantity.scale, data_type);
            rescale(&mut trade.price, price);
            rescale(&mut trade.quantity, quantity);
        }
        Body::OrderBook(book) => rescale_levels(&mut book.levels, data_type, choose),
        Body::OrderBookDelta(delta) => rescale_levels(&mut delta.levels, data_type, choose),
        Body::Quote(quote) => {
            let scales = choose(quote.price_scale, quote.quantity_scale, data_type);
            let rescaled = |[price, quantity]: [Decimal; 2]| {
                Some([price.rescale(scales.0)?, quantity.rescale(scales.1)?])
            };
            [quote.bid, quote.ask] = quote.decimals().map(|level| level.and_then(rescaled));
            (quote.price_scale, quote.quantity_scale) = scales;
        }
        _ => {}
    }
}

fn rescale(number: &mut Decimal, scale: u8) {
    if let Some(mantissa) = number.rescale(scale) {
        *number = Decimal { mantissa, scale };
    }
}

fn rescale_levels(
    levels: &mut BookLevels<'_>,
    data_type: DataType,
    choose: &mut dyn FnMut(u8, u8, DataType) -> (u8, u8),
) {
    let (price, quantity) = choose(levels.price_scale, levels.quantity_scale, data_type);
    let factor = |from: u8, to: u8| 10_i64.pow(u32::from(to.saturating_sub(from)));
    let factors = [factor(levels.price_scale, price), factor(levels.quantity_scale, quantity)];
    for level in levels.bids.to_mut().iter_mut().chain(levels.asks.to_mut()) {
        *level = [level[0] * factors[0], level[1] * factors[1]];
    }
    (levels.price_scale, levels.quantity_scale) =
        (levels.price_scale.max(price), levels.quantity_scale.max(quantity));
}

fn each_number(event: &mut Event<'_>, with: &mut dyn FnMut(Field, &mut i64)) {
    let mut other = |number: Option<&mut Decimal>| {
        if let Some(number) = number {
            with(Field::Other, &mut number.mantissa);
        }
    };
    match &mut event.body {
        Body::Trade(trade) => {
            with(Field::Price, &mut trade.price.mantissa);
            with(Field::Quantity, &mut trade.quantity.mantissa);
            if let Ok(mut id) = trade.trade_id.parse::<i64>() {
                with(Field::Id, &mut id);
                trade.trade_id = id.to_string().into();
            }
        }
        Body::OrderBook(book) => {
            with(Field::Id, &mut book.last_update_id);
            each_level(&mut book.levels, with);
        }
        Body::OrderBookDelta(delta) => {
            with(Field::Id, &mut delta.first_update_id);
            if let Some(id) = &mut delta.previous_update_id {
                with(Field::Id, id);
            }
            with(Field::Id, &mut delta.last_update_id);
            each_level(&mut delta.levels, with);
        }
        Body::Quote(quote) => {
            with(Field::Id, &mut quote.last_update_id);
            for [price, quantity] in [&mut quote.bid, &mut quote.ask].into_iter().flatten() {
                with(Field::Price, price);
                with(Field::Quantity, quantity);
            }
        }
        Body::FundingRate(rate) => {
            [Some(&mut rate.funding_rate), rate.mark_price.as_mut(), rate.index_price.as_mut()]
                .into_iter()
                .for_each(other);
        }
        Body::OpenInterest(interest) => {
            other(interest.open_interest.as_mut());
            other(interest.open_interest_contracts.as_mut());
            other(interest.open_interest_value.as_mut());
        }
        Body::Liquidation(order) => {
            other(Some(&mut order.price));
            other(Some(&mut order.quantity));
        }
        // Shares have to sum up to 1.
        Body::LsrTopPosition(_) | Body::LsrAllAccount(_) => {}
        Body::VolatilityIndex(index) => other(Some(&mut index.index_value)),
    }
}

/// Further times of the venue's, microseconds.
fn other_times<'a>(body: &'a mut Body<'_>) -> impl Iterator<Item = &'a mut i64> {
    let times = match body {
        Body::FundingRate(rate) => [rate.funding_time_us.as_mut(), rate.next_funding_time_us.as_mut()],
        Body::Liquidation(order) => [order.liquidation_time_us.as_mut(), None],
        _ => [None, None],
    };
    times.into_iter().flatten()
}

fn each_level(levels: &mut BookLevels<'_>, with: &mut dyn FnMut(Field, &mut i64)) {
    for [price, quantity] in levels.bids.to_mut().iter_mut().chain(levels.asks.to_mut()) {
        with(Field::Price, price);
        with(Field::Quantity, quantity);
    }
}
