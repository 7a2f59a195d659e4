//! The end of a run: what the venues sent, what hot and cold hold, and what the report says.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use super::counts::{event_tables, last_sequence, sent, stored, waiting};
use super::plan::REGIONS;
use super::proof::{Proof, findings};
use super::world::{PATIENCE, World};
use crate::clock::now_ms;
use crate::report::{self, Reporter};

/// For the last window to be copied to cold.
const COPIED_WITHIN: Duration = Duration::from_secs(120);
const STREAMS: [&str; 2] = ["MARKET_DATA", BOOKS];
const BOOKS: &str = "ORDERBOOK_SNAP";
/// Findings that say how the data was proven, when streams began, and that the venues are silent at the end.
const OF_EVERY_RUN: [&str; 3] = ["ledger.evidence", "ledger.stream_starts", "table.no_recent_rows"];

impl Proof {
    pub fn verdict(mut self) -> Vec<String> {
        // Later polls go on, and streams without an event are gaps.
        let end_ms = now_ms();
        self.world.sim.pause();
        self.say("the venues are silent");
        self.reaches("no edge has an event that waits", PATIENCE, |world| {
            let left: u64 = (0..REGIONS.len()).map(|region| waiting(world, region)).sum();
            if left == 0 { Ok(()) } else { Err(format!("{left} events")) }
        });
        self.every_message_is_a_row();
        self.every_trade_is_stored_once();
        self.cold_equals_hot(end_ms);
        self.the_report_names_what_happened(end_ms);
        self.nobody_was_refused();
        self.failures
    }

    fn every_message_is_a_row(&mut self) {
        let tables = event_tables(&self.world);
        for name in STREAMS {
            let is_book = name == BOOKS;
            // Where an event came with two messages, the second one is a copy. A message may carry several events.
            let of_tables = tables.iter().filter(|table| table.starts_with("orderbook") == is_book);
            let of_tables = of_tables.map(|table| format!("SELECT stream_seq FROM marketprism_hot.{table}"));
            let copies =
                format!("SELECT stream_seq FROM marketprism_hot.copied_events WHERE stream = '{name}'");
            let all: Vec<String> = of_tables.chain([copies]).collect();
            let stored = format!(
                "SELECT uniqExact(stream_seq) FROM ({}) WHERE stream_seq <= ",
                all.join(" UNION ALL ")
            );
            let mut messages = 0;
            // Polls go on.
            self.reaches(&format!("every message of {name} is a row or a copy"), PATIENCE, |world| {
                messages = last_sequence(world, name)?;
                let stored = world.number(&format!("{stored}{messages}"))?;
                if stored == messages { Ok(()) } else { Err(format!("{stored} of {messages}")) }
            });
            println!("           {messages} messages");
        }
        let refused = self.world.number("SELECT count() FROM marketprism_hot.dead_letters");
        self.check(refused == Ok(0), format!("refused messages: {refused:?}"));
    }

    fn every_trade_is_stored_once(&mut self) {
        let (mut total, mut missing, mut invented, mut doubled) = (0, 0, 0, 0);
        for (stream, sent) in sent(&self.world) {
            let stored = stored(&self.world, &stream);
            let ids: BTreeSet<&String> = stored.iter().collect();
            let lacks = sent.keys().filter(|id| !ids.contains(id)).count();
            let foreign = ids.iter().filter(|id| !sent.contains_key(**id)).count();
            let twice = stored.len() - ids.len();
            println!(
                "           {:<20} {:<20} sent {:>6}  hot {:>6}  missing {lacks:>3}  doubled {twice:>3}",
                stream.0,
                stream.1,
                sent.len(),
                stored.len()
            );
            total += sent.len();
            missing += lacks;
            invented += foreign;
            doubled += twice;
        }
        let text = format!(
            "{total} trades of the venues' list: {missing} missing, {doubled} doubled, {invented} invented"
        );
        self.check(total > 0 && missing + doubled + invented == 0, text);
    }

