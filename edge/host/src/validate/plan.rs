//! Checks of `plan` and `instrument-requests`: sizes, periods and index ranges. No plan may make the edge spin or refer to missing entries.

use super::basics::{Check, NAME_BYTES, at_most, index, token};
use super::contradictions::{plan_problems, request_problems};
use crate::contract::{Budget, Charge, Connection, Heartbeat, Plan, Poll, Request, Resync, ResyncAction};
use crate::limits::Limits;

/// Longest URL.
const URL_BYTES: usize = 16 << 10;

/// Longest body of a request or text to send. One subscribe message may name hundreds of streams.
const MESSAGE_BYTES: usize = 256 << 10;

/// Shortest period of a poll or heartbeat.
const PERIOD_MS: u32 = 100;

fn messages(what: &str, messages: &[String], limits: &Limits) -> Check {
    at_most(&format!("messages of {what}"), messages.len(), limits.plan_entries)?;
    messages
        .iter()
        .try_for_each(|text| at_most(&format!("length of a message of {what}"), text.len(), MESSAGE_BYTES))
}

/// Sizes of an address and its headers.
fn address(what: &str, url: &str, headers: &[(String, String)]) -> Check {
    at_most(&format!("length of the url of {what}"), url.len(), URL_BYTES)?;
    at_most(&format!("headers of {what}"), headers.len(), 64)?;
    headers.iter().try_for_each(|(name, value)| {
        at_most("length of a header name", name.len(), NAME_BYTES)?;
        at_most(&format!("length of header {name}"), value.len(), URL_BYTES)
    })
}

fn period(what: &str, ms: u32) -> Check {
    if ms < PERIOD_MS { Err(format!("{what} is {ms} ms, allowed is {PERIOD_MS} at least")) } else { Ok(()) }
}

fn charges(what: &str, charges: &[Charge]) -> Check {
    at_most(&format!("charges of {what}"), charges.len(), 64)?;
    charges.iter().try_for_each(|charge| token("budget", &charge.budget, NAME_BYTES, |c| !c.is_control()))
}

fn request_sizes(what: &str, request: &Request) -> Check {
    address(what, &request.url, &request.headers)?;
    at_most(&format!("body of {what}"), request.body.as_ref().map_or(0, Vec::len), MESSAGE_BYTES)?;
    charges(what, &request.charges)?;
    period(&format!("timeout of {what}"), request.timeout_ms)
}

/// A request that is not part of a plan.
pub(super) fn request(what: &str, request: &Request, budgets: Option<&[Budget]>) -> Check {
    request_sizes(what, request)?;
    request_problems(what, request, budgets).into_iter().next().map_or(Ok(()), Err)
}

pub(crate) fn backfill(asked: &Request, budgets: Option<&[Budget]>) -> Check {
    request("a backfill", asked, budgets)
}

pub(crate) fn requests(requests: &[Request], limits: &Limits) -> Check {
    at_most("number of instrument requests", requests.len(), limits.plan_entries)?;
    requests.iter().try_for_each(|one| request("an instrument request", one, None))
}

pub(crate) fn plan(plan: &Plan, instruments: usize, limits: &Limits) -> Check {
    let lists = [
        ("connections", plan.connections.len()),
        ("polls", plan.polls.len()),
        ("resyncs", plan.resyncs.len()),
        ("budgets", plan.budgets.len()),
    ];
    for (what, count) in lists {
        at_most(&format!("number of {what}"), count, limits.plan_entries)?;
    }
    for budget in &plan.budgets {
        token("budget", &budget.name, NAME_BYTES, |c| !c.is_control())?;
        period(&format!("window of budget {}", budget.name), budget.window_ms)?;
    }
    for connection in &plan.connections {
        one_connection(connection, instruments, limits)?;
    }
    plan.polls.iter().try_for_each(|poll| one_poll(poll, instruments))?;
    if let Some(clock) = &plan.clock {
        request_sizes("the clock", &clock.request)?;
        at_most("length of the pointer of the clock", clock.pointer.len(), NAME_BYTES)?;
    }
    let mut resynced = std::collections::HashSet::new();
    for resync in &plan.resyncs {
        one_resync(resync, instruments, limits)?;
        if !resynced.insert(resync.instrument) {
            return Err(format!("instrument {} has two resyncs", resync.instrument));
        }
    }
    plan_problems(plan).into_iter().next().map_or(Ok(()), Err)
}

fn one_poll(poll: &Poll, instruments: usize) -> Check {
    request_sizes("a poll", &poll.request)?;
    period("period of a poll", poll.period_ms)?;
    poll.instrument.map_or(Ok(()), |i| index("instrument of a poll", i, instruments))?;
    let Some(window) = &poll.window else { return Ok(()) };
    // The names are put into the URL unescaped.
    [&window.from_parameter, &window.to_parameter].into_iter().try_for_each(|name| {
        token("parameter of a time window", name, NAME_BYTES, |c| {
            c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')
        })
    })
}

fn one_resync(resync: &Resync, instruments: usize, limits: &Limits) -> Check {
    index("instrument of a resync", resync.instrument, instruments)?;
    if resync.depth_limit == Some(0) {
        return Err("depth limit of a resync is 0, allowed is 1 at least".to_owned());
    }
    match &resync.action {
        ResyncAction::Request(one) => request_sizes("a resync", one),
        ResyncAction::Resubscribe(again) => messages("a resync", &again.messages, limits),
    }
}

fn one_connection(connection: &Connection, instruments: usize, limits: &Limits) -> Check {
    token("connection name", &connection.name, NAME_BYTES, |c| c.is_ascii_graphic())?;
    let what = format!("connection {}", connection.name);
    address(&what, &connection.url, &connection.headers)?;
    messages(&what, &connection.on_open, limits)?;
    charges(&what, &connection.charges)?;
    match &connection.heartbeat {
        Heartbeat::Passive => {}
        Heartbeat::PingFrame(every_ms) => period(&format!("heartbeat of {what}"), *every_ms)?,
        Heartbeat::Text(text) => {
            period(&format!("heartbeat of {what}"), text.every_ms)?;
            at_most(&format!("length of the heartbeat of {what}"), text.send.len(), MESSAGE_BYTES)?;
        }
    }
    period(&format!("idle timeout of {what}"), connection.idle_timeout_ms)?;
    at_most(&format!("streams of {what}"), connection.streams.len(), limits.plan_entries)?;
    for stream in &connection.streams {
        stream
            .instrument
            .map_or(Ok(()), |i| index(&format!("instrument of a stream of {what}"), i, instruments))?;
        messages(&what, &stream.resubscribe, limits)?;
    }
    Ok(())
}
