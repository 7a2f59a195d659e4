//! Compares what the venue sent with what the broker and hot hold, and both with what the report says.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use marketprism_tests::wait::until;
use serde_json::Value;

use crate::report::{self, broker_ids, doubled, hot_ids};
use crate::schedule::Schedule;
use crate::system::{EXCHANGES, System, WINDOW, normalized};

/// A venue whose trades are numbered without holes: every missing one can be known.
const NUMBERED: &str = "binance_spot";

pub struct Judge {
    begin_ms: u64,
    /// Times without any fault.
    calms: Vec<(u64, u64)>,
    failures: Vec<String>,
    /// Rows are missing behind the broker, so a mismatch is true.
    is_lossy: bool,
    /// The broker loses messages: central names those that it had not stored, and the edges send them again.
    does_broker_forget: bool,
}

/// Trades of one instrument: venue time by trade id.
type Trades = BTreeMap<String, u64>;

impl Judge {
    pub async fn begin(system: &System, schedule: &Schedule) -> Self {
        Self {
            begin_ms: system.reporter().now_ms().await,
            calms: Vec::new(),
            failures: Vec::new(),
            is_lossy: false,
            does_broker_forget: schedule.steps.iter().any(|step| step.action.does_broker_forget()),
        }
    }

    pub async fn calm_begins(&mut self, system: &System) {
        self.calms.push((system.reporter().now_ms().await, 0));
    }

    pub async fn calm_ends(&mut self, system: &System) {
        let now = system.reporter().now_ms().await;
        if let Some(calm) = self.calms.last_mut() {
            calm.1 = now;
        }
    }

    fn check(&mut self, holds: bool, text: impl FnOnce() -> String) {
        if !holds {
            self.failures.push(text());
        }
    }

    pub async fn verdict(mut self, system: &System) -> Vec<String> {
        self.behind_the_broker(system).await;
        let end_ms = system.reporter().now_ms().await + 1_000;
        let whole = system.reporter().closed(self.begin_ms, end_ms).await;
        println!("report of the run   {}", report::words(&whole));
        println!("windows             {}", whole["windows"]);
        self.mismatches(system).await;
        let mut missing: Vec<u64> = Vec::new();
        for (exchange, symbols) in EXCHANGES {
            for symbol in symbols {
                missing.extend(self.stream(system, &whole, exchange, symbol).await);
            }
        }
        self.check(missing.is_empty() || whole["verdict"] != "whole", || {
            format!("the report of the run says whole, {} trades are missing", missing.len())
        });
        println!("messages that the broker lost before they were stored: {}", report::lost_messages(&whole));
        self.check(self.does_broker_forget || whole["losses"]["total"] == 0, || {
            format!("messages lost behind the broker: {}", whole["losses"])
        });
        self.slices(system, &missing, end_ms).await;
        self.calm_times(system, &missing).await;
        self.failures
    }

    /// Every message of the broker is a row, and every row is there once, in hot and in cold.
    async fn behind_the_broker(&mut self, system: &System) {
        let sent = broker_ids(&system.broker).await;
        let found = until("every message of the broker is stored", Duration::from_secs(90), || async {
            let stored = hot_ids(&system.hot).await?;
            let left = sent.difference(&stored).count();
            if left == 0 { Ok(stored) } else { Err(format!("{left} of {} messages are no row", sent.len())) }
        });
        // A loss is a result here, not a reason to stop.
        let stored: HashSet<u128> = match tokio::time::timeout(Duration::from_secs(80), found).await {
            Ok(stored) => stored,
            Err(_elapsed) => hot_ids(&system.hot).await.unwrap_or_default(),
        };
        let lost: Vec<&u128> = sent.difference(&stored).collect();
        self.is_lossy = !lost.is_empty();
        println!("broker holds        {} messages; rows in hot {}", sent.len(), stored.len());
        self.check(lost.is_empty(), || format!("{} messages of the broker are no row of hot", lost.len()));
        for (side, server) in [("marketprism_hot", &system.hot), ("marketprism_cold", &system.cold)] {
            for (table, count) in doubled(server, side).await {
                self.check(false, || format!("{side}.{table}: {count} rows are stored twice"));
            }
        }
        for (edge, mut journaled) in system.journals() {
            journaled.read();
            let events = journaled.all().count();
            let lost = journaled.all().filter(|event| !stored.contains(&event.id)).count();
            println!("journal of {edge:<8} {events} events");
            self.check(lost == 0, || {
                format!("{lost} of {events} events in the journal of {edge} are no row of hot")
            });
        }
        let refused = system.hot.number("SELECT count() FROM marketprism_hot.dead_letters").await.unwrap();
        self.check(refused == 0, || format!("{refused} sound messages were refused"));
    }

