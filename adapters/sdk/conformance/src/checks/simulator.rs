//! The plan against a simulator of the venue.

use std::collections::BTreeMap;
use std::time::Duration;

use marketprism_adapter_host::contract::{
    Answer, Endpoint, Feed, Instrument, Method, Ranked, RankingKey, Request, Venue,
};
use marketprism_adapter_host::{FrameBatch, InstrumentRounds, Sandbox};
use marketprism_socket::{
    Budgets, FeedSockets, InputBounds, InputReceiver, RestClient, SocketEvent, SocketOptions, http_client,
    input_queue,
};
use tokio::time::{Instant, timeout_at};

use crate::case::Options;
use crate::market::{TestedAdapter, whole_feed};
use crate::names::{MARKET_TYPES, is_index};
use crate::report::{Check, Findings};

use super::expected_input::ExpectedInput;
use super::rankings::{measure, wrong_rows};

const INSTRUMENTS: usize = 2;

/// Longest period of a poll here.
const PERIOD_MS: u32 = 1_500;

const INPUTS_MAX: InputBounds = InputBounds { events: 1_024, bytes: 64 << 20 };

const STOP: Duration = Duration::from_secs(2);

enum SimulatorFailure {
    Skip(String),
    Failed(String),
}

pub(crate) fn simulator(subject: &TestedAdapter, venue: &Venue, options: &Options) -> Check {
    let promise = "gets an event from every stream, poll and resync of its plan";
    let mut findings = Findings::new("simulator", promise);
    let Some(base) = &options.simulator else {
        return findings.skipped("no simulator was given");
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            findings.cause(format!("the runtime cannot start: {error}"));
            return findings.done("");
        }
    };
    let met =
        runtime.block_on(collect_from_simulator(subject, venue, base, options.simulator_time, &mut findings));
    match met {
        Ok(detail) => findings.done(detail),
        Err(SimulatorFailure::Skip(reason)) => findings.skipped(reason),
        Err(SimulatorFailure::Failed(cause)) => {
            findings.cause(cause);
            findings.done("")
        }
    }
}

async fn collect_from_simulator(
    subject: &TestedAdapter,
    venue: &Venue,
    base: &str,
    time: Duration,
    findings: &mut Findings,
) -> Result<String, SimulatorFailure> {
    let failed =
        |what: &str, error: &dyn std::fmt::Display| SimulatorFailure::Failed(format!("{what}: {error}"));
    let client = http_client(&SocketOptions::default()).map_err(|error| failed("requests", &error))?;
    let budgets = Budgets::new();
    let endpoints = endpoints(&client, &budgets, base, venue).await?;
    let everything = Feed { endpoints, ..whole_feed(venue) };
    let all = listed(subject, &client, &budgets, &everything).await?;
    let mut rankings = String::new();
    for by in &venue.rankings {
        match ranked(subject, &client, &budgets, (&everything, *by)).await {
            Ok(rows) => {
                for wrong in wrong_rows(&rows, &all.1) {
                    findings.cause(format!("ranking by {}: {wrong}", measure(*by)));
                }
                rankings += &format!(", {} ranked instruments", rows.len());
            }
            // Not every simulator ranks.
            Err(reason) => rankings += &format!(", no ranking by {} ({reason})", measure(*by)),
        }
    }
    let feed = Feed { symbols: few(&all.1), ..everything };
    let (mut sandbox, instruments) = listed(subject, &client, &budgets, &feed).await?;
    sandbox.load(&feed, &instruments).map_err(|error| failed("load", &error))?;
    let mut plan = sandbox.plan().map_err(|error| failed("plan", &error))?;
    for poll in &mut plan.polls {
        poll.period_ms = poll.period_ms.min(PERIOD_MS);
    }
    let (sender, inputs) = input_queue(INPUTS_MAX);
    let sockets = FeedSockets::start(&plan, SocketOptions::default(), budgets, sender)
        .map_err(|error| failed("sockets", &error))?;
    let began = Instant::now();
    let mut expected_input = ExpectedInput::new(&plan, &instruments);
    let collected = collect(&mut sandbox, &sockets, inputs, &mut expected_input, began + time).await;
    sockets.stop(STOP).await;
    collected.map_err(SimulatorFailure::Failed)?;
    Ok(expected_input.report(began.elapsed(), findings) + &rankings)
}