    fn cold_equals_hot(&mut self, end_ms: u64) {
        let tables = event_tables(&self.world);
        let digest = |database: &str| -> Result<Vec<String>, String> {
            let World { centre, hot, cold, .. } = &self.world;
            let server = if database == "marketprism_hot" { hot } else { cold };
            let query = |table: &String| {
                format!(
                    "SELECT '{table}', count(), uniqExact(event_id), sum(cityHash64(toString(tuple(*)))) FROM {database}.{table} \
                     WHERE received_at <= fromUnixTimestamp64Milli(toInt64({end_ms}))"
                )
            };
            let one = |table| centre.run(async || server.text(&query(table)).await);
            tables.iter().map(one).collect()
        };
        let equal = self.time_until(COPIED_WITHIN, |_| {
            let (hot, cold) = (digest("marketprism_hot")?, digest("marketprism_cold")?);
            if hot == cold { Ok(()) } else { Err(format!("hot {hot:?}, cold {cold:?}")) }
        });
        let rows = digest("marketprism_hot").unwrap_or_default();
        let doubled = rows.iter().filter(|row| {
            let mut cells = row.trim().split('\t').skip(1);
            cells.next() != cells.next()
        });
        let doubled: Vec<&String> = doubled.collect();
        for row in &rows {
            println!("           {}", row.trim().replace('\t', "  "));
        }
        self.check(doubled.is_empty(), format!("tables with an event that is stored twice: {doubled:?}"));
        let text = format!(
            "cold has the rows of hot, byte for byte, in {} tables {}",
            rows.len(),
            equal.as_ref().err().map_or("", String::as_str)
        );
        self.check(equal.is_ok(), text);
    }

    fn the_report_names_what_happened(&mut self, end_ms: u64) {
        let World { centre, central, hot, .. } = &self.world;
        let (from, to) = (self.begin_ms, end_ms);
        let reporter = Reporter { central, hot };
        let report = centre.run(async || reporter.closed_with(from, to, |_| true).await);
        let report = report.unwrap_or_else(|last| last);
        let (code, text, errors) = self.verified(from, to);
        println!("           {}", report::words(&report));
        println!("           windows {}", report["windows"]);
        self.check(
            report["verdict"] == "whole" && code == Some(0),
            format!("verdict {}, `--verify` exit {code:?} {errors}", report["verdict"]),
        );
        let verified: Value = serde_json::from_str(&text).unwrap_or_default();
        for report in [&report, &verified] {
            let found = findings(report);
            self.check(found.is_empty(), format!("findings that need attention: {}", found.join("; ")));
        }
        let told = report["findings"].as_array().map_or(&[][..], Vec::as_slice);
        let others: BTreeSet<&str> = told
            .iter()
            .filter_map(|finding| finding["code"].as_str())
            .filter(|code| !OF_EVERY_RUN.contains(code))
            .collect();
        self.check(others.is_empty(), format!("further findings: {others:?}"));
        for list in
            ["gaps", "losses", "downtimes", "alone", "filled", "corrections", "worst_windows", "dead_letters"]
        {
            let items = report[list]["items"].as_array().or_else(|| report[list].as_array());
            let named = items.map_or(0, Vec::len);
            self.check(
                named == 0,
                format!(
                    "{list}: {named} named {}",
                    if named == 0 { String::new() } else { report[list].to_string() }
                ),
            );
        }
        let changes = report["changes"]["items"].as_array().map_or(&[][..], Vec::as_slice);
        let told: BTreeSet<String> = changes.iter().map(change).collect();
        let expected: BTreeSet<String> =
            REGIONS.iter().map(|region| format!("{} adapter binance promoted", region.edge)).collect();
        self.check(told == expected && changes.len() == expected.len(), format!("changes: {told:?}"));
    }

    /// The rights of `deploy/nats` are enough for all that happened.
    fn nobody_was_refused(&mut self) {
        let World { regions, central, .. } = &mut self.world;
        let mut outputs = vec![central.process().output()];
        for region in regions {
            outputs.extend([region.edge.process().output(), region.leaf.process().output()]);
        }
        let refused: Vec<&str> = outputs
            .iter()
            .flat_map(|output| output.lines())
            .filter(|line| line.to_lowercase().contains("permissions violation"))
            .collect();
        self.check(refused.is_empty(), format!("refused by a broker: {refused:?}"));
    }

    fn verified(&self, from: u64, to: u64) -> (Option<i32>, String, String) {
        let time = |ms: u64| {
            let query =
                format!("SELECT formatDateTime(toDateTime({}, 'UTC'), '%Y-%m-%dT%H:%i:%SZ')", ms / 1_000);
            self.world
                .centre
                .run(async || self.world.hot.text(&query).await)
                .unwrap_or_default()
                .trim()
                .to_owned()
        };
        let (code, text, _progress) =
            self.world.ask(&["integrity", "--json", "--verify", "--from", &time(from), "--to", &time(to)]);
        (code, text, String::new())
    }
}

fn change(change: &Value) -> String {
    let word = |key: &str| change[key].as_str().unwrap_or_default();
    format!("{} {} {} {}", word("edge"), word("kind"), word("subject"), word("outcome"))
}