    /// Every message of the broker is a row, so no window of any stream may differ from its audits.
    async fn mismatches(&mut self, system: &System) {
        let found = "FROM marketprism_hot.verdicts FINAL WHERE state = 'mismatch'";
        let count = system.hot.number(&format!("SELECT count() {found}")).await.unwrap();
        let examples =
            "SELECT concat(toString(window_start), ' ', data_type, ' ', exchange, ' ', symbol, ': ', reason)";
        let examples = system.hot.text(&format!("{examples} {found} LIMIT 5")).await.unwrap();
        self.check(self.is_lossy || count == 0, || format!("{count} false mismatches:\n{examples}"));
    }

    /// Compares one instrument; returns the venue times of the missing trades, of numbered venues.
    async fn stream(&mut self, system: &System, whole: &Value, exchange: &str, symbol: &str) -> Vec<u64> {
        let sent: Trades = system
            .sim
            .all_trades(exchange, symbol)
            .unwrap()
            .into_iter()
            .map(|trade| (trade.trade_id, u64::try_from(trade.trade_time_ms).unwrap()))
            .collect();
        let stored = stored(system, exchange, symbol).await;
        let missing: Vec<u64> =
            sent.iter().filter(|(id, _)| !stored.contains(*id)).map(|(_, at)| *at).collect();
        let invented = stored.iter().filter(|id| !sent.contains_key(*id)).count();
        self.check(invented == 0, || {
            format!("{exchange} {symbol}: {invented} trades that the venue never sent")
        });
        let name = format!("trade.{exchange}.spot.{}", normalized(symbol));
        let streams = whole["heat_map"]["streams"].as_array().unwrap();
        let said = streams.iter().find(|stream| stream["stream"] == name.as_str());
        let named = said.and_then(|stream| stream["missing_events"].as_u64()).unwrap_or(0);
        let windows = said.map(|stream| stream["windows"].clone()).unwrap_or_default();
        println!(
            "{name:<38} sent {:>6}  hot {:>6}  missing {:>4}  named {named:>4}  windows {windows}",
            sent.len(),
            stored.len(),
            missing.len()
        );
        if exchange != NUMBERED {
            return Vec::new();
        }
        let count = missing.len() as u64;
        self.check(named <= count, || format!("{name}: {named} trades are named missing, {count} are"));
        let is_uncertain = windows["unverifiable"].as_u64().unwrap_or(0) > 0;
        self.check(named == count || is_uncertain, || {
            format!("{name}: {count} trades are missing, {named} are named, and no window is uncertain")
        });
        missing
    }

    /// No slice of the run with a missing trade is whole.
    async fn slices(&mut self, system: &System, missing: &[u64], end_ms: u64) {
        let margin = u64::try_from(WINDOW.as_millis()).unwrap();
        let length = 10 * margin;
        let mut whole = 0;
        let starts: Vec<u64> =
            (0..).map(|index| self.begin_ms + index * length).take_while(|at| *at < end_ms).collect();
        for from in &starts {
            let slice = system.reporter().closed(*from, from + length).await;
            let inside: BTreeSet<u64> = missing
                .iter()
                .copied()
                .filter(|at| (from + margin..from + length - margin).contains(at))
                .collect();
            let is_whole = slice["verdict"] == "whole";
            whole += usize::from(is_whole);
            self.check(inside.is_empty() || !is_whole, || {
                format!(
                    "a slice of {} s from {from} is called whole; {} trades are missing",
                    length / 1_000,
                    inside.len()
                )
            });
        }
        println!("slices              {whole} of {} whole", starts.len());
    }

    /// Times without faults and without missing trades are whole.
    async fn calm_times(&mut self, system: &System, missing: &[u64]) {
        for (from, to) in std::mem::take(&mut self.calms) {
            let calm = system.reporter().closed(from, to).await;
            println!("calm time           {}", report::words(&calm));
            let is_whole = calm["verdict"] == "whole" || missing.iter().any(|at| (from..to).contains(at));
            self.check(is_whole, || format!("a calm time is not called whole: {}", report::words(&calm)));
        }
    }
}

async fn stored(system: &System, exchange: &str, symbol: &str) -> BTreeSet<String> {
    let query = format!(
        "SELECT trade_id FROM marketprism_hot.trades WHERE exchange = '{exchange}' AND venue_symbol = '{symbol}'"
    );
    system.hot.text(&query).await.unwrap().lines().map(str::to_owned).collect()
}
