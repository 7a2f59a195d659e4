//! One adapter instance under limits, and the rounds in which it requests a venue's instrument lists.

use std::sync::Arc;
use std::time::{Duration, Instant};

use wasmtime::Store;

use crate::contract::{
    Answer, Budget, Description, Feed, Instrument, Normalized, Plan, Ranked, RankingKey, Refusal, Request,
    TradeRange,
};
use crate::error::{CallError, Fault};
use crate::exports::{AdapterExports, InstanceStore, LinkedComponent};
use crate::frames::FrameBatch;
use crate::limits::Limits;
use crate::logging::StoreState;
use crate::runtime::Engine;
use crate::stats::{FaultCause, Stats};
use crate::validate;

pub(crate) enum InstantiateError {
    /// The component's functions have other types than the contract's.
    Types(String),
    /// The component failed in its start function.
    Fault(Fault),
}

/// After a [`Fault`] every further call returns a fault.
pub struct Sandbox {
    store: InstanceStore,
    exports: Box<dyn AdapterExports>,
    limits: Arc<Limits>,
    stats: Arc<Stats>,
    instruments: usize,
    /// Budgets of the plan, once known: further requests may charge only these.
    budgets: Option<Arc<[Budget]>>,
    broken: bool,
}

impl Sandbox {
    pub(crate) fn from_parts(
        linked: &dyn LinkedComponent,
        name: Arc<str>,
        limits: Arc<Limits>,
        stats: Arc<Stats>,
    ) -> Result<Self, InstantiateError> {
        let mut store = Store::new(linked.engine(), StoreState::new(name, &limits, &stats));
        store.limiter(|state| &mut state.limiter);
        store.epoch_deadline_trap();
        store.set_epoch_deadline(Engine::ticks(limits.control_deadline));
        store.set_hostcall_fuel(limits.control_result_bytes);
        let started = linked
            .start(&mut store)
            .map_err(|error| InstantiateError::Fault(counted(Fault::from_runtime(&error), &stats)))?;
        let exports = started.map_err(|error| InstantiateError::Types(Fault::from_runtime(&error).detail))?;
        Ok(Sandbox { store, exports, limits, stats, instruments: 0, budgets: None, broken: false })
    }

    pub(crate) fn describe(&mut self) -> Result<Description, Fault> {
        self.control(|guest, store| guest.call_describe(store))
    }

    /// Requests whose answers [`Sandbox::instruments`] still needs; see [`crate::InstrumentRounds`].
    pub fn instrument_requests(
        &mut self,
        feed: &Feed,
        answers: &[Answer],
    ) -> Result<Vec<Request>, CallError> {
        let requests = self.control(|guest, store| guest.call_instrument_requests(store, feed, answers))?;
        let requests = self.accept(requests)?;
        self.checked(validate::requests(&requests, &self.limits))?;
        Ok(requests)
    }

    /// Instruments of the feed, from the venue's answers.
    pub fn instruments(&mut self, feed: &Feed, answers: &[Answer]) -> Result<Vec<Instrument>, CallError> {
        let instruments = self.control(|guest, store| guest.call_instruments(store, feed, answers))?;
        let instruments = self.accept(instruments)?;
        self.checked(validate::instruments(&instruments, &self.limits))?;
        Ok(instruments)
    }

    /// Requests whose answers [`Sandbox::ranking`] still needs.
    pub fn ranking_requests(
        &mut self,
        feed: &Feed,
        by: RankingKey,
        answers: &[Answer],
    ) -> Result<Vec<Request>, CallError> {
        let requests = self.control(|guest, store| guest.call_ranking_requests(store, feed, by, answers))?;
        let requests = self.accept(requests)?;
        self.checked(validate::requests(&requests, &self.limits))?;
        Ok(requests)
    }

    /// Values of the venue's instruments, from its answers.
    pub fn ranking(
        &mut self,
        feed: &Feed,
        by: RankingKey,
        answers: &[Answer],
    ) -> Result<Vec<Ranked>, CallError> {
        let rows = self.control(|guest, store| guest.call_ranking(store, feed, by, answers))?;
        let rows = self.accept(rows)?;
        self.checked(validate::ranking(&rows, &self.limits))?;
        Ok(rows)
    }

    /// Prepares the instance for a feed: events then name instruments by their position in this list.
    pub fn load(&mut self, feed: &Feed, instruments: &[Instrument]) -> Result<(), CallError> {
        let loaded = self.control(|guest, store| guest.call_load(store, feed, instruments))?;
        self.accept(loaded)?;
        self.instruments = instruments.len();
        Ok(())
    }

    /// Connections, polls and resyncs of the loaded feed.
    pub fn plan(&mut self) -> Result<Plan, CallError> {
        let plan = self.control(|guest, store| guest.call_plan(store))?;
        let plan = self.accept(plan)?;
        self.checked(validate::plan(&plan, self.instruments, &self.limits))?;
        self.budgets = Some(plan.budgets.as_slice().into());
        Ok(plan)
    }

