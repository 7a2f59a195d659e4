//! Rankings of the venue's instruments: those that `describe` offers hold what an edge chooses the best of, others are refused.

use std::collections::BTreeSet;

use marketprism_adapter_host::contract::{Answer, Feed, Instrument, Ranked, RankingKey, Request, Venue};
use marketprism_adapter_host::{CallError, Sandbox};

use crate::case::Cases;
use crate::market::{Market, TestedAdapter, whole_feed};
use crate::names::is_index;
use crate::report::{Check, Findings};

/// Every measure of the contract.
const MEASURES: [RankingKey; 1] = [RankingKey::Volume24h];

/// Answers that are no ranking of any venue.
const DAMAGED: [&[u8]; 4] = [b"", b"<html>busy</html>", b"{\"list\":[", &[0xff, 0xfe, 0x00]];

/// Asks for every measure, offered or not, and compares the rows of golden or recorded answers with the instruments.
pub(crate) fn rankings(subject: &TestedAdapter, venue: &Venue, cases: &Cases<'_>) -> Check {
    let promise = "ranks the instruments by what it offers, each once, and refuses other rankings";
    let mut findings = Findings::new("rankings", promise);
    let feed = whole_feed(venue);
    let mut rows = 0;
    for by in MEASURES {
        let asked = match subject.instance() {
            Ok(instance) => ask(instance, subject, (venue, &feed, by), cases),
            Err(fault) => Err(format!("a new instance: {fault}")),
        };
        match asked {
            Ok(compared) => rows += compared,
            Err(cause) => findings.cause(format!("{}: {cause}", measure(by))),
        }
    }
    if venue.rankings.is_empty() {
        return findings.done("none is offered");
    }
    if rows == 0 {
        return findings.skipped(
            "requests and damaged answers only: no golden or recorded answer to the requests, give one or a simulator",
        );
    }
    findings.done(format!("{rows} ranked instruments"))
}

/// Checks one measure; the number of rows that were compared.
fn ask(
    mut instance: Sandbox,
    subject: &TestedAdapter,
    (venue, feed, by): (&Venue, &Feed, RankingKey),
    cases: &Cases<'_>,
) -> Result<usize, String> {
    if !venue.rankings.contains(&by) {
        refused("its requests", instance.ranking_requests(feed, by, &[]))?;
        refused("its rows", instance.ranking(feed, by, &[]))?;
        return Ok(0);
    }
    let failed = |error: CallError| format!("requests: {error}");
    let requests = instance.ranking_requests(feed, by, &[]).map_err(failed)?;
    sound_requests(venue, &requests)?;
    let again = subject.instance().map_err(|fault| fault.to_string())?.ranking_requests(feed, by, &[]);
    if again.map_err(failed)? != requests {
        return Err("another instance has other requests".to_owned());
    }
    for body in DAMAGED {
        let answer = Answer { request: 0, body: body.to_vec() };
        let shown = String::from_utf8_lossy(body).into_owned();
        refused(&format!("the damaged answer {shown:?}"), instance.ranking(feed, by, &[answer]))?;
    }
    let recorded = cases.cases.iter().filter(|case| case.is_recording());
    let markets = cases.start.iter().map(|(market, _)| ("golden", market.as_ref()));
    let markets = markets.chain(recorded.map(|case| (case.name.as_str(), case.market.as_ref())));
    let mut compared = 0;
    for (name, market) in markets {
        let answers = market.rankings.iter().find(|(known, _)| *known == by);
        if let Some((_, answers)) = answers {
            compared += compare(market, by, answers).map_err(|cause| format!("{name}: {cause}"))?;
        }
    }
    Ok(compared)
}

fn refused<T>(what: &str, answer: Result<T, CallError>) -> Result<(), String> {
    match answer {
        Err(CallError::Refused(_)) => Ok(()),
        Err(CallError::Fault(fault)) => Err(format!("{what}: {fault}; a refusal is due")),
        Ok(_) => Err(format!("{what}: not refused")),
    }
}

fn sound_requests(venue: &Venue, requests: &[Request]) -> Result<(), String> {
    if requests.is_empty() {
        return Err("it is offered, and asks the venue nothing".to_owned());
    }
    let is_of_venue = |url: &str| {
        venue.endpoints.iter().any(|endpoint| url.starts_with(endpoint.default_url.trim_end_matches('/')))
    };
    match requests.iter().find(|request| !is_of_venue(&request.url)) {
        Some(request) => Err(format!("{} begins with none of the venue's endpoints", request.url)),
        None => Ok(()),
    }
}

fn compare(market: &Market<'_>, by: RankingKey, answers: &[Answer]) -> Result<usize, String> {
    let read = |answers: &[Answer]| {
        let mut instance = market.subject.instance().map_err(|fault| fault.to_string())?;
        instance.ranking(&market.feed, by, answers).map_err(|error| error.to_string())
    };
    let rows = read(answers)?;
    if read(answers)? != rows {
        return Err("another instance ranks otherwise".to_owned());
    }
    if let Some(wrong) = wrong_rows(&rows, &market.instruments).into_iter().next() {
        return Err(wrong);
    }
    // Half an answer: its instruments would take the places of the others.
    let mut cut = answers.to_vec();
    if let Some(last) = cut.last_mut() {
        last.body.truncate(last.body.len() / 2);
    }
    let half: Result<Vec<Ranked>, String> = read(&cut);
    match half {
        Ok(rows) => Err(format!("half an answer is read as a ranking of {} instruments", rows.len())),
        Err(_) => Ok(rows.len()),
    }
}

/// Reasons for which an edge could not choose the best instruments by these rows.
pub(super) fn wrong_rows(rows: &[Ranked], instruments: &[Instrument]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut ranked = BTreeSet::new();
    for row in rows {
        if !ranked.insert(row.venue_symbol.as_str()) {
            wrong.push(format!("{} is ranked twice", row.venue_symbol));
        }
    }
    let traded: Vec<&Instrument> = instruments.iter().filter(|one| one.trading && !is_index(one)).collect();
    let is_missing = |one: &&&Instrument| !ranked.contains(one.venue_symbol.as_str());
    let missing: Vec<&&Instrument> = traded.iter().filter(is_missing).collect();
    // The rule by which an edge refuses a ranking.
    if missing.len() * 2 > traded.len() {
        let (count, all) = (missing.len(), traded.len());
        let example = missing.first().map(|one| one.venue_symbol.as_str()).unwrap_or_default();
        let found = rows.first().map(|row| row.venue_symbol.as_str()).unwrap_or("nothing");
        wrong.push(format!(
            "{count} of {all} traded instruments are missing, such as {example:?}; ranked is {found:?} (allowed: at most half)"
        ));
    }
    if !rows.is_empty() && rows.iter().all(|row| row.value.mantissa == 0) {
        wrong.push("every value is 0".to_owned());
    }
    wrong
}

pub(super) const fn measure(by: RankingKey) -> &'static str {
    match by {
        RankingKey::Volume24h => "volume24h",
    }
}
