//! An adapter's native code over any frames.
//!
//! An input is: one byte that chooses the market, then frames, parted by the byte 0x1e. Of each frame the first byte chooses the source,
//! the rest is its text.

use std::path::Path;

use marketprism_adapter_sdk::testkit::{OwnedFrame, Session, batch, read, whole_feed};
use marketprism_adapter_sdk::{
    Adapter, Book, Decimal, Event, Feed, Instrument, Malformed, Normalized, Note, Payload, Remark, TradeId,
    VenueError,
};

/// Separates the frames of an input.
pub const SEPARATOR: u8 = 0x1e;

/// Frames of one input: more find nothing further.
const FRAMES: usize = 16;

/// An exchange id with the instruments of its golden frames.
#[derive(Debug)]
pub(crate) struct FuzzedMarket {
    pub(crate) exchange: String,
    feed: Feed,
    instruments: Vec<Instrument>,
    /// Connections, polls and resyncs of the plan, and one more that does not exist.
    sources: u32,
}

pub(crate) fn markets<A: Adapter>(folder: &Path) -> Vec<FuzzedMarket> {
    let described = A::describe();
    let market = |exchange: String| -> Result<FuzzedMarket, String> {
        let feed = whole_feed::<A>(&exchange)?;
        let records = read(&folder.join("frames").join(format!("{exchange}.instruments.jsonl")))?;
        let Session { instruments, plan, .. } = Session::<A>::open(&feed, &records)?;
        let sources = plan.connections.len() + plan.polls.len() + plan.resyncs.len() + 1;
        Ok(FuzzedMarket { exchange, feed, instruments, sources: u32::try_from(sources).unwrap_or(u32::MAX) })
    };
    let markets = described.venues.into_iter().map(|venue| market(venue.exchange));
    markets.collect::<Result<_, _>>().unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
}

/// Normalizes the frames of an input in a new instance, at once and one by one.
pub(crate) fn run<A: Adapter>(markets: &[FuzzedMarket], input: &[u8]) {
    let Some((first, rest)) = input.split_first() else { return };
    let Some(market) = markets.get(usize::from(*first) % markets.len().max(1)) else { return };
    let frames: Vec<OwnedFrame> = rest
        .split(|byte| *byte == SEPARATOR)
        .take(FRAMES)
        .map(|frame| {
            let (source, text) = frame.split_first().unwrap_or((&0, &[]));
            OwnedFrame {
                bytes: text.to_vec(),
                source: u32::from(*source) % market.sources,
                at: 1_700_000_000_000_000_000,
            }
        })
        .collect();
    for size in [frames.len(), 1] {
        let mut instance = A::load(market.feed.clone(), market.instruments.clone())
            .unwrap_or_else(|refusal| panic!("{} is refused: {refusal:?}", market.exchange));
        for part in frames.chunks(size.max(1)) {
            let normalized = instance.normalize(&batch(part));
            if let Err(broken) = check(&normalized, part.len(), market.instruments.len()) {
                panic!("{}: {broken}", market.exchange);
            }
        }
    }
}

/// Bytes of a text in a note, and of an id or a period in an event, that hosts take.
const NOTE_BYTES: usize = 4_096;
const ID_BYTES: usize = 128;

const SCALE_MAX: u8 = 18;

pub(crate) fn check(result: &Normalized, frames: usize, instruments: usize) -> Result<(), String> {
    let mut meant = vec![false; frames];
    let event_frames = result.events.iter().map(|event| event.frame);
    let note_frames = result.notes.iter().map(|note| note.frame);
    if !event_frames.clone().is_sorted() || !note_frames.clone().is_sorted() {
        return Err("events or notes are not in the order of frames".to_owned());
    }
    for frame in event_frames.chain(note_frames) {
        match meant.get_mut(frame as usize) {
            Some(meant) => *meant = true,
            None => return Err(format!("frame {frame} of {frames}")),
        }
    }
    if let Some(silent) = meant.iter().position(|meant| !meant) {
        return Err(format!("frame {silent} has neither an event nor a note"));
    }
    result.events.iter().try_for_each(|one| event(one, &result.levels, instruments))?;
    result.notes.iter().try_for_each(|one| note(one, instruments))
}

