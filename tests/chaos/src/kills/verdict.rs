//! Compares what the venue sent with the journal, with hot, and with what the report and the audits say.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{EXCHANGE, KilledEdge, SYMBOLS, now_ms};
use crate::report;

/// Limit for the last journaled event to be in hot.
const STORED: Duration = Duration::from_secs(90);
/// Waits of the edge, not of its disk: an interval of syncs, a queue, and threads that a busy machine delays.
const AT_RISK_MAX_MS: i64 = 1_000;
/// Begin of a downtime against the start of its process.
const SLACK_MS: i64 = 1_000;

/// Times in milliseconds since 1970.
type Span = (i64, i64);

impl KilledEdge {
    fn check(&mut self, holds: bool, text: impl FnOnce() -> String) {
        if !holds {
            self.failures.push(text());
        }
    }

    pub(super) async fn verdict(&mut self, begin_ms: u64) {
        // The last process lives on.
        self.journaled.read();
        self.all_is_in_hot().await;
        for (table, count) in report::doubled(&self.hot, "marketprism_hot").await {
            self.check(false, || format!("{table}: {count} rows are stored twice"));
        }
        let mut missing: BTreeMap<&str, Vec<Span>> = BTreeMap::new();
        for (venue_symbol, symbol) in SYMBOLS {
            let sent: BTreeSet<u64> = self
                .sim
                .all_trades(EXCHANGE, venue_symbol)
                .unwrap()
                .into_iter()
                .map(|trade| trade.id)
                .collect();
            let stored = self.stored(venue_symbol).await;
            let invented = stored.keys().filter(|id| !sent.contains(id)).count();
            self.check(invented == 0, || format!("{symbol}: {invented} trades that the venue never sent"));
            // What was sent before the first subscription was no edge's to collect.
            let first = stored.keys().next().copied().unwrap_or_default();
            let expected = sent.range(first..).filter(|id| !stored.contains_key(id));
            let times: Vec<Span> = expected.map(|id| received_around(*id, &stored)).collect();
            println!("{symbol}: sent {}, in hot {}, missing {}", sent.len(), stored.len(), times.len());
            missing.insert(symbol, times);
        }
        self.report_is_exact(begin_ms, &missing).await;
        self.times_are_named(&missing).await;
        let super::AtRisk { most_ms, most_without_syncs_ms } = self.at_risk;
        println!(
            "most time at risk in a power cut: {most_ms} ms; without the syncs of the disk: {most_without_syncs_ms} ms"
        );
        self.check(most_without_syncs_ms <= AT_RISK_MAX_MS, || {
            format!("events were at risk for {most_without_syncs_ms} ms in which the disk synced nothing")
        });
    }