async fn endpoints(
    client: &RestClient,
    budgets: &Budgets,
    base: &str,
    venue: &Venue,
) -> Result<Vec<Endpoint>, SimulatorFailure> {
    let url = format!("{}/sim/endpoints", base.trim_end_matches('/'));
    let request = Request {
        method: Method::Get,
        url: url.clone(),
        headers: Vec::new(),
        body: None,
        charges: Vec::new(),
        timeout_ms: 5_000,
    };
    let failed = |error: &dyn std::fmt::Display| SimulatorFailure::Failed(format!("{url}: {error}"));
    let body = client.fetch(budgets, &request).await.map_err(|error| failed(&error))?;
    let mut all: BTreeMap<String, BTreeMap<String, String>> =
        serde_json::from_slice(&body).map_err(|error| failed(&error))?;
    let Some(of_exchange) = all.remove(&venue.exchange) else {
        let served: Vec<String> = all.into_keys().collect();
        return Err(SimulatorFailure::Skip(format!("the simulator serves only {}", served.join(", "))));
    };
    let known = |name: &String| venue.endpoints.iter().any(|endpoint| endpoint.name == *name);
    let endpoint = |(name, default_url)| Endpoint { name, default_url };
    Ok(of_exchange.into_iter().filter(|(name, _)| known(name)).map(endpoint).collect())
}

async fn listed(
    subject: &TestedAdapter,
    client: &RestClient,
    budgets: &Budgets,
    feed: &Feed,
) -> Result<(Sandbox, Vec<Instrument>), SimulatorFailure> {
    let failed =
        |what: &str, error: &dyn std::fmt::Display| SimulatorFailure::Failed(format!("{what}: {error}"));
    let mut sandbox = subject.instance().map_err(|fault| failed("a new instance", &fault))?;
    let mut rounds = InstrumentRounds::new(&subject.limits);
    loop {
        let requests =
            rounds.next(&mut sandbox, feed).map_err(|error| failed("instrument requests", &error))?;
        if requests.is_empty() {
            break;
        }
        for (position, request) in requests.iter().enumerate() {
            let fetched = client.fetch(budgets, request).await;
            let body = fetched.map_err(|error| failed(&request.url, &error))?;
            rounds.answer(position, body.into()).map_err(|error| failed(&request.url, &error))?;
        }
    }
    let answers: &[Answer] = rounds.answers();
    let instruments =
        sandbox.instruments(feed, answers).map_err(|error| failed("the simulator's instruments", &error))?;
    if instruments.is_empty() {
        return Err(SimulatorFailure::Failed("the simulator lists no instrument".to_owned()));
    }
    Ok((sandbox, instruments))
}

async fn ranked(
    subject: &TestedAdapter,
    client: &RestClient,
    budgets: &Budgets,
    (feed, by): (&Feed, RankingKey),
) -> Result<Vec<Ranked>, String> {
    let failed = |what: &str, error: &dyn std::fmt::Display| format!("{what}: {error}");
    let mut sandbox = subject.instance().map_err(|fault| failed("a new instance", &fault))?;
    let mut rounds = InstrumentRounds::new(&subject.limits);
    loop {
        let requests =
            rounds.next_of_ranking(&mut sandbox, feed, by).map_err(|error| failed("requests", &error))?;
        if requests.is_empty() {
            break;
        }
        for (position, request) in requests.iter().enumerate() {
            let fetched = client.fetch(budgets, request).await;
            let body = fetched.map_err(|error| failed(&request.url, &error))?;
            rounds.answer(position, body.into()).map_err(|error| failed(&request.url, &error))?;
        }
    }
    sandbox.ranking(feed, by, rounds.answers()).map_err(|error| failed("the simulator's answers", &error))
}

fn few(instruments: &[Instrument]) -> Vec<String> {
    let mut symbols: Vec<String> = Vec::new();
    for kind in MARKET_TYPES {
        for index in [false, true] {
            let of_kind = instruments.iter().filter(|one| one.market_type == kind && is_index(one) == index);
            let trading = of_kind.filter(|one| one.trading).take(INSTRUMENTS);
            symbols.extend(trading.map(|one| one.symbol.clone()));
        }
    }
    symbols.sort();
    symbols.dedup();
    symbols
}

async fn collect(
    sandbox: &mut Sandbox,
    sockets: &FeedSockets,
    mut inputs: InputReceiver,
    expected_input: &mut ExpectedInput<'_>,
    until: Instant,
) -> Result<(), String> {
    let mut batch = FrameBatch::new();
    while !expected_input.is_complete() {
        let Ok(Some(input)) = timeout_at(until, inputs.recv()).await else { return Ok(()) };
        match input {
            SocketEvent::Frame(frame) => {
                batch.clear();
                batch
                    .push(&frame.data, frame.source, frame.received_at_ns)
                    .map_err(|error| error.to_string())?;
                let normalized = sandbox
                    .normalize(&batch)
                    .map_err(|fault| format!("`{}`: {fault}", crate::case::snippet(&frame.data)))?;
                expected_input.record(frame.source, frame.generation, &frame.data, &normalized, sockets);
            }
            SocketEvent::RequestFailed { source, reason, .. } => expected_input.failed(source, &reason),
            _ => {}
        }
    }
    Ok(())
}
