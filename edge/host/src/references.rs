//! The answers that other frames are read with, kept for instances that replace others.

use std::collections::BTreeMap;

use crate::contract::{Ignored, Normalized, Plan, Remark};
use crate::error::Fault;
use crate::frames::{Frame, FrameBatch};
use crate::sandbox::Sandbox;

/// The newest answer of each reference poll. An instance learns them in the order of their sources, right after `load`.
#[derive(Debug)]
pub(crate) struct References {
    answers: BTreeMap<u32, Answer>,
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct Answer {
    /// The pages with their receive times, in order.
    pages: Vec<(Vec<u8>, i64)>,
    /// The newest page asked for another one.
    is_open: bool,
}

/// What became of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// Nothing to keep, or it is kept.
    Well,
    /// All answers together are larger than allowed: this one is not kept.
    TooLarge,
}

impl References {
    /// None kept yet. Sources count connections first, then polls.
    pub(crate) fn new(plan: &Plan, bytes_max: usize) -> Self {
        let sources = (plan.connections.len()..).zip(&plan.polls).filter(|(_, poll)| poll.reference);
        let empty = |(source, _)| Some((u32::try_from(source).ok()?, Answer::default()));
        Self { answers: sources.filter_map(empty).collect(), bytes_max }
    }

    /// Keeps what the batch holds of reference polls and the adapter calls reference. What is malformed or an error of the venue is not,
    /// so that a bad answer never takes the place of a good one.
    pub(crate) fn learn(&mut self, batch: &FrameBatch, normalized: &Normalized) -> Kept {
        if self.answers.is_empty() {
            return Kept::Well;
        }
        let mut kept = Kept::Well;
        for (index, frame) in (0_u32..).zip(batch.iter()) {
            if !self.answers.contains_key(&frame.source) {
                continue;
            }
            let (mut is_reference, mut is_bad, mut is_open) = (false, false, false);
            for note in normalized.notes.iter().filter(|note| note.frame == index) {
                match note.remark {
                    Remark::Ignored(Ignored::Reference) => is_reference = true,
                    Remark::FollowUp(_) => is_open = true,
                    Remark::Malformed(_) | Remark::VenueError(_) => is_bad = true,
                    _ => {}
                }
            }
            if is_reference && !is_bad && self.keep(frame, is_open) == Kept::TooLarge {
                kept = Kept::TooLarge;
            }
        }
        kept
    }

    /// Keeps an answer: as the next page where the one before asked for it, else in place of it.
    pub(crate) fn keep(&mut self, frame: Frame<'_>, is_open: bool) -> Kept {
        let others: usize =
            self.answers.iter().filter(|(at, _)| **at != frame.source).map(|(_, a)| a.bytes()).sum();
        let Some(answer) = self.answers.get_mut(&frame.source) else { return Kept::Well };
        if !answer.is_open {
            answer.pages.clear();
        }
        answer.is_open = is_open;
        if others + answer.bytes() + frame.bytes.len() > self.bytes_max {
            *answer = Answer::default();
            return Kept::TooLarge;
        }
        answer.pages.push((frame.bytes.to_vec(), frame.received_at_ns));
        Kept::Well
    }

    /// The page that an answer asked for will not come: the next one begins a new answer.
    pub(crate) fn close(&mut self, source: u32) {
        if let Some(answer) = self.answers.get_mut(&source) {
            answer.is_open = false;
        }
    }

    /// Gives everything to a new instance. An answer on which it faults is named; the instance is of no more use then.
    pub(crate) fn teach(&self, sandbox: &mut Sandbox) -> Result<(), (u32, Fault)> {
        let mut batch = FrameBatch::new();
        for (source, answer) in &self.answers {
            for (page, received_at_ns) in &answer.pages {
                batch.clear();
                let pushed = batch.push(page, *source, *received_at_ns);
                pushed.map_err(|error| (*source, Fault::invalid(error.to_string())))?;
                // What it means was published when it came.
                sandbox.learn(&batch).map_err(|fault| (*source, fault))?;
            }
        }
        Ok(())
    }

    /// Forgets an answer that instances fault on.
    pub(crate) fn forget(&mut self, source: u32) {
        if let Some(answer) = self.answers.get_mut(&source) {
            *answer = Answer::default();
        }
    }

    /// Whether a source is a reference poll.
    pub(crate) fn is_reference(&self, source: u32) -> bool {
        self.answers.contains_key(&source)
    }
}

impl Answer {
    fn bytes(&self) -> usize {
        self.pages.iter().map(|(page, _)| page.len()).sum()
    }
}