fn event(event: &Event, levels: &[i64], instruments: usize) -> Result<(), String> {
    let short = |text: &str| text.len() <= ID_BYTES;
    let id = |id: &TradeId| match id {
        TradeId::Number(_) => true,
        TradeId::Text(text) => short(text),
    };
    let (instrument, numbers, texts): (u32, Vec<Option<Decimal>>, bool) = match &event.payload {
        Payload::Trade(one) => (one.instrument, vec![Some(one.price), Some(one.quantity)], id(&one.id)),
        Payload::Book(one) => {
            book(one, levels)?;
            (one.instrument, Vec::new(), true)
        }
        Payload::FundingRate(one) => {
            (one.instrument, vec![Some(one.rate), one.mark_price, one.index_price], true)
        }
        Payload::OpenInterest(one) => (one.instrument, vec![one.base, one.contracts, one.value_usd], true),
        Payload::Liquidation(one) => {
            (one.instrument, vec![Some(one.price), Some(one.quantity)], one.id.as_ref().is_none_or(id))
        }
        Payload::LsrTopPosition(one) | Payload::LsrAllAccount(one) => {
            (one.instrument, vec![Some(one.long), Some(one.short), one.ratio], short(&one.period))
        }
        Payload::VolatilityIndex(one) => (one.instrument, vec![Some(one.value)], short(&one.underlying)),
    };
    let scales = numbers.iter().flatten().all(|number| number.scale <= SCALE_MAX);
    if (instrument as usize) < instruments && scales && texts {
        Ok(())
    } else {
        Err(format!("of {instruments} instruments: {event:?}"))
    }
}

fn book(book: &Book, levels: &[i64]) -> Result<(), String> {
    let from = book.levels_at as usize;
    let count = 2 * (book.bids as usize + book.asks as usize);
    let Some(own) = levels.get(from..from + count) else {
        return Err(format!("levels {from} to {} of {}", from + count, levels.len()));
    };
    let negative = own.as_chunks::<2>().0.iter().any(|[_, quantity]| *quantity < 0);
    if negative || book.price_scale > SCALE_MAX || book.quantity_scale > SCALE_MAX {
        return Err(format!("levels {own:?} of {book:?}"));
    }
    Ok(())
}

fn note(note: &Note, instruments: usize) -> Result<(), String> {
    let valid = match &note.remark {
        Remark::Ignored(_) | Remark::FollowUp(_) => true,
        Remark::RestartBook(instrument) => (*instrument as usize) < instruments,
        Remark::VenueError(VenueError { code, text }) => code.len() <= NOTE_BYTES && text.len() <= NOTE_BYTES,
        Remark::Reply(text) | Remark::Closing(text) => text.len() <= NOTE_BYTES,
        Remark::Malformed(Malformed { what, .. }) => what.len() <= NOTE_BYTES,
    };
    if valid { Ok(()) } else { Err(format!("of {instruments} instruments: {note:?}")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use marketprism_adapter_sdk::{Ignored, Side, Trade};

    #[test]
    fn a_result_that_breaks_the_contract_stops_a_fuzzer() {
        let trade = |frame, instrument, scale| Event {
            frame,
            payload: Payload::Trade(Trade {
                instrument,
                time_us: 0,
                id: TradeId::Number(1),
                price: Decimal { mantissa: 1, scale },
                quantity: Decimal { mantissa: 1, scale: 0 },
                side: Side::Buy,
            }),
        };
        let note = |frame| Note { frame, remark: Remark::Ignored(Ignored::Status) };
        let right = || Normalized { events: vec![trade(0, 0, 2)], levels: Vec::new(), notes: vec![note(1)] };
        assert_eq!(check(&right(), 2, 1), Ok(()));
        for (broken, what) in [
            (Normalized { notes: Vec::new(), ..right() }, "frame 1 has neither"),
            (Normalized { notes: vec![note(1), note(0)], ..right() }, "order of frames"),
            (Normalized { notes: vec![note(2)], ..right() }, "frame 2 of 2"),
            (Normalized { events: vec![trade(0, 1, 2)], ..right() }, "of 1 instruments"),
            (Normalized { events: vec![trade(0, 0, 19)], ..right() }, "of 1 instruments"),
        ] {
            let error = check(&broken, 2, 1).unwrap_err();
            assert!(error.contains(what), "{error}");
        }
    }
}
