//! Newest answers of the reference polls, replayed into instances that replace a faulted one.

use std::collections::BTreeMap;

use crate::contract::{Ignored, Normalized, Plan, Remark};
use crate::error::Fault;
use crate::frames::{Frame, FrameBatch};
use crate::index::{FrameIndex, SourceIndex};
use crate::sandbox::Sandbox;

/// The newest answer of each reference poll, replayed in the order of their sources right after `load`.
#[derive(Clone, Debug)]
pub(crate) struct ReferenceAnswers {
    answers: BTreeMap<SourceIndex, Answer>,
    bytes_max: usize,
    /// Grows with every change: equal numbers of one feed are equal answers.
    changes: u64,
}

#[derive(Clone, Debug, Default)]
struct Answer {
    /// The pages with their receive times, in order.
    pages: Vec<(Vec<u8>, i64)>,
    /// The newest page requested another one.
    is_open: bool,
}

/// All answers together are larger than allowed: this one is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AnswerTooLarge;

impl ReferenceAnswers {
    pub(crate) fn new(plan: &Plan, bytes_max: usize) -> Self {
        let polls = plan.polls.iter().enumerate().filter(|(_, poll)| poll.reference);
        let answers = polls.map(|(poll, _)| (SourceIndex::of_poll(plan, poll), Answer::default()));
        Self { answers: answers.collect(), bytes_max, changes: 0 }
    }

    /// Stores the batch's answers of reference polls that the adapter noted as reference, also those with rows that it could not read: the
    /// running instance took the others. An answer without the note, as an error of the venue, never replaces a good one.
    pub(crate) fn record(
        &mut self,
        batch: &FrameBatch,
        normalized: &Normalized,
    ) -> Result<(), AnswerTooLarge> {
        let mut stored = Ok(());
        for (index, frame) in FrameIndex::enumerate(batch.iter()) {
            if !self.answers.contains_key(&frame.source) {
                continue;
            }
            let (mut is_reference, mut is_open) = (false, false);
            for note in normalized.notes.iter().filter(|note| index == note.frame.into()) {
                match note.remark {
                    Remark::Ignored(Ignored::Reference) => is_reference = true,
                    Remark::FollowUp(_) => is_open = true,
                    _ => {}
                }
            }
            if is_reference {
                stored = stored.and(self.store(frame, is_open));
            }
        }
        stored
    }

    /// Stores an answer: as the next page if the previous one requested it, else in its place.
    pub(crate) fn store(&mut self, frame: Frame<'_>, is_open: bool) -> Result<(), AnswerTooLarge> {
        let others: usize =
            self.answers.iter().filter(|(at, _)| **at != frame.source).map(|(_, a)| a.bytes()).sum();
        let Some(answer) = self.answers.get_mut(&frame.source) else { return Ok(()) };
        self.changes += 1;
        if !answer.is_open {
            answer.pages.clear();
        }
        answer.is_open = is_open;
        if others + answer.bytes() + frame.bytes.len() > self.bytes_max {
            *answer = Answer::default();
            return Err(AnswerTooLarge);
        }
        answer.pages.push((frame.bytes.to_vec(), frame.received_at_ns));
        Ok(())
    }

    /// The requested page will not come: the next one begins a new answer.
    pub(crate) fn close(&mut self, source: SourceIndex) {
        if let Some(answer) = self.answers.get_mut(&source) {
            answer.is_open = false;
        }
    }

    /// Replays every answer into a new instance. The error names the answer on which it faulted.
    pub(crate) fn replay_into(&self, sandbox: &mut Sandbox) -> Result<(), (SourceIndex, Fault)> {
        let mut batch = FrameBatch::new();
        for (source, answer) in &self.answers {
            for (page, received_at_ns) in &answer.pages {
                batch.clear();
                let pushed = batch.push(page, *source, *received_at_ns);
                pushed.map_err(|error| (*source, Fault::invalid(error.to_string())))?;
                sandbox.learn(&batch).map_err(|fault| (*source, fault))?;
            }
        }
        Ok(())
    }

    pub(crate) fn remove(&mut self, source: SourceIndex) {
        if let Some(answer) = self.answers.get_mut(&source) {
            self.changes += 1;
            *answer = Answer::default();
        }
    }

    pub(crate) const fn changes(&self) -> u64 {
        self.changes
    }

    pub(crate) fn is_reference(&self, source: SourceIndex) -> bool {
        self.answers.contains_key(&source)
    }
}

impl Answer {
    fn bytes(&self) -> usize {
        self.pages.iter().map(|(page, _)| page.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::{Malformed, Note, VenueError};

    #[test]
    fn a_list_is_kept_as_the_running_instance_took_it() {
        let source = SourceIndex::at(3);
        let mut answers = ReferenceAnswers {
            answers: BTreeMap::from([(source, Answer::default())]),
            bytes_max: 100,
            changes: 0,
        };
        let unread = || Remark::Malformed(Malformed { at: 1, what: "expected hours".into(), count: 1 });
        let error = Remark::VenueError(VenueError { code: "-1003".into(), text: String::new() });
        let reference = || Remark::Ignored(Ignored::Reference);
        for (text, remarks, kept) in [
            ("first", vec![reference()], "first"),
            ("a row cannot be read", vec![unread(), reference()], "a row cannot be read"),
            ("an error", vec![error], "a row cannot be read"),
            ("no list", vec![unread()], "a row cannot be read"),
            ("empty", vec![Remark::Ignored(Ignored::Empty)], "a row cannot be read"),
        ] {
            let mut batch = FrameBatch::new();
            batch.push(text.as_bytes(), source, 1).unwrap();
            let notes = remarks.into_iter().map(|remark| Note { frame: 0, remark }).collect();
            let normalized = Normalized { events: Vec::new(), levels: Vec::new(), notes };
            answers.record(&batch, &normalized).unwrap();
            let pages: Vec<&[u8]> =
                answers.answers[&source].pages.iter().map(|(page, _)| page.as_slice()).collect();
            assert_eq!(pages, [kept.as_bytes()], "{text}");
        }
    }
}
