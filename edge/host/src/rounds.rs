//! The rounds in which an adapter asks for a venue's instrument lists.

use crate::contract::{Answer, Feed, Request};
use crate::error::{CallError, Fault};
use crate::limits::Limits;
use crate::sandbox::Sandbox;

/// Asks an adapter for its instrument requests, round by round, until it needs no more: so a list of several pages is followed.
/// Whoever sends the requests stays outside.
#[derive(Debug)]
pub struct InstrumentRounds {
    limits: Limits,
    rounds: usize,
    /// Requests of all rounds before the newest one.
    before: usize,
    newest: usize,
    answers: Vec<Answer>,
    bytes: usize,
}

impl InstrumentRounds {
    /// Nothing asked yet.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self { limits: limits.clone(), rounds: 0, before: 0, newest: 0, answers: Vec::new(), bytes: 0 }
    }

    /// The requests of the next round; none when the adapter has all that it needs.
    ///
    /// # Errors
    /// When the adapter refuses the feed, faults, or does not come to an end.
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

    /// Takes the body of an answer to the request at this position of the newest round.
    ///
    /// # Errors
    /// When the answers together are larger than allowed.
    pub fn answer(&mut self, position: usize, body: Vec<u8>) -> Result<(), CallError> {
        self.bytes = self.bytes.saturating_add(body.len());
        bound("bytes of instrument answers", self.bytes, self.limits.instrument_answer_bytes)?;
        let request = u32::try_from(self.before + position).unwrap_or(u32::MAX);
        self.answers.push(Answer { request, body });
        Ok(())
    }

    /// All answers so far.
    #[must_use]
    pub fn answers(&self) -> &[Answer] {
        &self.answers
    }

    /// All answers, for [`Sandbox::instruments`].
    #[must_use]
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
