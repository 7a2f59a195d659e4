//! Results of a batch, and of its frames repeated one by one.

use std::time::{Duration, Instant};

use crate::contract::{Normalized, Payload};
use crate::error::Fault;
use crate::frames::{Frame, FrameBatch};
use crate::index::FrameIndex;
use crate::stats::FaultCause;

/// Result of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct NormalizedBatch {
    /// Events and notes of all frames except the faulted ones.
    pub normalized: Normalized,
    /// Faulted frames in order. They are lost to the stream and stored in quarantine.
    pub faults: Vec<FrameFault>,
}

/// Fault of one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameFault {
    /// Position in the batch.
    pub frame: FrameIndex,
    /// Kind of fault.
    pub cause: FaultCause,
    /// Skipped: the adapter had faulted too often before, or the host denied resources.
    pub skipped: bool,
}

/// Results of the frames so far.
pub(super) struct Repeats {
    pub(super) outcome: NormalizedBatch,
    result_bytes: usize,
    /// Until then a frame waits for resources that the host denies.
    pub(super) patience: Instant,
}

impl Repeats {
    pub(super) fn new(host_wait: Duration) -> Self {
        let outcome = NormalizedBatch { normalized: empty_result(), faults: Vec::new() };
        Self { outcome, result_bytes: 0, patience: Instant::now() + host_wait }
    }

    /// Repeats must not give the results of a whole batch 64 times.
    pub(super) fn add(
        &mut self,
        part: Normalized,
        position: FrameIndex,
        allowed: usize,
    ) -> Result<(), Fault> {
        self.result_bytes += result_size(&part);
        if self.result_bytes > allowed {
            return Err(Fault::invalid(format!("results of a batch have more than {allowed} bytes")));
        }
        add_frame(&mut self.outcome.normalized, part, position)
            .ok_or_else(|| Fault::invalid("the batch has too many levels"))
    }
}

/// A batch of one frame.
pub(super) fn single(frame: Frame<'_>) -> Result<FrameBatch, Fault> {
    let mut batch = FrameBatch::new();
    let pushed = batch.push(frame.bytes, frame.source, frame.received_at_ns);
    pushed.map_err(|error| Fault::invalid(error.to_string()))?;
    Ok(batch)
}

pub(super) fn empty_result() -> Normalized {
    Normalized { events: Vec::new(), levels: Vec::new(), notes: Vec::new() }
}

/// Bytes of a result, without short texts.
fn result_size(result: &Normalized) -> usize {
    size_of_val(&*result.events) + size_of_val(&*result.levels) + size_of_val(&*result.notes)
}

/// Adds the result of a single frame as `frame` of the batch. `None` if the levels exceed a 32-bit index, which the result limits
/// prevent.
fn add_frame(whole: &mut Normalized, part: Normalized, frame: FrameIndex) -> Option<()> {
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

/// The results of a batch's frames, each as of a batch of its own.
pub(super) struct FrameResults(std::vec::IntoIter<Normalized>);

impl FrameResults {
    pub(super) fn new(batch: &Normalized, frames: usize) -> Self {
        let of_frame = |(_, events, notes): (FrameIndex, &[_], &[_])| {
            let mut part = empty_result();
            part.events = events.to_vec();
            part.notes = notes.to_vec();
            for event in &mut part.events {
                event.frame = 0;
                if let Payload::Book(book) = &mut event.payload
                    && let Some(update) = book.update(&batch.levels, 0)
                {
                    let at = u32::try_from(part.levels.len()).unwrap_or(u32::MAX);
                    part.levels.extend_from_slice(update.bids);
                    part.levels.extend_from_slice(update.asks);
                    book.levels_at = at;
                }
            }
            part.notes.iter_mut().for_each(|note| note.frame = 0);
            part
        };
        Self(batch.by_frame(frames).map(of_frame).collect::<Vec<_>>().into_iter())
    }

    pub(super) fn next(&mut self) -> Normalized {
        self.0.next().unwrap_or_else(empty_result)
    }
}
