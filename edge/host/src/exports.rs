//! The seam between the host and the versions of the contract. A version links a component and calls its functions; its results are the host's own
//! types ([`crate::contract`]). Whoever runs adapters knows nothing of versions.

use wasmtime::Store;
use wasmtime::component::Component;

use crate::contract::{
    Answer, Description, Feed, Frames, Instrument, Normalized, Plan, Ranked, RankingKey, Refusal, Request,
    TradeRange,
};
use crate::logging::StoreState;

pub(crate) type InstanceStore = Store<StoreState>;

/// Result of a call that an adapter may refuse.
pub(crate) type Refusable<T> = wasmtime::Result<Result<T, Refusal>>;

/// A version of the contract that the host runs.
pub(crate) trait ContractVersion: Sync {
    /// True for the versions, written as in a component, that this one runs.
    fn runs(&self, version: &str) -> bool;

    /// Checks the types of the component's functions.
    fn link(
        &self,
        engine: &wasmtime::Engine,
        component: &Component,
    ) -> wasmtime::Result<Box<dyn LinkedComponent>>;
}

/// A component whose imports are linked: instances of it start in microseconds.
pub(crate) trait LinkedComponent: Send + Sync {
    fn engine(&self) -> &wasmtime::Engine;

    /// An instance, and its exports: errors of the first are of its start function, of the second of its types.
    fn start(&self, store: &mut InstanceStore)
    -> wasmtime::Result<wasmtime::Result<Box<dyn AdapterExports>>>;
}

/// The functions of an instance, named as in the contract.
pub(crate) trait AdapterExports: Send + Sync {
    fn call_describe(&self, store: &mut InstanceStore) -> wasmtime::Result<Description>;

    fn call_instrument_requests(
        &self,
        store: &mut InstanceStore,
        feed: &Feed,
        answers: &[Answer],
    ) -> Refusable<Vec<Request>>;

    fn call_instruments(
        &self,
        store: &mut InstanceStore,
        feed: &Feed,
        answers: &[Answer],
    ) -> Refusable<Vec<Instrument>>;

    fn call_ranking_requests(
        &self,
        store: &mut InstanceStore,
        feed: &Feed,
        by: RankingKey,
        answers: &[Answer],
    ) -> Refusable<Vec<Request>>;

    fn call_ranking(
        &self,
        store: &mut InstanceStore,
        feed: &Feed,
        by: RankingKey,
        answers: &[Answer],
    ) -> Refusable<Vec<Ranked>>;

    fn call_load(&self, store: &mut InstanceStore, feed: &Feed, instruments: &[Instrument]) -> Refusable<()>;

    fn call_plan(&self, store: &mut InstanceStore) -> Refusable<Plan>;

    fn call_backfill(&self, store: &mut InstanceStore, trades: TradeRange) -> Refusable<Request>;

    fn call_normalize(&self, store: &mut InstanceStore, frames: &Frames) -> wasmtime::Result<Normalized>;
}

/// Splits `MAJOR.MINOR.PATCH`; `None` for anything else.
pub(crate) fn major(version: &str) -> Option<&str> {
    let mut parts = version.split('.');
    let major = parts.next()?;
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let rest = [parts.next()?, parts.next()?];
    (parts.next().is_none() && is_number(major) && rest.into_iter().all(is_number)).then_some(major)
}
