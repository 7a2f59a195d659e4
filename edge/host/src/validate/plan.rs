//! Checks of `plan` and `instrument-requests`: no plan may make the edge spin or refer to missing entries.

use super::rules::{Check, NAME_BYTES, at_most, index, token};
use crate::contract::{
    Budget, Charge, Connection, Heartbeat, Plan, Poll, Request, Resync, ResyncAction, TimeWindow,
};
use crate::limits::Limits;

/// Longest URL.
const URL_BYTES: usize = 16 << 10;

/// Longest body of a request or text to send. One subscribe message may name hundreds of streams.
const MESSAGE_BYTES: usize = 256 << 10;

/// Shortest period of a poll or heartbeat.
const PERIOD_MS: u32 = 100;

fn url(what: &str, value: &str, schemes: &[&str]) -> Check {
    at_most(&format!("length of the url of {what}"), value.len(), URL_BYTES)?;
    if schemes.iter().any(|scheme| value.starts_with(scheme)) && !value.contains(char::is_whitespace) {
        return Ok(());
    }
    Err(format!("url of {what} is {value:?}, allowed is one that starts with {}", schemes.join(" or ")))
}

fn messages(what: &str, messages: &[String], limits: &Limits) -> Check {
    at_most(&format!("messages of {what}"), messages.len(), limits.plan_entries)?;
    messages
        .iter()
        .try_for_each(|text| at_most(&format!("length of a message of {what}"), text.len(), MESSAGE_BYTES))
}

fn headers(what: &str, headers: &[(String, String)]) -> Check {
    at_most(&format!("headers of {what}"), headers.len(), 64)?;
    for (name, value) in headers {
        token("header name", name, NAME_BYTES, |c| c.is_ascii_graphic() && c != ':')?;
        if value.contains(['\r', '\n', '\0']) || value.len() > URL_BYTES {
            return Err(format!("value of header {name} has a line break or is too long"));
        }
    }
    Ok(())
}

fn period(what: &str, ms: u32) -> Check {
    if ms < PERIOD_MS { Err(format!("{what} is {ms} ms, allowed is {PERIOD_MS} at least")) } else { Ok(()) }
}

/// A charge above its budget's size could never be granted. Before the plan the budgets are unknown.
fn charges(what: &str, charges: &[Charge], budgets: Option<&[Budget]>) -> Check {
    at_most(&format!("charges of {what}"), charges.len(), 64)?;
    for charge in charges {
        token("budget", &charge.budget, NAME_BYTES, |c| !c.is_control())?;
        let Some(budgets) = budgets else { continue };
        let Some(budget) = budgets.iter().find(|budget| budget.name == charge.budget) else {
            return Err(format!("{what} charges budget {:?}, which the plan does not have", charge.budget));
        };
        at_most(
            &format!("charge of {what} to {}", budget.name),
            charge.units as usize,
            budget.units as usize,
        )?;
    }
    Ok(())
}

pub(super) fn request(what: &str, request: &Request, budgets: Option<&[Budget]>) -> Check {
    url(what, &request.url, &["http://", "https://"])?;
    headers(what, &request.headers)?;
    at_most(&format!("body of {what}"), request.body.as_ref().map_or(0, Vec::len), MESSAGE_BYTES)?;
    charges(what, &request.charges, budgets)?;
    period(&format!("timeout of {what}"), request.timeout_ms)
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
    let mut names = std::collections::HashSet::new();
    for connection in &plan.connections {
        one_connection(connection, plan, instruments, limits)?;
        if !names.insert(&connection.name) {
            return Err(format!("two connections are named {}", connection.name));
        }
    }
    plan.polls.iter().try_for_each(|poll| one_poll(poll, plan, instruments))?;
    let mut resynced = std::collections::HashSet::new();
    for resync in &plan.resyncs {
        one_resync(resync, plan, instruments, limits)?;
        if !resynced.insert(resync.instrument) {
            return Err(format!("instrument {} has two resyncs", resync.instrument));
        }
    }
    Ok(())
}

fn one_poll(poll: &Poll, plan: &Plan, instruments: usize) -> Check {
    request("a poll", &poll.request, Some(&plan.budgets))?;
    period("period of a poll", poll.period_ms)?;
    poll.instrument.map_or(Ok(()), |i| index("instrument of a poll", i, instruments))?;
    poll.window.as_ref().map_or(Ok(()), window)
}

/// The names are put into the URL unescaped.
fn window(window: &TimeWindow) -> Check {
    let TimeWindow { from_parameter, to_parameter, from_ago_ms, to_ago_ms } = window;
    for name in [from_parameter, to_parameter] {
        token("parameter of a time window", name, NAME_BYTES, |c| {
            c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')
        })?;
    }
    if from_parameter == to_parameter {
        return Err(format!(
            "both ends of a time window are named {from_parameter:?}, allowed are two names"
        ));
    }
    if to_ago_ms >= from_ago_ms {
        return Err(format!(
            "time window ends {to_ago_ms} ms ago, allowed is less than its start, {from_ago_ms}"
        ));
    }
    Ok(())
}

fn one_resync(resync: &Resync, plan: &Plan, instruments: usize, limits: &Limits) -> Check {
    index("instrument of a resync", resync.instrument, instruments)?;
    if resync.depth_limit == Some(0) {
        return Err("depth limit of a resync is 0, allowed is 1 at least".to_owned());
    }
    match &resync.action {
        ResyncAction::Request(one) => request("a resync", one, Some(&plan.budgets)),
        ResyncAction::Resubscribe(again) => {
            index("connection of a resync", again.connection, plan.connections.len())?;
            messages("a resync", &again.messages, limits)
        }
    }
}

fn one_connection(connection: &Connection, plan: &Plan, instruments: usize, limits: &Limits) -> Check {
    token("connection name", &connection.name, NAME_BYTES, |c| c.is_ascii_graphic())?;
    let what = format!("connection {}", connection.name);
    url(&what, &connection.url, &["ws://", "wss://"])?;
    headers(&what, &connection.headers)?;
    messages(&what, &connection.on_open, limits)?;
    charges(&what, &connection.charges, Some(&plan.budgets))?;
    match &connection.heartbeat {
        Heartbeat::Passive => {}
        Heartbeat::PingFrame(every_ms) => period(&format!("heartbeat of {what}"), *every_ms)?,
        Heartbeat::Text(text) => {
            period(&format!("heartbeat of {what}"), text.every_ms)?;
            at_most(&format!("length of the heartbeat of {what}"), text.send.len(), MESSAGE_BYTES)?;
        }
    }
    period(&format!("idle timeout of {what}"), connection.idle_timeout_ms)?;
    if connection.messages_max == 0 || connection.messages_window_ms == 0 {
        return Err(format!(
            "message limit of {what} is 0, allowed is 1 at least in a window of 1 ms at least"
        ));
    }
    at_most(&format!("streams of {what}"), connection.streams.len(), limits.plan_entries)?;
    for stream in &connection.streams {
        stream
            .instrument
            .map_or(Ok(()), |i| index(&format!("instrument of a stream of {what}"), i, instruments))?;
        messages(&what, &stream.resubscribe, limits)?;
    }
    Ok(())
}
