//! Book events of frames through the order-book engine, as an edge runs it.

use std::collections::BTreeMap;

use marketprism_adapter_host::contract::{self, BookChange, Capability, DataType, Payload, Remark};
use marketprism_adapter_sdk::testkit::OwnedFrame;
use marketprism_book::{Book, BookAction, BookGap, BookSettings, BookState, BookUpdate};

use crate::market::Market;
use crate::numbers::{Atto, atto};
use crate::session::Session;

#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) frame: usize,
    pub(crate) instrument: u32,
    pub(crate) change: BookChange,
    pub(crate) first_id: i64,
    pub(crate) last_id: i64,
    pub(crate) previous_id: Option<i64>,
    pub(crate) has_checksum: bool,
    pub(crate) live_before: bool,
    pub(crate) applied: bool,
    pub(crate) live: bool,
    pub(crate) gap: Option<BookGap>,
    pub(crate) asked: bool,
    /// The levels could not be applied.
    pub(crate) rejected: Option<String>,
}

/// The levels of a LIVE book, best first: price and quantity, whatever scale the book keeps them at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LiveLevels {
    pub(crate) last_id: i64,
    pub(crate) bids: Vec<(Atto, Atto)>,
    pub(crate) asks: Vec<(Atto, Atto)>,
}

#[derive(Debug)]
pub(crate) struct Trace {
    pub(crate) steps: Vec<Step>,
    /// The books that are LIVE at the end.
    pub(crate) books: BTreeMap<u32, LiveLevels>,
}

pub(crate) fn books<'m>(market: &'m Market<'_>) -> Option<&'m Capability> {
    market.venue.capabilities.iter().find(|one| one.data_type == DataType::Orderbook)
}

impl Trace {
    /// Gives the frames to a new instance, and its book events to new books.
    pub(crate) fn run(
        market: &Market<'_>,
        declared: &Capability,
        frames: &[OwnedFrame],
    ) -> Result<Self, String> {
        let mut session = Session::open(market)?;
        let normalized = session
            .normalize(frames, 1)
            .map_err(|faulted| format!("frame {}: {}", faulted.frame, faulted.text))?;
        let mut books: BTreeMap<u32, Book> = BTreeMap::new();
        let mut steps = Vec::new();
        for ((index, frame), (_, events, notes)) in
            frames.iter().enumerate().zip(normalized.by_frame(frames.len()))
        {
            for event in events {
                let Payload::Book(event) = &event.payload else { continue };
                let book = books
                    .entry(event.instrument)
                    .or_insert_with(|| Book::new(settings(market, declared, event.instrument)));
                let Some(update) = event.update(&normalized.levels, frame.at) else { continue };
                steps.push(step(index, event, book, &update));
            }
            for note in notes {
                if let Remark::RestartBook(instrument) = note.remark
                    && let Some(book) = books.get_mut(&instrument)
                {
                    book.restart();
                }
            }
        }
        let levels = |(instrument, book): (&u32, &Book)| Some((*instrument, levels(book)?));
        Ok(Trace { steps, books: books.iter().filter_map(levels).collect() })
    }

    /// The steps of one book, in order.
    pub(crate) fn of(&self, instrument: u32) -> impl Iterator<Item = &Step> {
        self.steps.iter().filter(move |step| step.instrument == instrument)
    }
}

fn step(frame: usize, event: &contract::Book, book: &mut Book, update: &BookUpdate<'_>) -> Step {
    let live_before = book.state() == BookState::Live;
    let outcome = book.apply(update);
    Step {
        frame,
        instrument: event.instrument,
        change: event.change,
        first_id: event.first_id,
        last_id: event.last_id,
        previous_id: event.previous_id,
        has_checksum: event.checksum.is_some(),
        live_before,
        applied: outcome.applied > 0,
        live: book.state() == BookState::Live,
        gap: outcome.gap,
        asked: matches!(outcome.action, Some(BookAction::Resync { .. })),
        rejected: outcome.rejected.map(|error| error.to_string()),
    }
}

fn levels(book: &Book) -> Option<LiveLevels> {
    let view = book.view()?;
    let (price_scale, quantity_scale) = (view.price_scale(), view.quantity_scale());
    let exact = |(price, quantity): (i64, i64)| {
        let price = contract::Decimal { mantissa: price, scale: price_scale };
        (atto(price), atto(contract::Decimal { mantissa: quantity, scale: quantity_scale }))
    };
    Some(LiveLevels {
        last_id: view.last_update_id(),
        bids: view.bids().map(exact).collect(),
        asks: view.asks().map(exact).collect(),
    })
}

fn settings(market: &Market<'_>, declared: &Capability, instrument: u32) -> BookSettings {
    let resync = market.plan.resyncs.iter().find(|resync| resync.instrument == instrument);
    let limit = resync.and_then(|resync| resync.depth_limit);
    declared.book_settings(market.instruments.get(instrument as usize), market.feed.depth, limit)
}
