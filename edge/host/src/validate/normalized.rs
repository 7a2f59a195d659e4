//! Checks of `normalize`. They run on every batch and allocate only for an error.

use super::basics::{Check, at_most, index};
use super::plan::request;
use crate::contract::{
    Book, Budget, Decimal, Event, FundingRate, Liquidation, LongShortRatio, MAX_SCALE, Normalized, Note,
    OpenInterest, Payload, Remark, Trade, TradeId,
};
use crate::frames::MAX_BATCH_FRAMES;
use crate::limits::Limits;

/// Ranges that a result may refer to.
pub(crate) struct ResultBounds<'a> {
    pub(crate) frames: usize,
    pub(crate) instruments: usize,
    /// Budgets that further requests may charge; unknown before the plan.
    pub(crate) budgets: Option<&'a [Budget]>,
    pub(crate) limits: &'a Limits,
}

/// One bit for each frame of a batch.
type FrameMask = u64;
const _: () = assert!(MAX_BATCH_FRAMES <= FrameMask::BITS as usize);

pub(crate) fn normalized(result: &Normalized, bounds: &ResultBounds<'_>) -> Check {
    at_most("number of events", result.events.len(), bounds.limits.events_per_batch)?;
    let most_notes = bounds.limits.notes_per_frame.saturating_mul(bounds.frames);
    at_most("number of notes", result.notes.len(), most_notes)?;
    let mut seen: FrameMask = 0;
    let mut last = 0;
    for event in &result.events {
        in_order("event", event.frame, &mut last, &mut seen, bounds)?;
        one_event(event, result.levels.len(), bounds)?;
    }
    last = 0;
    let mut follow_ups = (0, 0);
    for note in &result.notes {
        in_order("note", note.frame, &mut last, &mut seen, bounds)?;
        one_note(note, bounds)?;
        if matches!(note.remark, Remark::FollowUp(_)) {
            follow_ups = (note.frame, if follow_ups.0 == note.frame { follow_ups.1 + 1 } else { 1 });
            at_most("follow-ups of a frame", follow_ups.1, bounds.limits.follow_ups_per_frame)?;
        }
    }
    let silent = (!seen).trailing_zeros() as usize;
    if silent < bounds.frames {
        return Err(format!("frame {silent} has neither an event nor a note, one is required"));
    }
    Ok(())
}

fn in_order(
    what: &str,
    frame: u32,
    last: &mut u32,
    seen: &mut FrameMask,
    bounds: &ResultBounds<'_>,
) -> Check {
    if frame as usize >= bounds.frames || frame < *last {
        let (from, below) = (*last, bounds.frames);
        return Err(format!("frame of an {what} is {frame}, allowed is {from} or more and below {below}"));
    }
    *last = frame;
    *seen |= 1 << frame;
    Ok(())
}

fn one_event(event: &Event, levels: usize, bounds: &ResultBounds<'_>) -> Check {
    let (instrument, valid) = match &event.payload {
        Payload::Trade(trade) => (trade.instrument, trade_is_valid(trade, bounds)),
        Payload::Book(book) => {
            book_levels(book, levels)?;
            (book.instrument, book.price_scale <= MAX_SCALE && book.quantity_scale <= MAX_SCALE)
        }
        Payload::FundingRate(rate) => (rate.instrument, funding_is_valid(rate)),
        Payload::OpenInterest(interest) => (interest.instrument, interest_is_valid(interest)),
        Payload::Liquidation(forced) => (forced.instrument, liquidation_is_valid(forced, bounds)),
        Payload::LsrTopPosition(ratio) | Payload::LsrAllAccount(ratio) => {
            (ratio.instrument, ratio_is_valid(ratio, bounds))
        }
        Payload::VolatilityIndex(volatility) => {
            let valid = fits(&volatility.value) && volatility.underlying.len() <= bounds.limits.id_bytes;
            (volatility.instrument, valid)
        }
    };
    index("instrument of an event", instrument, bounds.instruments)?;
    if valid {
        return Ok(());
    }
    let (frame, text) = (event.frame, bounds.limits.id_bytes);
    Err(format!("event of frame {frame} has a scale above {MAX_SCALE} or a text longer than {text} bytes"))
}

