//! Puts the results of single frames together to the result of their batch.

use crate::contract::{Normalized, Payload};

/// A result without anything in it.
pub(crate) fn empty() -> Normalized {
    Normalized { events: Vec::new(), levels: Vec::new(), notes: Vec::new() }
}

/// Adds the result of a batch of one frame, which was frame `frame` of the batch in question. `None` when the
/// levels of the whole do not fit a 32-bit index; the bounds of results do not let that happen.
pub(crate) fn add(whole: &mut Normalized, part: Normalized, frame: u32) -> Option<()> {
    let moved = u32::try_from(whole.levels.len()).ok()?;
    u32::try_from(whole.levels.len() + part.levels.len()).ok()?;
    for mut event in part.events {
        event.frame = frame;
        if let Payload::Book(book) = &mut event.payload {
            book.levels_at = book.levels_at.checked_add(moved)?;
        }
        whole.events.push(event);
    }
    for mut note in part.notes {
        note.frame = frame;
        whole.notes.push(note);
    }
    whole.levels.extend_from_slice(&part.levels);
    Some(())
}
