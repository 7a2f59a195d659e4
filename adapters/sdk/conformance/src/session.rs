//! Frames through one loaded instance.

use marketprism_adapter_host::contract::{Normalized, Payload};
use marketprism_adapter_host::{Fault, FrameBatch, PushError, Sandbox};
use marketprism_adapter_sdk::testkit::OwnedFrame;
use serde_json::Value;

use crate::convert::ToSdk;
use crate::market::Market;

pub(crate) struct Session<'a> {
    market: &'a Market<'a>,
    sandbox: Sandbox,
    batch: FrameBatch,
}

#[derive(Debug)]
pub(crate) struct FrameFault {
    /// Position among the frames given.
    pub(crate) frame: usize,
    pub(crate) text: String,
}

impl<'a> Session<'a> {
    pub(crate) fn open(market: &'a Market<'a>) -> Result<Self, String> {
        Ok(Session { market, sandbox: market.instance()?, batch: FrameBatch::new() })
    }

    /// Normalizes the frames in batches of this size. The result is as of one batch.
    pub(crate) fn normalize(&mut self, frames: &[OwnedFrame], size: usize) -> Result<Normalized, FrameFault> {
        let mut whole = Normalized { events: Vec::new(), levels: Vec::new(), notes: Vec::new() };
        let mut first = 0;
        while first < frames.len() {
            let rest = frames.get(first..).unwrap_or_default();
            let taken = self.fill(rest.get(..size.clamp(1, rest.len())).unwrap_or(rest), first)?;
            match self.sandbox.normalize(&self.batch) {
                Ok(part) => merge(&mut whole, part, first),
                Err(fault) => return Err(self.pinpoint(rest, taken, first, &fault)),
            }
            first += taken;
        }
        Ok(whole)
    }

    fn fill(&mut self, frames: &[OwnedFrame], first: usize) -> Result<usize, FrameFault> {
        self.batch.clear();
        for (index, frame) in frames.iter().enumerate() {
            match self.batch.push(&frame.bytes, frame.source, frame.at) {
                Ok(()) => {}
                Err(PushError::Full) if index > 0 => return Ok(index),
                Err(error) => return Err(FrameFault { frame: first + index, text: error.to_string() }),
            }
        }
        Ok(frames.len())
    }

    /// The frame of a batch that alone makes a new instance fault; the first one where none does.
    fn pinpoint(&mut self, frames: &[OwnedFrame], taken: usize, first: usize, fault: &Fault) -> FrameFault {
        for (index, frame) in frames.iter().take(taken).enumerate() {
            let Ok(mut alone) = Session::open(self.market) else { break };
            if alone.fill(std::slice::from_ref(frame), 0).is_err() {
                break;
            }
            if let Err(fault) = alone.sandbox.normalize(&alone.batch) {
                return FrameFault { frame: first + index, text: fault.to_string() };
            }
        }
        let text = if taken > 1 {
            format!("{fault} (only in a batch of {taken} frames)")
        } else {
            fault.to_string()
        };
        FrameFault { frame: first, text }
    }
}

fn merge(whole: &mut Normalized, mut part: Normalized, first: usize) {
    let first = u32::try_from(first).unwrap_or(u32::MAX);
    let levels = u32::try_from(whole.levels.len()).unwrap_or(u32::MAX);
    for event in &mut part.events {
        event.frame = event.frame.saturating_add(first);
        if let Payload::Book(book) = &mut event.payload {
            book.levels_at = book.levels_at.saturating_add(levels);
        }
    }
    for note in &mut part.notes {
        note.frame = note.frame.saturating_add(first);
    }
    whole.events.append(&mut part.events);
    whole.levels.append(&mut part.levels);
    whole.notes.append(&mut part.notes);
}

pub(crate) fn lines(market: &Market<'_>, normalized: &Normalized) -> Vec<Value> {
    let instruments = market.instruments.to_sdk();
    marketprism_adapter_sdk::testkit::lines(&normalized.to_sdk(), &instruments)
}
