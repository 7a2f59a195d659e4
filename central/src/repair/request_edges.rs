//! Requests to edges to publish events again that the ledger misses in hot.

use std::time::Duration;

use anyhow::Context as _;
use async_nats::Request;
use marketprism_schema::{
    DataType, RepairAnswer, RepairRequest, RepairState, StreamId, Table, repair_subject, with_unknown_names,
};
use serde::Deserialize;
use tokio::time::timeout;

use super::progress::{RepairFate, RepairLog, RepairOptions, RepairOutcome};
use crate::broker::Broker;
use crate::config::Config;
use crate::fleet::NewerEdges;
use crate::replicator::{Endpoint, HotCold};
use crate::sql::{self, SUBJECT};
use crate::storage::{StorageError, bounded};
use crate::time::Time;
use crate::{clock, limits};

/// Mismatched windows of the ledger that lack events, adjacent and of one stream and edge.
#[derive(Debug, Clone, PartialEq, Eq, clickhouse::Row, Deserialize)]
struct LackingRange {
    #[serde(deserialize_with = "sql::stream_id")]
    stream: StreamId,
    edge: String,
    start_ms: i64,
    end_ms: i64,
    missing: u64,
}

impl LackingRange {
    fn edge_stream(&self) -> String {
        let StreamId { exchange, market_type, symbol, .. } = &self.stream;
        format!("{} {exchange}.{market_type}.{symbol}", self.edge)
    }
}

/// Asks for every range that lacks events, up to a bound.
pub async fn request_edges(
    config: &Config,
    broker: &Broker,
    pair: &HotCold,
    options: &RepairOptions,
    log: &RepairLog,
) -> anyhow::Result<()> {
    let hot = &pair.hot;
    let complete_from_ms = hot_is_complete_from(config).max(pair.dropped.gone_before_us() / 1_000);
    let mut windows =
        lacking_windows(hot, options, complete_from_ms).await.context("cannot read the ledger's verdicts")?;
    let next = windows.split_off(windows.len().min(limits::REPAIR_WINDOWS)).pop();
    let add = |range: &LackingRange, fate, what| {
        log.add(RepairOutcome {
            table: Table::of(range.stream.data_type).name.to_owned(),
            stream: Some(range.edge_stream()),
            window_start: Time(range.start_ms).to_string(),
            fate,
            what,
        });
    };
    for range in join(windows) {
        let (fate, what) = if range.start_ms < complete_from_ms {
            // Hot has forgotten the ids of that time, and would take every event for a new one.
            let text =
                format!("{} events are missing; not requested: hot no longer has that time", range.missing);
            (RepairFate::NotRepaired, text)
        } else if options.dry_run {
            (RepairFate::WouldRepair, format!("would ask the edge for {} events", range.missing))
        } else {
            log.doing(format!("asking {}", range.edge_stream()));
            request_edges_of(broker, hot, &range).await
        };
        add(&range, fate, what);
    }
    if let Some(next) = next {
        let text = "limit of one run reached: run the repair again with --table, --from or --to";
        add(&next, RepairFate::NotRepaired, text.to_owned());
    }
    Ok(())
}

/// Begin of the time of which hot has all rows, milliseconds since 1970.
fn hot_is_complete_from(config: &Config) -> i64 {
    let ms = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    clock::now_ns() / 1_000_000 - ms(config.surely_in_hot())
}

/// Asks the edge, and those that collect the same stream if it no longer has everything: two edges give one event the same id, but for
/// order-book deltas, which each edge numbers on its own.
async fn request_edges_of(broker: &Broker, hot: &Endpoint, range: &LackingRange) -> (RepairFate, String) {
    let (is_complete, text) = request_edge(broker, range, &range.edge).await;
    if is_complete {
        return (RepairFate::Resent, text);
    }
    let mut texts = vec![text];
    let others = match range.stream.data_type {
        DataType::OrderBookDelta => Ok(Vec::new()),
        _ => other_edges(hot, range).await,
    };
    match others {
        Ok(others) => {
            for EdgeName { edge } in others {
                let (is_complete, text) = request_edge(broker, range, &edge).await;
                if is_complete {
                    return (RepairFate::Resent, text);
                }
                texts.push(text);
            }
        }
        Err(error) => texts.push(format!("other edges not asked: {error}")),
    }
    (RepairFate::NotRepaired, format!("{} events are missing; {}", range.missing, texts.join("; ")))
}

/// True if the edge sends all that is asked for, and its answer.
async fn request_edge(broker: &Broker, range: &LackingRange, edge: &str) -> (bool, String) {
    let failed = |reason: String| (false, format!("{edge}: {reason}"));
    let id = format!("{:016x}", rand::random::<u64>());
    let [from_ns, to_ns] = [range.start_ms, range.end_ms].map(|ms| ms.saturating_mul(1_000_000));
    let payload = match RepairRequest::new(id, &range.stream, from_ns, to_ns).encode() {
        Ok(payload) => payload,
        Err(error) => return failed(format!("the request cannot be encoded: {error}")),
    };
    // On an inbox of its own: the client would keep a request without an answer for ever.
    let request = Request::new().payload(payload.into()).inbox(broker.client.new_inbox());
    let sent = broker.client.send_request(repair_subject(edge), request);
    let message = match timeout(limits::EDGE_ANSWER_WAIT, sent).await {
        Ok(Ok(message)) => message,
        Ok(Err(error)) if error.kind() != async_nats::client::RequestErrorKind::NoResponders => {
            return failed(format!("the request failed: {error}"));
        }
        _ => return failed("the edge did not answer".to_owned()),
    };
    let (answer, unknown) = with_unknown_names(|| RepairAnswer::decode(&message.payload));
    if !unknown.is_empty() {
        NewerEdges::default().log(edge, "repair", &unknown);
    }
    match answer {
        Ok(answer) if answer.state == RepairState::Resent => {
            (true, format!("edge {edge} sends {} events again", answer.resent))
        }
        Ok(answer) => failed(incomplete(&answer, range.start_ms, clock::now_ns() / 1_000_000)),
        Err(error) => failed(format!("the edge's answer is invalid: {error}")),
    }
}

