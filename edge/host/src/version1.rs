//! Contract version 1, whose types are the host's own.

use wasmtime::component::{Component, HasSelf, Linker};

use crate::contract::{
    Answer, Description, Feed, Frames, Instrument, Normalized, Plan, Ranked, RankingKey, Request, TradeRange,
};
use crate::exports::{AdapterExports, ContractVersion, InstanceStore, LinkedComponent, Refusable, major};
use crate::logging::StoreState;
use crate::v1::{VenueAdapter, VenueAdapterPre};

/// Any 1.x: later minor versions only add to the contract.
pub(crate) struct Version1;

impl ContractVersion for Version1 {
    fn runs(&self, version: &str) -> bool {
        major(version) == Some("1")
    }

    fn link(
        &self,
        engine: &wasmtime::Engine,
        component: &Component,
    ) -> wasmtime::Result<Box<dyn LinkedComponent>> {
        let mut linker = Linker::new(engine);
        VenueAdapter::add_to_linker::<_, HasSelf<StoreState>>(&mut linker, |state| state)?;
        Ok(Box::new(VenueAdapterPre::new(linker.instantiate_pre(component)?)?))
    }
}

impl LinkedComponent for VenueAdapterPre<StoreState> {
    fn engine(&self) -> &wasmtime::Engine {
        self.engine()
    }

    fn start(
        &self,
        store: &mut InstanceStore,
    ) -> wasmtime::Result<wasmtime::Result<Box<dyn AdapterExports>>> {
        let instance = self.instance_pre().instantiate(&mut *store)?;
        Ok(VenueAdapter::new(store, &instance).map(|exports| Box::new(exports) as Box<dyn AdapterExports>))
    }
}

/// The generated functions have the host's types.
macro_rules! forward {
    ($($name:ident($($argument:ident: $of:ty),*) -> $result:ty;)+) => {
        impl AdapterExports for VenueAdapter {
            $(fn $name(&self, store: &mut InstanceStore $(, $argument: $of)*) -> $result {
                self.marketprism_adapter_adapter().$name(store $(, $argument)*)
            })+
        }
    };
}

forward! {
    call_describe() -> wasmtime::Result<Description>;
    call_instrument_requests(feed: &Feed, answers: &[Answer]) -> Refusable<Vec<Request>>;
    call_instruments(feed: &Feed, answers: &[Answer]) -> Refusable<Vec<Instrument>>;
    call_ranking_requests(feed: &Feed, by: RankingKey, answers: &[Answer]) -> Refusable<Vec<Request>>;
    call_ranking(feed: &Feed, by: RankingKey, answers: &[Answer]) -> Refusable<Vec<Ranked>>;
    call_load(feed: &Feed, instruments: &[Instrument]) -> Refusable<()>;
    call_plan() -> Refusable<Plan>;
    call_backfill(trades: TradeRange) -> Refusable<Request>;
    call_normalize(frames: &Frames) -> wasmtime::Result<Normalized>;
}