    /// From here on the instance counts there.
    pub(crate) fn count_in(&mut self, stats: &Arc<Stats>) {
        self.store.data_mut().count_in(stats);
        self.stats = Arc::clone(stats);
    }

    /// The request for trades of the loaded feed that were missed.
    pub fn backfill(&mut self, trades: TradeRange) -> Result<Request, CallError> {
        let request = self.control(|guest, store| guest.call_backfill(store, trades))?;
        let request = self.accept(request)?;
        self.checked(validate::backfill(&request, self.budgets.as_deref()))?;
        Ok(request)
    }

    pub(crate) fn set_budgets(&mut self, budgets: Arc<[Budget]>) {
        self.budgets = Some(budgets);
    }

    /// Turns frames into events. The result is checked against the contract: indices are in range, every frame has
    /// an event or a note, numbers and texts are within bounds.
    pub fn normalize(&mut self, batch: &FrameBatch) -> Result<Normalized, Fault> {
        self.stats.frames(batch.len());
        let normalized = self.checked_normalize(batch)?;
        self.stats.events(normalized.events.len());
        self.stats.notes(normalized.notes.len());
        Ok(normalized)
    }

    /// Replays frames whose events were published before; only the instance's state matters.
    pub(crate) fn learn(&mut self, batch: &FrameBatch) -> Result<(), Fault> {
        self.checked_normalize(batch).map(|_known| ())
    }

    fn checked_normalize(&mut self, batch: &FrameBatch) -> Result<Normalized, Fault> {
        let frames = batch.lowered();
        let (deadline, fuel) = (self.limits.call_deadline, self.limits.result_bytes);
        let normalized = self.call(deadline, fuel, |guest, store| guest.call_normalize(store, frames))?;
        let bounds = validate::ResultBounds {
            frames: batch.len(),
            instruments: self.instruments,
            budgets: self.budgets.as_deref(),
            limits: &self.limits,
        };
        self.checked(validate::normalized(&normalized, &bounds))?;
        Ok(normalized)
    }

    fn control<R>(
        &mut self,
        call: impl FnOnce(&dyn AdapterExports, &mut InstanceStore) -> wasmtime::Result<R>,
    ) -> Result<R, Fault> {
        self.call(self.limits.control_deadline, self.limits.control_result_bytes, call)
    }

    fn call<R>(
        &mut self,
        deadline: Duration,
        result_bytes: usize,
        call: impl FnOnce(&dyn AdapterExports, &mut InstanceStore) -> wasmtime::Result<R>,
    ) -> Result<R, Fault> {
        if self.broken {
            return Err(Fault {
                cause: FaultCause::Reload,
                detail: "this instance has faulted before".into(),
            });
        }
        self.store.set_epoch_deadline(Engine::ticks(deadline));
        self.store.set_hostcall_fuel(result_bytes);
        let began = Instant::now();
        let result = call(&*self.exports, &mut self.store);
        self.stats.called(began.elapsed());
        result.map_err(|error| {
            self.broken = true;
            counted(Fault::from_runtime(&error), &self.stats)
        })
    }

    /// Texts of a refusal come from the adapter and are cut to the limits.
    fn accept<R>(&self, result: Result<R, Refusal>) -> Result<R, CallError> {
        result.map_err(|mut refusal| {
            for text in [&mut refusal.field, &mut refusal.value, &mut refusal.allowed] {
                crate::logging::cut(text, self.limits.text_bytes);
            }
            CallError::Refused(refusal)
        })
    }

    /// An instance whose output contradicts the contract is not called again.
    fn checked(&mut self, result: Result<(), String>) -> Result<(), Fault> {
        result.map_err(|detail| {
            self.broken = true;
            Fault::invalid(detail)
        })
    }
}

fn counted(fault: Fault, stats: &Stats) -> Fault {
    if fault.is_host_limit() {
        stats.host_limits(1);
    }
    fault
}

/// Collects an adapter's requests for lists, or for a ranking, round by round until it needs no more. The caller sends the requests.
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
    pub fn next(&mut self, adapter: &mut Sandbox, feed: &Feed) -> Result<Vec<Request>, CallError> {
        let requests = adapter.instrument_requests(feed, &self.answers)?;
        self.round(requests)
    }

    /// As [`InstrumentRounds::next`], for a ranking.
    pub fn next_of_ranking(
        &mut self,
        adapter: &mut Sandbox,
        feed: &Feed,
        by: RankingKey,
    ) -> Result<Vec<Request>, CallError> {
        let requests = adapter.ranking_requests(feed, by, &self.answers)?;
        self.round(requests)
    }

    fn round(&mut self, requests: Vec<Request>) -> Result<Vec<Request>, CallError> {
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
