//! The host's checks of well-formed results with any content, and the order-book engine on what they let through.

use std::collections::BTreeMap;

use marketprism_adapter_host::contract::{
    Book, BookChange, Decimal, Event, FundingRate, Ignored, Liquidation, LongShortRatio, Malformed,
    Normalized, Note, OpenInterest, Payload, Remark, Side, Trade, TradeId, VenueError, VolatilityIndex,
};
use marketprism_adapter_host::fixtures::check;
use marketprism_book::{BookSettings, SequenceRule, SnapshotSource};

const FRAMES: usize = 4;
const INSTRUMENTS: usize = 3;

/// Makes a result of the bytes; what the host accepts has to be safe to use.
pub(crate) fn run(input: &[u8]) {
    let mut reader = Reader::new(input);
    let (rule, source) = (reader.u8(), reader.u8());
    let result = normalized(&mut reader);
    if check(&result, FRAMES, INSTRUMENTS).is_err() {
        return;
    }
    let mut meant = [false; FRAMES];
    let frames =
        result.events.iter().map(|event| event.frame).chain(result.notes.iter().map(|note| note.frame));
    for frame in frames {
        match meant.get_mut(frame as usize) {
            Some(meant) => *meant = true,
            None => panic!("frame {frame} was accepted, there are {FRAMES}"),
        }
    }
    assert!(meant.iter().all(|meant| *meant), "a frame without a meaning was accepted");
    books(&result, settings(rule, source));
}

fn settings(rule: u8, source: u8) -> BookSettings {
    let rule = match rule % 3 {
        0 => SequenceRule::Unnumbered,
        1 => SequenceRule::Contiguous,
        _ => SequenceRule::Chained,
    };
    let source = if source.is_multiple_of(2) { SnapshotSource::Request } else { SnapshotSource::InBand };
    let depth_limit = (source == SnapshotSource::InBand && rule == SequenceRule::Unnumbered).then_some(2);
    BookSettings { depth_limit, ..BookSettings::new(rule, source, 3) }
}

/// Applies every book event as an edge does.
fn books(result: &Normalized, settings: BookSettings) {
    let mut books: BTreeMap<u32, marketprism_book::Book> = BTreeMap::new();
    for event in &result.events {
        let Payload::Book(event) = &event.payload else { continue };
        assert!((event.instrument as usize) < INSTRUMENTS, "{event:?} was accepted");
        let Some(update) = event.update(&result.levels, 1) else {
            panic!("{event:?} was accepted with {} levels", result.levels.len())
        };
        let book = books.entry(event.instrument).or_insert_with(|| marketprism_book::Book::new(settings));
        book.apply(&update);
        if let Some(view) = book.view() {
            assert!(
                view.bids().map(|(price, _)| price).is_sorted_by(|one, next| one > next),
                "bids {event:?}"
            );
            assert!(
                view.asks().map(|(price, _)| price).is_sorted_by(|one, next| one < next),
                "asks {event:?}"
            );
            assert!(view.bids().chain(view.asks()).all(|(_, quantity)| quantity > 0), "quantities {event:?}");
        }
    }
}

fn normalized(reader: &mut Reader<'_>) -> Normalized {
    let mut result = Normalized { events: Vec::new(), levels: Vec::new(), notes: Vec::new() };
    // Most results are in order, so that the checks after the order are reached.
    let in_order = reader.u8() % 4 != 3;
    for _ in 0..reader.u8() % 32 {
        result.levels.push(reader.i64());
    }
    while !reader.is_empty() {
        let frame = reader.index();
        if reader.u8().is_multiple_of(3) {
            result.notes.push(Note { frame, remark: remark(reader) });
        } else {
            result.events.push(Event { frame, payload: payload(reader) });
        }
    }
    if in_order {
        result.events.sort_by_key(|event| event.frame);
        result.notes.sort_by_key(|note| note.frame);
    }
    result
}

fn decimal(reader: &mut Reader<'_>) -> Decimal {
    Decimal { mantissa: reader.i64(), scale: reader.u8() % 20 }
}

fn id(reader: &mut Reader<'_>) -> TradeId {
    if reader.u8().is_multiple_of(2) {
        TradeId::Number(reader.i64().unsigned_abs())
    } else {
        TradeId::Text(reader.text())
    }
}

