//! Killed runs of which audits are recovered.

use marketprism_schema::StreamId;

use super::auditor::{AuditState, Auditor};
use super::killed_run::{KilledRun, RecoveredAudits};
use super::streams::AuditStream;
use super::unsent::UnsentMessage;
use super::window::RecordOutcome;

impl Auditor {
    pub fn add_killed_run(&self, mut run: KilledRun) {
        let mut state = self.lock();
        let last = state.killed.last();
        let inherited: Vec<StreamId> = run.streams().filter(|id| !state.is_subscribed(id)).cloned().collect();
        run.first_number = last.map_or(AuditStream::FIRST_OF_KILLED_RUNS, KilledRun::end_number);
        state.killed.push(run);
        state.inherited.extend(inherited);
        state.are_streams_changed = true;
    }

    /// A killed run that has nothing to wait for.
    pub fn add_recovered(&self, recovered: RecoveredAudits) {
        self.lock().recovered.push(recovered);
    }

    /// Audits of earlier runs, which the broker may lose.
    pub fn add_earlier_audits(&self, messages: Vec<UnsentMessage>) {
        self.lock().earlier.extend(messages);
    }

    pub fn take_earlier_audits(&self) -> Vec<UnsentMessage> {
        std::mem::take(&mut self.lock().earlier)
    }

    /// True while audits of an earlier run wait for the outcomes of its events.
    pub fn recovers(&self, run_ns: i64) -> bool {
        self.lock().killed.iter().any(|run| run.run_ns == run_ns)
    }

    /// Stream of an event that an earlier run left to be sent; `None` if no audit waits for its outcome.
    pub fn stream_of_killed_run(
        &self,
        run_ns: i64,
        subject: &str,
        received_at_ns: i64,
    ) -> Option<AuditStream> {
        let state = self.lock();
        let run = state.killed.iter().find(|run| run.run_ns == run_ns)?;
        let is_audited = run.from_ns() <= received_at_ns && received_at_ns < run.known_to_ns();
        is_audited
            .then(|| run.number(subject))
            .flatten()
            .map(|number| AuditStream::of_number(run.first_number.saturating_add(number)))
    }

    /// Events of an earlier run cannot be read.
    pub fn give_up_killed_run(&self, run_ns: i64) {
        let mut state = self.lock();
        state.killed.iter_mut().filter(|run| run.run_ns == run_ns).for_each(KilledRun::give_up);
    }

    /// Killed runs whose events all have an outcome.
    pub fn take_recovered(&self) -> Vec<RecoveredAudits> {
        let Some(origin) = &self.origin else { return Vec::new() };
        let mut state = self.lock();
        let runs = std::mem::take(&mut state.killed);
        let (done, waiting): (Vec<_>, Vec<_>) = runs.into_iter().partition(|run| run.pending == 0);
        state.killed = waiting;
        let recovered = std::mem::take(&mut state.recovered);
        drop(state);
        recovered.into_iter().chain(done.into_iter().map(|run| run.into_audits(origin))).collect()
    }
}

impl AuditState {
    fn is_subscribed(&self, id: &StreamId) -> bool {
        let Some(number) = self.streams.number_of(id) else { return false };
        self.feeds.iter().any(|feed| feed.subscribed.contains(&number))
    }

    /// An outcome of an event that a killed run left.
    pub(super) fn record_of_killed_run(&mut self, stream: AuditStream, record: &RecordOutcome) {
        let number = stream.number();
        let mut runs = self.killed.iter_mut();
        let Some(run) = runs.find(|run| run.first_number <= number && number < run.end_number()) else {
            return;
        };
        run.pending = run.pending.saturating_sub(1);
        run.record(number - run.first_number, *record);
    }
}
