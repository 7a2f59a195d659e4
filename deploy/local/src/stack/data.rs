//! Waits for data in the tables; if none arrives, names the part where it stops.

use std::time::Instant;

use anyhow::bail;
use marketprism_schema::HOT;
use marketprism_service::error_text;
use serde_json::Value;

use super::part::health_url;
use super::plan::Plan;
use super::{CENTRAL, EDGE, Starter};
use crate::{limits, process};

/// Tables that a feed of trades and books fills, and the stream of each.
const TABLES: [(&str, &str); 2] = [("trades", "MARKET_DATA"), ("orderbooks", "ORDERBOOK_SNAP")];

/// Returns when both tables hold rows that the edge received since `since_ms` (UTC, milliseconds): central
/// may still be writing older ones.
pub(super) async fn wait(plan: &Plan<'_>, starter: &mut Starter<'_>, since_ms: u128) -> anyhow::Result<()> {
    let server = plan.clickhouse()?;
    let counts = TABLES.map(|(table, _)| {
        format!("(SELECT count() FROM {HOT}.{table} WHERE received_at >= fromUnixTimestamp64Milli({since_ms}, 'UTC'))")
    });
    let query = format!("SELECT {}", counts.join(", "));
    let before = stream_ends(plan, starter).await;
    let deadline = Instant::now() + limits::DATA_WAIT;
    loop {
        starter.check_alive()?;
        let answer = starter.client.query(&server, &query).await;
        let rows = answer.as_ref().map(|rows| rows.first().cloned().unwrap_or_default());
        let empty: Vec<_> = match &rows {
            Ok(row) => {
                TABLES.iter().zip(row).filter(|(_, count)| *count == "0").map(|(table, _)| *table).collect()
            }
            Err(_) => TABLES.to_vec(),
        };
        if empty.is_empty() && rows.is_ok_and(|row| row.len() == TABLES.len()) {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let problem = answer
                .err()
                .map(|error| format!("\n  clickhouse: {}", error_text(error.as_ref())))
                .unwrap_or_default();
            let stop = find_stop(plan, starter, &empty, &before).await;
            let seconds = limits::DATA_WAIT.as_secs();
            let names = empty.iter().map(|(table, _)| *table).collect::<Vec<_>>().join(" and ");
            bail!("no new rows in {names} after {seconds} s{problem}{stop}");
        }
        tokio::time::sleep(limits::DATA_POLL).await;
    }
}

/// Compares the broker's sequences with those of `before`, then asks the part after which the data stops.
async fn find_stop(
    plan: &Plan<'_>,
    starter: &Starter<'_>,
    empty: &[(&str, &str)],
    before: &[(String, u64)],
) -> String {
    let mut text = String::new();
    let mut suspects = Vec::new();
    let now = stream_ends(plan, starter).await;
    for (table, stream) in empty {
        let end_in =
            |ends: &[(String, u64)]| ends.iter().find(|(name, _)| name == stream).map(|(_, end)| *end);
        let grown = end_in(&now).map(|end| end.saturating_sub(end_in(before).unwrap_or(0)));
        let (finding, suspect) = match grown {
            Some(0) => (format!("no new message in stream {stream}: the edge publishes nothing"), EDGE),
            Some(n) => (
                format!("{n} new messages in stream {stream}: central does not insert them into {table}"),
                CENTRAL,
            ),
            None => (format!("the broker does not report stream {stream}"), EDGE),
        };
        text.push_str(&format!("\n  {finding}"));
        suspects.push(suspect);
        if grown.is_none() {
            suspects.push(CENTRAL);
        }
    }
    suspects.sort_unstable();
    suspects.dedup();
    for part in suspects {
        text.push_str(&part_report(starter, part).await);
    }
    text
}

/// Health of a part, and the end of its log.
async fn part_report(starter: &Starter<'_>, part: &str) -> String {
    let Ok(Some(record)) = starter.last(part) else { return format!("\n  {part} was not started") };
    let mut text = String::new();
    if let Some(url) = health_url(part, &record.ports) {
        let paths: &[&str] = if part == EDGE { &["/health", "/coverage"] } else { &["/health"] };
        for path in paths {
            const SHOWN_CHARS_MAX: usize = 1_500;
            let url = url.replace("/health", path);
            let finding = match starter.client.get(&url).await {
                Ok(answer) => format!("{} {}", answer.status, answer.body.trim()),
                Err(error) => error.root_cause().to_string(),
            };
            text.push_str(&format!(
                "\n  {url}: {}",
                finding.chars().take(SHOWN_CHARS_MAX).collect::<String>()
            ));
        }
    }
    text.push_str(&format!(
        "\n  the end of {}:{}",
        record.log.display(),
        process::tail_indented(&record.log)
    ));
    text
}

/// Last sequence by stream; empty if the broker is not the stack's own or does not answer.
async fn stream_ends(plan: &Plan<'_>, starter: &Starter<'_>) -> Vec<(String, u64)> {
    if plan.settings.nats_url.is_some() {
        return Vec::new();
    }
    let url = format!("http://127.0.0.1:{}/jsz?streams=true", plan.settings.ports.nats_monitoring_port);
    let Ok(answer) = starter.client.get(&url).await else { return Vec::new() };
    serde_json::from_str(&answer.body).map(|report| ends_by_stream(&report)).unwrap_or_default()
}

fn ends_by_stream(report: &Value) -> Vec<(String, u64)> {
    let list =
        |value: &Value, key: &str| value.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let accounts = list(report, "account_details");
    let streams = accounts.iter().flat_map(|account| list(account, "stream_detail"));
    let entry = |stream: Value| {
        let name = stream.get("name")?.as_str()?.to_owned();
        Some((name, stream.pointer("/state/last_seq")?.as_u64()?))
    };
    streams.filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_of_the_streams_of_every_account_are_read() {
        let report = serde_json::json!({"account_details": [
            {"name": "$G", "stream_detail": [
                {"name": "MARKET_DATA", "state": {"messages": 12, "last_seq": 40}},
                {"name": "AUDIT", "state": {"last_seq": 0}}]},
            {"name": "empty"}]});
        assert_eq!(ends_by_stream(&report), [("MARKET_DATA".to_owned(), 40), ("AUDIT".to_owned(), 0)]);
    }
}
