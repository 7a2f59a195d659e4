//! Past trades by id: the requests for them, and their golden answers.

use marketprism_adapter_host::contract::{
    Capability, DataType, Instrument, Payload, Request, TradeId, TradeRange,
};
use marketprism_adapter_host::{CallError, Sandbox, SourceIndex};

use crate::case::{Case, Cases};
use crate::market::Market;
use crate::report::{Check, Findings};

/// Instruments whose requests are checked.
const INSTRUMENTS: usize = 50;

/// Where the backfill is declared: each range has a request of its own within the budgets, and answers give trades of their instrument
/// only. Elsewhere it is refused.
pub(crate) fn backfill(cases: &Cases<'_>) -> Check {
    let mut findings = Findings::new("backfill", "requests past trades by id, or refuses to");
    let Some((market, _)) = &cases.start else { return findings.skipped(super::NO_MARKET) };
    let mut instance = match market.instance() {
        Ok(instance) => instance,
        Err(error) => {
            findings.cause(error);
            return findings.done("");
        }
    };
    let trades = market.venue.capabilities.iter().find(|one| one.data_type == DataType::Trade);
    let Some(trades) = trades.filter(|trades| trades.backfill) else {
        if ask(&mut instance, (0, 1, 1)).is_ok() {
            findings.cause("a backfill is not declared, and not refused");
        }
        return findings.done("not declared");
    };
    let asked = requests(market, trades, &mut instance, &mut findings);
    refusals(market, &mut instance, &mut findings);
    let answers: usize = cases.cases.iter().map(|case| answers(case, &mut findings)).sum();
    if answers == 0 {
        findings.cause("no golden frame is an answer of a backfill with a trade");
    }
    findings.done(format!("requests of {asked} instruments, {answers} answers"))
}

fn ask(instance: &mut Sandbox, (instrument, first, last): (u32, u64, u64)) -> Result<Request, CallError> {
    instance.backfill(TradeRange { instrument, first, last })
}

fn requests(
    market: &Market<'_>,
    trades: &Capability,
    instance: &mut Sandbox,
    findings: &mut Findings,
) -> usize {
    let is_traded = |one: &Instrument| one.trading && trades.market_types.contains(&one.market_type);
    // A volatility index has no trades.
    let is_streamed = |index: u32| {
        let mut streams = market.plan.connections.iter().flat_map(|connection| &connection.streams);
        streams.any(|stream| {
            stream.data_type == DataType::Trade && stream.instrument.is_none_or(|of| of == index)
        })
    };
    let all = (0_u32..).zip(&market.instruments);
    let mut asked = 0;
    for (index, _) in all.filter(|(index, one)| is_traded(one) && is_streamed(*index)).take(INSTRUMENTS) {
        asked += 1;
        let name = market.name(index);
        match (ask(instance, (index, 7_001, 7_005)), ask(instance, (index, 9_001, 9_005))) {
            (Ok(one), Ok(other)) if one == other => findings.cause(format!(
                "{name}: trades 7001 to 7005 and 9001 to 9005 have the same request {}",
                one.url
            )),
            (Ok(one), Ok(_)) if one.charges.is_empty() => findings.cause(format!(
                "{name}: {} charges no budget: nothing would keep it within the venue's limits",
                one.url
            )),
            (Ok(one), Ok(_)) if !is_of_venue(market, &one.url) => {
                findings.cause(format!("{name}: {} begins with none of the venue's endpoints", one.url));
            }
            (Ok(_), Ok(_)) => {}
            (Err(error), _) | (_, Err(error)) => {
                findings.cause(format!("{name}, trades 7001 to 7005: {error}"))
            }
        }
    }
    asked
}

fn is_of_venue(market: &Market<'_>, url: &str) -> bool {
    market.venue.endpoints.iter().any(|endpoint| url.starts_with(endpoint.default_url.trim_end_matches('/')))
}

fn refusals(market: &Market<'_>, instance: &mut Sandbox, findings: &mut Findings) {
    let count = u32::try_from(market.instruments.len()).unwrap_or(u32::MAX);
    for (what, range) in
        [("a range that ends before it begins", (0, 2, 1)), ("an unknown instrument", (count, 1, 1))]
    {
        match ask(instance, range) {
            Err(CallError::Refused(_)) => {}
            Err(CallError::Fault(fault)) => findings.cause(format!("{what}: {fault}; a refusal is due")),
            Ok(request) => findings.cause(format!("{what} is not refused: {}", request.url)),
        }
    }
}

/// Checks the answers of backfills in a case; returns the number of those with a trade.
fn answers(case: &Case<'_>, findings: &mut Findings) -> usize {
    let market = &case.market;
    let backfilled = |source: u32| SourceIndex::from(source).backfilled(&market.plan);
    if !case.frames.iter().any(|frame| backfilled(frame.source).is_some()) {
        return 0;
    }
    let normalized = match case.normalize(16) {
        Ok(normalized) => normalized,
        Err(error) => {
            findings.cause(error);
            return 0;
        }
    };
    let mut with_trades = std::collections::BTreeSet::new();
    for event in &normalized.events {
        let frame = event.frame as usize;
        let Some(asked) = case.frames.get(frame).and_then(|frame| backfilled(frame.source)) else { continue };
        with_trades.insert(frame);
        match &event.payload {
            Payload::Trade(trade) if matches!(trade.id, TradeId::Text(_)) => {
                findings.cause(format!("{}: the id of a past trade is no number", case.place(frame)));
            }
            Payload::Trade(trade) if u32::from(asked) != trade.instrument => findings.cause(format!(
                "{}: a trade of {}, asked for {}",
                case.place(frame),
                market.name(trade.instrument),
                market.name(asked.into())
            )),
            Payload::Trade(_) => {}
            other => findings.cause(format!(
                "{}: an event of type {}, expected trades only",
                case.place(frame),
                other.data_type()
            )),
        }
    }
    with_trades.len()
}