/// Where the journal begins too late: the age that it would have needed.
fn incomplete(answer: &RepairAnswer, start_ms: i64, now_ms: i64) -> String {
    let RepairAnswer { state, resent, kept_from, reason, .. } = answer;
    let kept_from_ms = kept_from.map(|at_ns| at_ns / 1_000_000).filter(|from_ms| *from_ms > start_ms);
    let age = kept_from_ms.map(|from_ms| {
        let needed = now_ms.saturating_sub(start_ms).div_euclid(1_000);
        format!("; its journal begins at {}, an age of {needed} s would have been needed", Time(from_ms))
    });
    format!("sends {resent} events again ({}): {reason}{}", state.as_str(), age.unwrap_or_default())
}

#[derive(clickhouse::Row, Deserialize)]
struct EdgeName {
    edge: String,
}

async fn other_edges(hot: &Endpoint, range: &LackingRange) -> Result<Vec<EdgeName>, StorageError> {
    let query = format!(
        "SELECT DISTINCT toString(edge) AS edge FROM {} WHERE {SUBJECT} = {} AND edge != {} AND window_start >= {} AND window_start < {} \
         ORDER BY edge LIMIT {}",
        hot.table("verdicts"),
        sql::quote(&range.stream.to_string()),
        sql::quote(&range.edge),
        sql::millis(range.start_ms),
        sql::millis(range.end_ms),
        limits::REPAIR_OTHER_EDGES
    );
    bounded(hot.limit, hot.query(&query).fetch_all()).await
}

/// First those that can be requested, one more than a repair takes.
async fn lacking_windows(
    hot: &Endpoint,
    options: &RepairOptions,
    complete_from_ms: i64,
) -> Result<Vec<LackingRange>, StorageError> {
    let mut conditions = vec!["state = 'mismatch' AND found < expected".to_owned()];
    if let Some(name) = &options.table
        && let Some(table) = Table::ALL.iter().find(|table| table.name == name)
    {
        conditions.push(format!("data_type = '{}'", table.data_type));
    }
    for (operator, limit_ms) in [(">=", options.from_ms), ("<", options.to_ms)] {
        conditions.extend(limit_ms.map(|ms| format!("window_start {operator} {}", sql::millis(ms))));
    }
    let query = format!(
        "SELECT {SUBJECT} AS stream, toString(edge) AS edge, toInt64(toUnixTimestamp64Milli(window_start)) AS start_ms, \
         toInt64(start_ms + window_seconds * 1000) AS end_ms, toUInt64(expected - found) AS missing FROM {} FINAL WHERE {} ORDER BY window_start < {}, \
         edge, data_type, exchange, market_type, symbol, window_start LIMIT {}",
        hot.table("verdicts"),
        conditions.join(" AND "),
        sql::millis(complete_from_ms),
        limits::REPAIR_WINDOWS + 1
    );
    bounded(hot.limit, hot.query(&query).fetch_all()).await
}

/// The windows come in the order of edge, stream and time.
fn join(windows: Vec<LackingRange>) -> Vec<LackingRange> {
    let mut ranges: Vec<LackingRange> = Vec::new();
    for window in windows {
        match ranges.last_mut() {
            Some(last)
                if (&last.stream, &last.edge, last.end_ms)
                    == (&window.stream, &window.edge, window.start_ms) =>
            {
                last.end_ms = window.end_ms;
                last.missing += window.missing;
            }
            _ => ranges.push(window),
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_says_which_age_of_the_journal_would_have_been_needed() {
        let answer = |kept_from| RepairAnswer {
            version: 1,
            request_id: String::new(),
            state: RepairState::NotKept,
            resent: 0,
            kept_from,
            reason: "no longer kept".to_owned(),
        };
        let text = incomplete(&answer(Some(3_600_000_000_000)), 0, 7_200_000);
        let end = "begins at 1970-01-01T01:00:00.000Z, an age of 7200 s would have been needed";
        assert!(
            text.starts_with("sends 0 events again (not_kept): no longer kept") && text.ends_with(end),
            "{text}"
        );
        assert!(!incomplete(&answer(Some(-1)), 0, 5).contains("age"), "the journal has that time");
    }

    #[test]
    fn only_adjacent_windows_of_one_stream_are_joined() {
        let window = |symbol: &str, start_ms| LackingRange {
            stream: StreamId::parse(&format!("trade.sim_spot.spot.{symbol}")).unwrap(),
            edge: "e".to_owned(),
            start_ms,
            end_ms: start_ms + 60_000,
            missing: 2,
        };
        let windows =
            vec![window("A-B", 0), window("A-B", 60_000), window("A-B", 180_000), window("C-B", 240_000)];
        let found: Vec<_> = join(windows).iter().map(|s| (s.start_ms, s.end_ms, s.missing)).collect();
        assert_eq!(found, [(0, 120_000, 4), (180_000, 240_000, 2), (240_000, 300_000, 2)]);
    }
}
