//! Adapters that fault, their quarantine and the compile cache.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod directories;
mod host_limits;
mod hostile;
mod trials;

use std::sync::{Arc, OnceLock};

use marketprism_adapter_host::contract::{DataType, Endpoint, Feed, Instrument};
use marketprism_adapter_host::fixtures::EXCHANGE;
use marketprism_adapter_host::{Adapter, Engine, Limits, Sandbox, Stats};

fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| Engine::new(None).expect("the engine starts"))
}

fn feed() -> Feed {
    Feed {
        exchange: EXCHANGE.into(),
        symbols: vec!["BTC-USDT".into()],
        market_types: Vec::new(),
        data_types: vec![DataType::Trade],
        depth: 400,
        endpoints: vec![Endpoint { name: "ws".into(), default_url: "ws://127.0.0.1:9/sim".into() }],
    }
}

fn sandbox(adapter: &Adapter, limits: &Limits) -> Sandbox {
    Sandbox::new(adapter, &Arc::new(limits.clone()), &Arc::new(Stats::default())).unwrap()
}

fn instruments(adapter: &Adapter, limits: &Limits) -> Vec<Instrument> {
    let mut sandbox = sandbox(adapter, limits);
    assert!(sandbox.instrument_requests(&feed(), &[]).unwrap().is_empty());
    sandbox.instruments(&feed(), &[]).unwrap()
}
