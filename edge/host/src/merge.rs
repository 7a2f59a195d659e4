//! Combines the results of single frames into the result of their batch.

use crate::contract::{Normalized, Payload};
use crate::index::FrameIndex;

pub(crate) fn empty() -> Normalized {
    Normalized { events: Vec::new(), levels: Vec::new(), notes: Vec::new() }
}

/// Adds the result of a single frame as `frame` of the batch. `None` if the levels exceed a 32-bit index, which the result limits
/// prevent.
pub(crate) fn add(whole: &mut Normalized, part: Normalized, frame: FrameIndex) -> Option<()> {
    let moved = u32::try_from(whole.levels.len()).ok()?;
    u32::try_from(whole.levels.len() + part.levels.len()).ok()?;
    for mut event in part.events {
        event.frame = frame.into();
        if let Payload::Book(book) = &mut event.payload {
            book.levels_at = book.levels_at.checked_add(moved)?;
        }
        whole.events.push(event);
    }
    for mut note in part.notes {
        note.frame = frame.into();
        whole.notes.push(note);
    }
    whole.levels.extend_from_slice(&part.levels);
    Some(())
}
