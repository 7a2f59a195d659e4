//! Checks of what passed between two samples.

use marketprism_schema::{Carries, STREAMS};

use super::sample::Sample;
use crate::diagnose::{Check, CheckStatus};
use crate::limits::COLD_LAG_MAX;
use crate::report::document::FindingCode as Code;

/// Throughput, doubles, losses, lag and parts that did not answer.
pub fn evaluate(samples: &[Sample]) -> Vec<Check> {
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else { return Vec::new() };
    let mut checks = vec![throughput(first, last), doubles(samples), lag(samples)];
    checks.extend(losses(last));
    let mut told: Vec<&str> = Vec::new();
    for missed in samples.iter().flat_map(|sample| &sample.unanswered) {
        if !told.contains(&missed.part.as_str()) {
            told.push(&missed.part);
            let text = missed.reason.clone();
            checks.push(match missed.part.starts_with("memory of ") {
                true => Check::new(Code::SourceUnavailable, &missed.part, CheckStatus::Warn, text, ""),
                false => Check::unavailable(&missed.part, text, ""),
            });
        }
    }
    checks
}

fn is_events(name: &str) -> bool {
    STREAMS.iter().any(|stream| stream.name == name && stream.carries == Carries::Events)
}

/// Messages of events from one sample to another, by the streams that both have.
pub fn messages_between(first: &Sample, last: &Sample) -> u64 {
    let events = last.streams.iter().filter(|stream| is_events(stream.stream));
    let since = |name| first.streams.iter().find(|stream| stream.stream == name);
    events
        .filter_map(|stream| Some(stream.last_sequence.saturating_sub(since(stream.stream)?.last_sequence)))
        .sum()
}

pub fn rows(sample: &Sample) -> u64 {
    sample.tables.iter().map(|table| table.rows).sum()
}

fn throughput(first: &Sample, last: &Sample) -> Check {
    const NAME: &str = "throughput";
    let seconds = (last.seconds - first.seconds).max(f64::EPSILON);
    let (messages, stored) = (messages_between(first, last), rows(last).saturating_sub(rows(first)));
    if last.streams.is_empty() || last.tables.is_empty() {
        return Check::unavailable(NAME, "not measured: broker or hot did not answer", "");
    }
    if messages == 0 {
        let text = format!("no message arrived at the broker in {seconds:.0} s");
        let remedy = "see `edges`: do they run, and do their feeds have newest events?";
        return Check::new(Code::ThroughputNoMessages, NAME, CheckStatus::Fail, text, remedy);
    }
    if stored == 0 {
        let text =
            format!("{messages} messages arrived at the broker in {seconds:.0} s, and hot stored no row");
        let remedy =
            "see `diagnose`: does a central hold the leases `ingest-...`, and does hot take inserts?";
        return Check::new(Code::ThroughputNotStored, NAME, CheckStatus::Fail, text, remedy);
    }
    let (messages, stored) = (messages as f64 / seconds, stored as f64 / seconds);
    Check::ok(
        NAME,
        format!("{messages:.1} messages/s at the broker, {stored:.1} rows/s in hot, over {seconds:.0} s"),
    )
}

fn doubles(samples: &[Sample]) -> Check {
    const NAME: &str = "doubles";
    let tables = samples.iter().flat_map(|sample| &sample.tables).filter(|table| table.doubles > 0);
    let mut named: Vec<String> =
        tables.map(|table| format!("{} of {}", table.doubles, table.table)).collect();
    named.sort();
    named.dedup();
    if named.is_empty() {
        let rows = samples.last().map_or(0, rows);
        return Check::ok(NAME, format!("none among {rows} new rows of hot"));
    }
    let text = format!("rows beyond one per event: {}", named.join(", "));
    let remedy = "keep the rows for an inquiry: central stores an event once";
    Check::new(Code::TableDuplicateRows, NAME, CheckStatus::Fail, text, remedy)
}

fn lag(samples: &[Sample]) -> Check {
    const NAME: &str = "replication lag";
    let Some(most) = samples.iter().filter_map(|sample| sample.cold_lag_seconds).max() else {
        return Check::ok(NAME, "nothing was copied to cold yet");
    };
    let text = format!("cold was at most {most} s behind hot");
    if most <= COLD_LAG_MAX.as_secs() {
        return Check::ok(NAME, text);
    }
    let text = format!("{text} (allowed: {} s)", COLD_LAG_MAX.as_secs());
    let remedy = "see `status`: does a central hold the lease `replicator`, and do its rounds fail?";
    Check::new(Code::ReplicationLag, NAME, CheckStatus::Fail, text, remedy)
}