    /// Journaled events, and messages of the broker: some were never on disk.
    async fn all_is_in_hot(&mut self) {
        let journaled: HashSet<u128> = self.journaled.all().map(|event| event.id).collect();
        let sent = report::broker_ids(&self.broker).await;
        let began = Instant::now();
        let (lost, left) = loop {
            let stored = report::hot_ids(&self.hot).await.unwrap_or_default();
            let lost = journaled.difference(&stored).count();
            let left = sent.difference(&stored).count();
            if lost + left == 0 || began.elapsed() > STORED {
                break (lost, left);
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        };
        println!("journaled: {} events, of which {lost} are not in hot", journaled.len());
        self.check(lost == 0, || format!("{lost} of {} journaled events are not in hot", journaled.len()));
        self.check(left == 0, || {
            format!("{left} of {} messages of the broker are no row of hot", sent.len())
        });
    }

    /// Receive times by id.
    async fn stored(&self, venue_symbol: &str) -> BTreeMap<u64, i64> {
        let query = format!(
            "SELECT trade_id, toUnixTimestamp64Milli(min(received_at)) FROM marketprism_hot.trades \
             WHERE exchange = '{EXCHANGE}' AND venue_symbol = '{venue_symbol}' GROUP BY trade_id"
        );
        let text = self.hot.text(&query).await.unwrap();
        let row = |line: &str| {
            let (id, at) = line.split_once('\t').unwrap();
            (id.parse().unwrap(), at.parse().unwrap())
        };
        text.lines().map(row).collect()
    }

    /// As many trades are named as are missing, and no window is false.
    async fn report_is_exact(&mut self, begin_ms: u64, missing: &BTreeMap<&str, Vec<Span>>) {
        let end_ms = self.reporter().now_ms().await + 1_000;
        let named = |report: &Value, symbol: &str| {
            let name = format!("trade.{EXCHANGE}.spot.{symbol}");
            let streams = report["heat_map"]["streams"].as_array().unwrap();
            let stream = streams.iter().find(|stream| stream["stream"] == name.as_str());
            stream.map_or(0, |stream| stream["missing_events"].as_u64().unwrap())
        };
        let is_exact = |report: &Value| {
            missing.iter().all(|(symbol, times)| named(report, symbol) == times.len() as u64)
        };
        let found = self.reporter().closed_with(begin_ms, end_ms, is_exact).await;
        let report = found.unwrap_or_else(|report| report);
        println!("report: {}\nwindows: {}", report::words(&report), report["windows"]);
        for (symbol, times) in missing {
            let named = named(&report, symbol);
            self.check(named == times.len() as u64, || {
                format!("{symbol}: {named} trades are named missing, {} are", times.len())
            });
        }
        let windows = &report["windows"];
        self.check(windows["mismatch"] == 0 && windows["open"] == 0, || format!("windows: {windows}"));
        self.check(report["losses"]["total"] == 0, || format!("losses: {}", report["losses"]));
    }

    /// Between the trades that are stored before and after a missing one lies a time that is named, and every named time of a kill is that of one.
    async fn times_are_named(&mut self, missing: &BTreeMap<&str, Vec<Span>>) {
        let killed = self.spans(DOWNTIMES).await;
        let gaps = self.spans(GAPS).await;
        for (symbol, times) in missing {
            let of = |spans: &[(String, Span)]| -> Vec<Span> {
                spans.iter().filter(|(of, _)| of == symbol).map(|(_, span)| *span).collect()
            };
            let named = [of(&killed), of(&gaps)].concat();
            let is_named =
                |(after, before): &&Span| named.iter().any(|(from, to)| from <= before && to >= after);
            let unnamed = times.iter().filter(|times| !is_named(times)).count();
            self.check(unnamed == 0, || format!("{symbol}: {unnamed} missing trades lie in no named time"));
        }
        let now = now_ms();
        let mut strange = Vec::new();
        for (symbol, (from, to)) in &killed {
            // A checkpoint of the life that ended, to the start of the next one.
            let is_of = |life: &super::Life| {
                life.from_ms - SLACK_MS <= *from && *from <= life.killed_ms.min(now) && *to >= life.killed_ms
            };
            if !self.lives.iter().any(is_of) {
                strange.push(format!("{symbol} {from} to {to}"));
            }
        }
        self.check(strange.is_empty(), || format!("downtimes of no kill: {}", strange.join("; ")));
        let named: i64 = killed.iter().map(|(_, (from, to))| to - from).sum();
        println!("{} downtimes of kills, {named} ms of all streams", killed.len());
    }

    async fn spans(&self, query: &str) -> Vec<(String, Span)> {
        let number =
            |row: &Value, name: &str| row[name].as_str().unwrap().parse::<i64>().unwrap() / 1_000_000;
        let rows = self.hot.rows(query).await.unwrap();
        let span = |row: &Value| (number(row, "begin"), number(row, "end"));
        rows.iter().map(|row| (row["symbol"].as_str().unwrap().to_owned(), span(row))).collect()
    }
}

/// Receive times of the stored trades before and after a missing one. Its own venue time says little: a busy machine reads late, and may be
/// killed before it does.
fn received_around(missing: u64, stored: &BTreeMap<u64, i64>) -> Span {
    let before = stored.range(..missing).next_back().map_or(0, |(_, at)| *at);
    let after = stored.range(missing..).next().map_or(i64::MAX, |(_, at)| *at);
    (before.min(after), before.max(after))
}

const DOWNTIMES: &str = "SELECT symbol, toString(from_ns) AS begin, toString(max(to_ns)) AS end FROM marketprism_hot.downtimes \
    WHERE data_type = 'trade' AND reason = 'killed' GROUP BY symbol, from_ns";
const GAPS: &str = "SELECT symbol, toString(gap.from_ns) AS begin, toString(gap.to_ns) AS end FROM marketprism_hot.audits ARRAY JOIN gaps AS gap \
    WHERE data_type = 'trade'";
