//! The plan holds the whole feed, within the venue's limits.

use std::collections::BTreeSet;

use marketprism_adapter_host::contract::{
    Capability, DataType, Delivery, Instrument, Plan, ResyncAction, SnapshotSource,
};

use crate::case::Cases;
use crate::findings::Findings;
use crate::market::Market;
use crate::names::{data_type, is_index, word};
use crate::report::Check;

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
    let again = market.subject.instance().map_err(|fault| fault.to_string()).and_then(|mut instance| {
        instance.load(&market.feed, &market.instruments).map_err(|error| error.to_string())?;
        instance.plan().map_err(|error| error.to_string())
    });
    match again {
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
    if let Some(free) = requests.chain(resyncs).find(|request| request.charges.is_empty()) {
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
