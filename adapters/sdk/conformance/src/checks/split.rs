//! A feed of very many instruments is split over connections and messages.

use std::collections::BTreeSet;

use marketprism_adapter_host::contract::Instrument;

use crate::findings::Findings;
use crate::market::Market;
use crate::report::Check;

const MANY: usize = 600;

/// Streams of one connection: no venue of the field allows more.
const STREAMS_MAX: usize = 1_024;

/// Bytes of one message to a venue.
const MESSAGE_BYTES: usize = 64 << 10;

/// Plans a feed of copies of the first instrument under invented names.
pub(crate) fn split(market: Option<&Market<'_>>) -> Check {
    let mut findings =
        Findings::new("split", "splits a feed of many instruments over connections and messages");
    let Some(market) = market else { return findings.skipped(super::NO_MARKET) };
    let Some(first) = market.instruments.iter().find(|one| one.trading) else {
        return findings.skipped("no instrument trades");
    };
    let many: Vec<Instrument> = (0..MANY).map(|number| invented(first, number)).collect();
    let planned = market.subject.instance().map_err(|fault| fault.to_string()).and_then(|mut instance| {
        instance.load(&market.feed, &many).map_err(|error| error.to_string())?;
        instance.plan().map_err(|error| error.to_string())
    });
    let plan = match planned {
        Ok(plan) => plan,
        Err(error) => {
            return findings.skipped(format!("instruments with invented names are not taken: {error}"));
        }
    };
    for connection in &plan.connections {
        let (name, streams) = (&connection.name, connection.streams.len());
        if streams > STREAMS_MAX {
            findings.cause(format!("connection {name} has {streams} streams, allowed are {STREAMS_MAX}"));
        }
        if let Some(long) = connection.on_open.iter().map(String::len).find(|length| *length > MESSAGE_BYTES)
        {
            findings.cause(format!(
                "connection {name} sends a message of {long} bytes, allowed are {MESSAGE_BYTES}"
            ));
        }
    }
    let streams: usize = plan.connections.iter().map(|connection| connection.streams.len()).sum();
    let routes: BTreeSet<&str> = plan.connections.iter().map(|connection| connection.url.as_str()).collect();
    if streams > STREAMS_MAX && plan.connections.len() <= routes.len() {
        findings.cause(format!("{streams} streams stand on {} connections", plan.connections.len()));
    }
    findings.done(format!("{MANY} instruments: {streams} streams on {} connections", plan.connections.len()))
}

/// A copy of the instrument under another name, the venue's own spelling of the base included.
fn invented(first: &Instrument, number: usize) -> Instrument {
    let base = format!("Z{number}");
    let rename = |text: &str| match text.split_once(first.base.as_str()) {
        Some((before, after)) => format!("{before}{base}{after}"),
        None => format!("{base}{text}"),
    };
    Instrument {
        symbol: rename(&first.symbol),
        venue_symbol: rename(&first.venue_symbol),
        base: base.clone(),
        ..first.clone()
    }
}
