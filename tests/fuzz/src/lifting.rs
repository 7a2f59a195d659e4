//! A sandbox whose result is any bytes.
//!
//! An input is the memory of the instance at its result: three lists by address and length (events, levels, notes), and their content.
//! Addresses of the lists are taken as offsets into the input, else hardly any would be inside it.

use std::cell::RefCell;
use std::sync::{Arc, OnceLock};

use marketprism_adapter_host::contract::{DataType, Feed};
use marketprism_adapter_host::fixtures::{ECHO_AT, EXCHANGE, FixtureKind, component};
use marketprism_adapter_host::{Adapter, Engine, Fault, FaultCause, FrameBatch, Limits, Sandbox, Stats};

/// Bytes of the head of a result: addresses and lengths of its three lists.
const HEAD: usize = 24;

const BYTES: usize = 64 << 10;

/// Gives a sandbox the input as the result of one frame.
pub(crate) fn run(input: &[u8]) {
    if input.len() < HEAD || input.len() > BYTES {
        return;
    }
    let mut image = input.to_vec();
    relocate(&mut image);
    let mut batch = FrameBatch::new();
    if batch.push(&image, 0, 1).is_err() {
        return;
    }
    INSTANCE.with_borrow_mut(|slot| {
        let mut sandbox = slot.take().unwrap_or_else(instance);
        match sandbox.normalize(&batch) {
            Ok(result) => {
                let frames = result.events.iter().map(|event| event.frame);
                let frames = frames.chain(result.notes.iter().map(|note| note.frame));
                assert!(frames.into_iter().all(|frame| frame == 0), "a frame that is not there was accepted");
                *slot = Some(sandbox);
            }
            // Refused, or unreadable: the instance is discarded. A trap, or memory that grows, would be the fixture's own.
            Err(Fault { cause: FaultCause::InvalidOutput, .. }) => {}
            Err(fault) => panic!("{fault}"),
        }
    });
}

thread_local! {
    static INSTANCE: RefCell<Option<Sandbox>> = const { RefCell::new(None) };
}

fn instance() -> Sandbox {
    static ADAPTER: OnceLock<Adapter> = OnceLock::new();
    let made = || -> Result<Sandbox, Box<dyn std::error::Error>> {
        let limits = Limits::default();
        let adapter = match ADAPTER.get() {
            Some(adapter) => adapter.clone(),
            None => Adapter::from_bytes(&Engine::new(None)?, &component(FixtureKind::Echo), &limits)?,
        };
        let adapter = ADAPTER.get_or_init(|| adapter);
        let mut sandbox = Sandbox::new(adapter, &Arc::new(limits), &Arc::new(Stats::default()))?;
        let feed = Feed {
            exchange: EXCHANGE.to_owned(),
            symbols: Vec::new(),
            market_types: Vec::new(),
            data_types: vec![DataType::Trade],
            depth: 1,
            endpoints: Vec::new(),
        };
        let instruments = sandbox.instruments(&feed, &[])?;
        sandbox.load(&feed, &instruments)?;
        Ok(sandbox)
    };
    made().unwrap_or_else(|error| panic!("the fixture: {error}"))
}

/// The addresses of the three lists become places in the input, aligned as lists of records are.
fn relocate(image: &mut [u8]) {
    let length = u32::try_from(image.len()).unwrap_or(u32::MAX);
    for at in [0, 8, 16] {
        let Some(field) = image.get_mut(at..at + 4) else { continue };
        let mut address = [0; 4];
        address.copy_from_slice(field);
        let offset = (u32::from_le_bytes(address) % length) & !7;
        field.copy_from_slice(&(ECHO_AT + offset).to_le_bytes());
    }
}
