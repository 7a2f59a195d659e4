//! Compares what the venue sent with what the broker and hot hold, and both with what the report says.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use async_nats::jetstream::{self, consumer::AckPolicy, consumer::pull};
use futures_util::StreamExt as _;
use marketprism_tests::wait::until;
use serde_json::Value;

use crate::report::{self, doubled, hot_ids};
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
}

/// Trades of one instrument: venue time by trade id.
type Trades = BTreeMap<String, u64>;

impl Judge {
    pub async fn begin(system: &System) -> Self {
        Self {
            begin_ms: system.reporter().now_ms().await,
            calms: Vec::new(),
            failures: Vec::new(),
            is_lossy: false,
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
        let mut missing: Vec<u64> = Vec::new();
        for (exchange, symbols) in EXCHANGES {
            for symbol in symbols {
                missing.extend(self.stream(system, &whole, exchange, symbol).await);
            }
        }
        self.check(missing.is_empty() || whole["verdict"] != "whole", || {
            format!("the report of the run says whole, {} trades are missing", missing.len())
        });
        self.check(whole["losses"]["total"] == 0, || {
            format!("messages lost behind the broker: {}", whole["losses"])
        });
        self.slices(system, &missing, end_ms).await;
        self.calm_times(system, &missing).await;
        self.failures
    }

    /// Every message of the broker is a row, and every row is there once, in hot and in cold.
    async fn behind_the_broker(&mut self, system: &System) {
        let sent = broker_ids(system).await;
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
        let refused = system.hot.number("SELECT count() FROM marketprism_hot.dead_letters").await.unwrap();
        self.check(refused == 0, || format!("{refused} sound messages were refused"));
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
        self.check(self.is_lossy || windows["mismatch"].as_u64().unwrap_or(0) == 0, || {
            format!("{name}: false mismatch: {windows}")
        });
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

/// Event ids of everything that the broker still holds; what is sent again has no message id.
async fn broker_ids(system: &System) -> HashSet<u128> {
    #[derive(serde::Deserialize)]
    struct Payload {
        event_id: String,
    }
    let context = jetstream::new(async_nats::connect(system.broker.url()).await.unwrap());
    let mut ids = HashSet::new();
    for name in ["MARKET_DATA", "ORDERBOOK_SNAP"] {
        let mut stream = context.get_stream(name).await.unwrap();
        let count = stream.info().await.unwrap().state.messages;
        let config = pull::Config { ack_policy: AckPolicy::None, ..Default::default() };
        let mut messages = stream.create_consumer(config).await.unwrap().messages().await.unwrap();
        for _ in 0..count {
            let message = messages.next().await.unwrap().unwrap();
            let Payload { event_id } = serde_json::from_slice(&message.payload).unwrap();
            ids.insert(u128::from_str_radix(&event_id, 16).unwrap());
        }
    }
    ids
}

async fn stored(system: &System, exchange: &str, symbol: &str) -> BTreeSet<String> {
    let query = format!(
        "SELECT trade_id FROM marketprism_hot.trades WHERE exchange = '{exchange}' AND venue_symbol = '{symbol}'"
    );
    system.hot.text(&query).await.unwrap().lines().map(str::to_owned).collect()
}
