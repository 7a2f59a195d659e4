//! Rounds of instrument requests: an adapter asks again until it has every page of a venue's lists.

use crate::contract::{Answer, Feed, Request};
use crate::error::{CallError, Fault};
use crate::limits::Limits;
use crate::sandbox::Sandbox;

/// Collects an adapter's instrument requests round by round until it needs no more. The caller sends the requests.
#[derive(Debug)]
pub struct InstrumentRounds {
    limits: Limits,
    rounds: usize,
    /// Requests of all earlier rounds.
    before: usize,
    newest: usize,
    answers: Vec<Answer>,
    bytes: usize,
}

impl InstrumentRounds {
    /// Before the first round.
    pub fn new(limits: &Limits) -> Self {
        Self { limits: limits.clone(), rounds: 0, before: 0, newest: 0, answers: Vec::new(), bytes: 0 }
    }

    /// Requests of the next round; empty when the adapter has every answer.
    ///
    /// # Errors
    /// The adapter refuses the feed, faults, or exceeds the number of rounds.
    pub fn next(&mut self, adapter: &mut Sandbox, feed: &Feed) -> Result<Vec<Request>, CallError> {
        let requests = adapter.instrument_requests(feed, &self.answers)?;
        if requests.is_empty() {
            return Ok(requests);
        }
        self.rounds += 1;
        self.before += self.newest;
        self.newest = requests.len();
        bound("rounds of instrument requests", self.rounds, self.limits.instrument_rounds)?;
        bound("instrument requests", self.before + self.newest, self.limits.plan_entries)?;
        Ok(requests)
    }

    /// Adds the answer to the request at `position` of the newest round.
    ///
    /// # Errors
    /// All answers together are larger than allowed.
    pub fn answer(&mut self, position: usize, body: Vec<u8>) -> Result<(), CallError> {
        self.bytes = self.bytes.saturating_add(body.len());
        bound("bytes of instrument answers", self.bytes, self.limits.instrument_answer_bytes)?;
        let request = u32::try_from(self.before + position).unwrap_or(u32::MAX);
        self.answers.push(Answer { request, body });
        Ok(())
    }

    /// All answers so far.
    pub fn answers(&self) -> &[Answer] {
        &self.answers
    }

    /// All answers, for [`Sandbox::instruments`].
    pub fn into_answers(self) -> Vec<Answer> {
        self.answers
    }
}

fn bound(what: &str, value: usize, most: usize) -> Result<(), Fault> {
    if value > most {
        return Err(Fault::invalid(format!("{what} are {value} and more, allowed are {most}")));
    }
    Ok(())
}
