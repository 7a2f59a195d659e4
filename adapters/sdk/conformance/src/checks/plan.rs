//! The plan holds the whole feed, within the venue's limits, also for very many instruments.

use std::collections::BTreeSet;

use marketprism_adapter_host::contract::{
    Capability, DataType, Delivery, Instrument, Plan, ResyncAction, SnapshotSource,
};

use crate::case::Cases;
use crate::market::Market;
use crate::names::{data_type, is_index, word};
use crate::report::{Check, Findings};

/// Looks at the plan of every market.
pub(crate) fn plan(cases: &Cases<'_>) -> Check {
    let promise = "plans every stream and poll of the feed, with limits, budgets and resyncs";
    let mut findings = Findings::new("plan", promise);
    let golden = cases.start.iter().map(|(market, _)| market.as_ref());
    let recorded = cases.cases.iter().filter(|case| case.is_recording()).map(|case| case.market.as_ref());
    let markets: Vec<&Market<'_>> = golden.chain(recorded).collect();
    for market in &markets {
        same_again(market, &mut findings);
        charges(&market.plan, &mut findings);
        streams(market, &mut findings);
        cells(market, &mut findings);
        resyncs(market, &mut findings);
    }
    let Some(market) = markets.first() else { return findings.skipped(super::NO_MARKET) };
    let Plan { connections, polls, resyncs, .. } = &market.plan;
    let streams: usize = connections.iter().map(|connection| connection.streams.len()).sum();
    findings.done(format!(
        "{} connections with {streams} streams, {} polls, {} resyncs",
        connections.len(),
        polls.len(),
        resyncs.len()
    ))
}

fn same_again(market: &Market<'_>, findings: &mut Findings) {
    match market.plan_of(&market.instruments) {
        Ok(again) if again == market.plan => {}
        Ok(_) => findings.cause("another instance makes another plan for the same feed"),
        Err(error) => findings.cause(format!("another instance: {error}")),
    }
}

/// The host has checked addresses, budgets and charges; here every request must be charged.
fn charges(plan: &Plan, findings: &mut Findings) {
    let requests = plan.polls.iter().map(|poll| &poll.request);
    let resyncs = plan.resyncs.iter().filter_map(|resync| match &resync.action {
        ResyncAction::Request(request) => Some(request),
        ResyncAction::Resubscribe(_) => None,
    });
    let clock = plan.clock.iter().map(|clock| &clock.request);
    if let Some(free) = requests.chain(resyncs).chain(clock).find(|request| request.charges.is_empty()) {
        findings.cause(format!(
            "{} charges no budget: nothing would keep it within the venue's limits",
            free.url
        ));
    }
}

fn streams(market: &Market<'_>, findings: &mut Findings) {
    for connection in &market.plan.connections {
        let name = &connection.name;
        if connection.streams.is_empty() {
            findings.cause(format!("connection {name} has no stream: its silence could not be noticed"));
        }
        for stream in &connection.streams {
            if stream.expected_silence_ms > 0 && stream.resubscribe.is_empty() {
                let kind = data_type(stream.data_type);
                let of = stream.instrument.map_or("all instruments".to_owned(), |index| market.name(index));
                findings.cause(format!(
                    "connection {name}, {kind} of {of}: a silence of {} ms is a fault, but nothing is said to subscribe again",
                    stream.expected_silence_ms
                ));
            }
        }
    }
}

/// True when a venue has this data type of this instrument.
pub(crate) fn is_cell(capability: &Capability, instrument: &Instrument) -> bool {
    let index = capability.data_type == DataType::VolatilityIndex;
    capability.market_types.contains(&instrument.market_type) && is_index(instrument) == index
}

/// Looks for a stream or a poll of every data type of every instrument. A venue may offer a type only for some quote currencies: what is
/// left out for all instruments of a market type and quote is taken so, as long as others have it.
fn cells(market: &Market<'_>, findings: &mut Findings) {
    for capability in &market.venue.capabilities {
        // Instruments that do not trade may be missing in a feed without symbols.
        let all =
            (0_u32..).zip(&market.instruments).filter(|(_, one)| one.trading && is_cell(capability, one));
        let all: Vec<(u32, &Instrument)> = all.collect();
        let group = |one: &Instrument| (one.market_type as u8, one.quote.clone());
        let planned: BTreeSet<_> = all
            .iter()
            .filter(|(index, _)| is_planned(market, capability, *index))
            .map(|(_, one)| group(one))
            .collect();
        for (index, one) in &all {
            let missed = !is_planned(market, capability, *index);
            if missed && (planned.contains(&group(one)) || planned.is_empty()) {
                let (kind, name) = (data_type(capability.data_type), market.name(*index));
                let how = word(&capability.delivery).to_lowercase();
                findings.cause(format!(
                    "{kind} of {name} is not in the plan, the capability declares it by {how}"
                ));
            }
        }
    }
}

fn is_planned(market: &Market<'_>, capability: &Capability, index: u32) -> bool {
    let has =
        |of: Option<u32>, kind: DataType| kind == capability.data_type && of.is_none_or(|of| of == index);
    match capability.delivery {
        Delivery::Push => {
            let mut streams = market.plan.connections.iter().flat_map(|connection| &connection.streams);
            streams.any(|stream| has(stream.instrument, stream.data_type))
        }
        Delivery::Poll => {
            market.plan.polls.iter().any(|poll| !poll.reference && has(poll.instrument, poll.data_type))
        }
    }
}

fn resyncs(market: &Market<'_>, findings: &mut Findings) {
    let books = market.venue.capabilities.iter().find(|one| one.data_type == DataType::Orderbook);
    let Some(books) = books else { return };
    for (index, one) in (0_u32..).zip(&market.instruments) {
        if !one.trading || !is_cell(books, one) {
            continue;
        }
        let action =
            market.plan.resyncs.iter().find(|resync| resync.instrument == index).map(|one| &one.action);
        match (action, books.snapshot) {
            (Some(ResyncAction::Request(_)), SnapshotSource::Request)
            | (Some(ResyncAction::Resubscribe(_)), SnapshotSource::InBand) => {}
            (None, _) => findings.cause(format!("the book of {} has no resync", market.name(index))),
            (Some(_), declared) => findings.cause(format!(
                "the resync of {} is not as declared: snapshots come by {}",
                market.name(index),
                word(&declared)
            )),
        }
    }
}

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
    let plan = match market.plan_of(&many) {
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