fn losses(last: &Sample) -> Vec<Check> {
    const NAME: &str = "losses";
    let Some(losses) = last.losses else { return Vec::new() };
    let mut checks = Vec::new();
    if losses.lost_messages > 0 {
        let text = format!("the broker discarded {} messages before they were stored", losses.lost_messages);
        let remedy = "see the report for their cause; raise max_bytes or max_age_seconds of the stream";
        checks.push(Check::new(Code::LedgerLostMessages, NAME, CheckStatus::Fail, text, remedy));
    }
    if losses.dead_letters > 0 {
        let text = format!("{} messages were refused for their content", losses.dead_letters);
        let remedy = "inspect the payloads in the table dead_letters of hot";
        checks.push(Check::new(Code::LedgerRefusedMessages, NAME, CheckStatus::Warn, text, remedy));
    }
    if losses.missing_events > 0 {
        let text = format!("{} events are missing at an edge, as its audits tell", losses.missing_events);
        let remedy = "see `integrity`: another edge or the venue's history may have them";
        checks.push(Check::new(Code::LedgerMissingEvents, NAME, CheckStatus::Warn, text, remedy));
    }
    if checks.is_empty() {
        checks.push(Check::ok(NAME, "none"));
    }
    checks
}

#[cfg(test)]
mod tests {
    use super::super::sample::{LossSample, StreamSample, TableSample};
    use super::*;
    use crate::report::Time;
    use crate::report::document::Unanswered;

    fn sample(seconds: f64, last_sequence: u64, rows: u64) -> Sample {
        let stream = |stream, last_sequence| StreamSample {
            stream,
            last_sequence,
            pending: 0,
            ack_pending: 0,
            redelivered: 0,
        };
        let trades = TableSample { table: "trades".into(), rows, doubles: 0, newest_ms: 1 };
        Sample {
            at: Time(0),
            seconds,
            // Audits are no events: they do not show that data flows.
            streams: vec![stream("MARKET_DATA", last_sequence), stream("AUDIT", last_sequence * 2)],
            tables: vec![trades],
            cold_lag_seconds: Some(90),
            losses: Some(LossSample::default()),
            memory: Vec::new(),
            unanswered: Vec::new(),
        }
    }

    fn codes(samples: &[Sample]) -> Vec<(Option<&'static str>, CheckStatus)> {
        let bad = evaluate(samples).into_iter().filter(|check| check.found != CheckStatus::Ok);
        bad.map(|check| (check.code.map(Code::as_str), check.found)).collect()
    }

    #[test]
    fn a_flow_is_fine_and_each_fault_is_named() {
        let first = sample(0.0, 100, 0);
        assert_eq!(codes(&[first.clone(), sample(10.0, 300, 200)]), []);
        let still = Sample { streams: first.streams.clone(), ..sample(10.0, 0, 5) };
        assert_eq!(codes(&[first.clone(), still]), [(Some("throughput.no_messages"), CheckStatus::Fail)]);
        let kept = sample(10.0, 300, 0);
        assert_eq!(codes(&[first.clone(), kept]), [(Some("throughput.not_stored"), CheckStatus::Fail)]);
        // A fault that was over before the last sample counts too.
        let mut doubled = sample(5.0, 200, 100);
        doubled.tables[0].doubles = 2;
        doubled.cold_lag_seconds = Some(901);
        doubled.unanswered = vec![Unanswered { part: "losses".into(), reason: "away".into() }];
        let losses = LossSample { lost_messages: 1, dead_letters: 1, missing_events: 1 };
        let last = Sample { losses: Some(losses), ..sample(10.0, 300, 200) };
        let found = codes(&[first, doubled, last]);
        let expected = [
            (Some("table.duplicate_rows"), CheckStatus::Fail),
            (Some("replication.lag"), CheckStatus::Fail),
            (Some("ledger.lost_messages"), CheckStatus::Fail),
            (Some("ledger.refused_messages"), CheckStatus::Warn),
            (Some("ledger.missing_events"), CheckStatus::Warn),
            (Some("source.unavailable"), CheckStatus::Unknown),
        ];
        assert_eq!(found, expected);
    }
}
