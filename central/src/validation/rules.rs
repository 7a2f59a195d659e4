//! Checks of what passed between two samples.

use super::sample::{ROWS_OF_HOT, Sample, WATERMARKS};
use super::throughput::{rows, throughput};
use crate::diagnose::{Check, CheckStatus};
use crate::limits::COLD_LAG_MAX;
use crate::report::document::FindingCode as Code;
use crate::report::rules::KEEP_DUPLICATES;

/// Parts of a sample without which its lag is not known.
const LAG_PARTS: [&str; 2] = [WATERMARKS, ROWS_OF_HOT];

/// Throughput, doubles, losses, lag and parts that did not answer.
pub fn evaluate(samples: &[Sample]) -> Vec<Check> {
    let Some(last) = samples.last() else { return Vec::new() };
    let mut checks = throughput(samples);
    checks.push(doubles(samples));
    checks.extend(lag(samples));
    checks.extend(losses(last));
    let mut named: Vec<&str> = Vec::new();
    for missed in samples.iter().flat_map(|sample| &sample.unanswered) {
        if !named.contains(&missed.part.as_str()) {
            named.push(&missed.part);
            let text = missed.reason.clone();
            checks.push(match missed.part.starts_with("memory of ") {
                true => Check::new(Code::SourceUnavailable, &missed.part, CheckStatus::Warn, text, ""),
                false => Check::unavailable(&missed.part, text, ""),
            });
        }
    }
    checks
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
    Check::new(Code::TableDuplicateRows, NAME, CheckStatus::Fail, text, KEEP_DUPLICATES)
}

/// Without a lag in any sample nothing is known if a part did not answer, which has a check of its own.
fn lag(samples: &[Sample]) -> Option<Check> {
    const NAME: &str = "replication lag";
    let Some(most) = samples.iter().filter_map(|sample| sample.cold_lag_seconds).max() else {
        let is_unknown =
            |sample: &Sample| sample.unanswered.iter().any(|missed| LAG_PARTS.contains(&&*missed.part));
        let is_known = !samples.iter().any(is_unknown);
        return is_known.then(|| Check::ok(NAME, "hot stored no row that cold could be behind"));
    };
    let text = format!("cold was at most {most} s behind hot");
    if most <= COLD_LAG_MAX.as_secs() {
        return Some(Check::ok(NAME, text));
    }
    let text = format!("{text} (allowed: {} s)", COLD_LAG_MAX.as_secs());
    let remedy = "see `status`: does a central hold the lease `replicator`, and do its rounds fail?";
    Some(Check::new(Code::ReplicationLag, NAME, CheckStatus::Fail, text, remedy))
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
        let text = format!("{} events are missing at an edge, by its audits", losses.missing_events);
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
        doubled.unanswered = vec![Unanswered { part: "losses".into(), reason: "unreachable".into() }];
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

    #[test]
    fn duplicate_rows_are_kept_by_the_page_of_operations_too() {
        let page = include_str!("../../../deploy/OPERATIONS.md");
        assert!(
            page.contains(&format!("`table.duplicate_rows` in the report is a fault: {KEEP_DUPLICATES}"))
        );
        assert!(!page.contains("OPTIMIZE TABLE"));
    }

    const NO_MESSAGES: (Option<&str>, CheckStatus) = (Some("throughput.no_messages"), CheckStatus::Fail);
    const NOT_STORED: (Option<&str>, CheckStatus) = (Some("throughput.not_stored"), CheckStatus::Fail);

    /// Seconds, messages and rows, and the codes that they give.
    fn flow<const N: usize>(points: [(f64, u64, u64); N]) -> Vec<(Option<&'static str>, CheckStatus)> {
        codes(&points.map(|(seconds, messages, rows)| sample(seconds, messages, rows)))
    }

    #[test]
    fn a_flow_that_ends_during_the_run_fails_whatever_came_before() {
        let stored_no_more = [(0.0, 100, 0), (60.0, 500, 400), (120.0, 900, 400)];
        assert_eq!(flow(stored_no_more), [NOT_STORED]);
        let in_between =
            [(0.0, 100, 0), (30.0, 200, 100), (60.0, 300, 100), (90.0, 400, 100), (120.0, 500, 400)];
        assert_eq!(flow(in_between), [NOT_STORED]);
        let edges_died = [(0.0, 100, 0), (60.0, 500, 400), (90.0, 500, 400), (120.0, 500, 400)];
        assert_eq!(flow(edges_died), [NO_MESSAGES]);
        // What came just before a sample is stored after it.
        let rare = [(0.0, 100, 0), (30.0, 101, 0), (60.0, 101, 1), (80.0, 102, 1), (81.0, 102, 2)];
        assert_eq!(flow(rare), []);
        let mut unreachable = sample(90.0, 700, 0);
        unreachable.tables.clear();
        let [first, middle, last] =
            [(0.0, 100, 0), (60.0, 500, 400), (120.0, 900, 400)].map(|(s, m, r)| sample(s, m, r));
        assert_eq!(codes(&[first.clone(), middle.clone(), unreachable.clone(), last]), [NOT_STORED]);
        assert_eq!(codes(&[first, middle, unreachable, sample(120.0, 900, 800)]), [], "hot answered again");
    }

    #[test]
    fn a_backlog_that_grows_fails_and_one_of_two_streams_that_stands_still_warns() {
        let with = |seconds, messages: u64, pending, books| {
            let mut sample = sample(seconds, messages, messages);
            sample.streams[0].pending = pending;
            let books = StreamSample { stream: "ORDERBOOK_SNAP", last_sequence: books, ..sample.streams[0] };
            sample.streams.push(StreamSample { pending: 0, ..books });
            sample
        };
        assert_eq!(codes(&[with(0.0, 0, 0, 0), with(100.0, 1_000, 150, 1_000)]), []);
        assert_eq!(codes(&[with(0.0, 0, 0, 0), with(100.0, 1_000, 500, 1_000)]), [NOT_STORED]);
        assert_eq!(codes(&[with(0.0, 0, 900, 0), with(100.0, 1_000, 500, 1_000)]), [], "it shrinks");
        let silent = [with(0.0, 0, 0, 0), with(60.0, 600, 0, 600), with(120.0, 1_200, 0, 600)];
        assert_eq!(codes(&silent), [(Some("throughput.no_messages"), CheckStatus::Warn)]);
    }

    #[test]
    fn an_unknown_lag_is_not_reported_as_none() {
        let unknown = |part: &str| {
            let unanswered = vec![Unanswered { part: part.into(), reason: "unreachable".into() }];
            let samples = [(0.0, 100, 0), (10.0, 300, 200)].map(|(seconds, messages, rows)| Sample {
                cold_lag_seconds: None,
                unanswered: unanswered.clone(),
                ..sample(seconds, messages, rows)
            });
            evaluate(&samples).iter().any(|check| check.check == "replication lag")
        };
        assert_eq!([WATERMARKS, ROWS_OF_HOT, "losses"].map(unknown), [false, false, true]);
    }
}