fn book_levels(book: &Book, levels: usize) -> Check {
    let end = u64::from(book.levels_at) + 2 * (u64::from(book.bids) + u64::from(book.asks));
    if end > levels as u64 {
        return Err(format!("levels of a book end at {end}, allowed is at most {levels}"));
    }
    Ok(())
}

fn fits(decimal: &Decimal) -> bool {
    decimal.scale <= MAX_SCALE
}

fn fits_if_given(decimal: Option<&Decimal>) -> bool {
    decimal.is_none_or(fits)
}

fn id_is_short(id: &TradeId, bounds: &ResultBounds<'_>) -> bool {
    match id {
        TradeId::Number(_) => true,
        TradeId::Text(text) => text.len() <= bounds.limits.id_bytes,
    }
}

fn trade_is_valid(trade: &Trade, bounds: &ResultBounds<'_>) -> bool {
    fits(&trade.price) && fits(&trade.quantity) && id_is_short(&trade.id, bounds)
}

fn funding_is_valid(rate: &FundingRate) -> bool {
    fits(&rate.rate) && fits_if_given(rate.mark_price.as_ref()) && fits_if_given(rate.index_price.as_ref())
}

fn interest_is_valid(interest: &OpenInterest) -> bool {
    [&interest.base, &interest.contracts, &interest.value_usd]
        .into_iter()
        .all(|value| fits_if_given(value.as_ref()))
}

fn liquidation_is_valid(forced: &Liquidation, bounds: &ResultBounds<'_>) -> bool {
    let id = forced.id.as_ref().is_none_or(|id| id_is_short(id, bounds));
    fits(&forced.price) && fits(&forced.quantity) && id
}

fn ratio_is_valid(ratio: &LongShortRatio, bounds: &ResultBounds<'_>) -> bool {
    let numbers = fits(&ratio.long) && fits(&ratio.short) && fits_if_given(ratio.ratio.as_ref());
    numbers && ratio.period.len() <= bounds.limits.id_bytes
}

fn one_note(note: &Note, bounds: &ResultBounds<'_>) -> Check {
    let text = match &note.remark {
        Remark::Ignored(_) => 0,
        Remark::RestartBook(instrument) => {
            index("instrument of a restart", *instrument, bounds.instruments)?;
            0
        }
        Remark::VenueError(error) => error.code.len().max(error.text.len()),
        Remark::Reply(text) | Remark::Closing(text) => text.len(),
        Remark::Malformed(malformed) if malformed.count == 0 => {
            return Err(format!("malformed note of frame {} has count 0, allowed is 1 or more", note.frame));
        }
        Remark::Malformed(malformed) => malformed.what.len(),
        Remark::FollowUp(page) => {
            request("a follow-up", page, bounds.budgets)?;
            0
        }
    };
    if text > bounds.limits.text_bytes {
        let most = bounds.limits.text_bytes;
        return Err(format!("text of a note of frame {} has {text} bytes, allowed are {most}", note.frame));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::Malformed;

    #[test]
    fn a_malformed_note_stands_for_one_element_at_least() {
        let limits = Limits::default();
        let bounds = ResultBounds { frames: 1, instruments: 1, budgets: None, limits: &limits };
        let note = |count| Note {
            frame: 0,
            remark: Remark::Malformed(Malformed { at: 0, what: "a number".into(), count }),
        };
        assert_eq!(one_note(&note(1), &bounds), Ok(()));
        let error = one_note(&note(0), &bounds).unwrap_err();
        assert_eq!(error, "malformed note of frame 0 has count 0, allowed is 1 or more");
    }
}