fn side(reader: &mut Reader<'_>) -> Side {
    if reader.u8().is_multiple_of(2) { Side::Buy } else { Side::Sell }
}

fn remark(reader: &mut Reader<'_>) -> Remark {
    match reader.u8() % 6 {
        0 => Remark::Ignored(Ignored::Status),
        1 => Remark::VenueError(VenueError { code: reader.text(), text: reader.text() }),
        2 => Remark::Reply(reader.text().repeat(20)),
        3 => Remark::Malformed(Malformed { at: reader.index(), what: reader.text(), count: reader.index() }),
        4 => Remark::Closing(reader.text()),
        _ => Remark::RestartBook(reader.index()),
    }
}

fn payload(reader: &mut Reader<'_>) -> Payload {
    let kind = reader.u8() % 10;
    let (instrument, time_us) = (reader.index(), reader.i64());
    match kind {
        0 => Payload::Trade(Trade {
            instrument,
            time_us,
            id: id(reader),
            price: decimal(reader),
            quantity: decimal(reader),
            side: side(reader),
        }),
        1 => Payload::FundingRate(FundingRate {
            instrument,
            time_us,
            rate: decimal(reader),
            funding_time_us: reader.option(Reader::i64),
            next_funding_time_us: reader.option(Reader::i64),
            interval_hours: reader.option(Reader::index),
            mark_price: reader.option(decimal),
            index_price: reader.option(decimal),
        }),
        2 => Payload::OpenInterest(OpenInterest {
            instrument,
            time_us,
            base: reader.option(decimal),
            contracts: reader.option(decimal),
            value_usd: reader.option(decimal),
        }),
        3 => Payload::Liquidation(Liquidation {
            instrument,
            time_us,
            side: side(reader),
            price: decimal(reader),
            quantity: decimal(reader),
            liquidation_time_us: reader.option(Reader::i64),
            id: reader.option(id),
        }),
        4 => Payload::LsrTopPosition(ratio(reader, instrument, time_us)),
        5 => Payload::LsrAllAccount(ratio(reader, instrument, time_us)),
        6 => Payload::VolatilityIndex(VolatilityIndex {
            instrument,
            time_us,
            value: decimal(reader),
            underlying: reader.text(),
        }),
        _ => Payload::Book(book(reader, instrument, time_us)),
    }
}

fn ratio(reader: &mut Reader<'_>, instrument: u32, time_us: i64) -> LongShortRatio {
    LongShortRatio {
        instrument,
        time_us,
        long: decimal(reader),
        short: decimal(reader),
        ratio: reader.option(decimal),
        period: reader.text(),
    }
}

fn book(reader: &mut Reader<'_>, instrument: u32, time_us: i64) -> Book {
    Book {
        instrument,
        change: if reader.u8().is_multiple_of(3) { BookChange::Snapshot } else { BookChange::Delta },
        time_us: Some(time_us),
        first_id: reader.i64(),
        last_id: reader.i64(),
        previous_id: reader.option(Reader::i64),
        checksum: reader.option(Reader::i64),
        price_scale: reader.u8() % 20,
        quantity_scale: reader.u8() % 20,
        levels_at: reader.index(),
        bids: reader.index(),
        asks: reader.index(),
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn new(input: &'a [u8]) -> Self {
        Reader(input)
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut taken = [0; N];
        let (head, rest) = self.0.split_at(self.0.len().min(N));
        taken.iter_mut().zip(head).for_each(|(to, from)| *to = *from);
        self.0 = rest;
        taken
    }

    fn u8(&mut self) -> u8 {
        u8::from_le_bytes(self.take())
    }

    /// Mostly small, so that indices are often valid.
    fn index(&mut self) -> u32 {
        match self.u8() {
            0xff => u32::from_le_bytes(self.take()),
            small => u32::from(small % 8),
        }
    }

    fn i64(&mut self) -> i64 {
        match self.u8() {
            0xff => i64::from_le_bytes(self.take()),
            small => i64::from(small) - 3,
        }
    }

    fn option<T>(&mut self, read: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.u8() % 2 == 1).then(|| read(self))
    }

    fn text(&mut self) -> String {
        let length = usize::from(self.u8()) * usize::from(1 + self.u8() % 2);
        "x".repeat(length.min(300))
    }
}
