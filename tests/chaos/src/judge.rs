//! Compares what the venue sent with what the broker and hot hold, and both with what the report says.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::report::{self, broker_ids, doubled, hot_ids};
use crate::schedule::Schedule;
use crate::system::{EXCHANGES, FullJournal, PATIENCE, System, WINDOW, normalized};

/// Limit for central to store one more message.
const STANDSTILL: Duration = Duration::from_secs(60);
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

    /// On a busy machine parts may still be starting: waits for them.
    pub async fn calm_begins(&mut self, system: &System) {
        system.is_ready().await;
        self.calms.push((calm_from(system.reporter().now_ms().await), 0));
    }

    pub async fn calm_ends(&mut self, system: &System) {
        let now = system.reporter().now_ms().await;
        self.calms.last_mut().unwrap().1 = now;
        self.calms.retain(|(from, to)| from < to);
    }

    fn check(&mut self, holds: bool, text: impl FnOnce() -> String) {
        if !holds {
            self.failures.push(text());
        }
    }

    pub async fn verdict(mut self, system: &System) -> Vec<String> {
        self.behind_the_broker(system).await;
        let end_ms = system.reporter().now_ms().await + 1_000;
        let whole = self.settled(system, end_ms).await;
        println!("report of the run   {}", report::words(&whole));
        println!("windows             {}", whole["windows"]);
        let differing = report::finding(&whole, "replication.mismatched_windows");
        self.check(self.is_lossy || differing.is_none(), || format!("replication: {}", differing.unwrap()));
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

    /// Report of the run. On a busy machine verdicts are still being renewed after the last window is closed: a trade that came at last is named
    /// missing until then.
    async fn settled(&self, system: &System, end_ms: u64) -> Value {
        let began = Instant::now();
        loop {
            let whole = system.reporter().closed(self.begin_ms, end_ms).await;
            if !names_too_many(system, &whole).await || began.elapsed() >= PATIENCE {
                return whole;
            }
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
    }

    /// Every message of the broker is a row, and every row is there once, in hot and in cold.
    async fn behind_the_broker(&mut self, system: &System) {
        let sent = broker_ids(&system.broker).await;
        let stored = stored_at_last(system, &sent).await;
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

    /// Every message of the broker is a row, so no window of any stream may differ from its audits, but for events that the broker lost and
    /// no journal has. A busy central compares late rows late.
    async fn mismatches(&mut self, system: &System) {
        let began = Instant::now();
        let (explained, others) = loop {
            let (explained, others) = self.explained(system).await;
            if others.is_empty() || self.is_lossy || began.elapsed() > STANDSTILL {
                break (explained, others);
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        };
        println!("true mismatches     {explained}, of events that no journal had room for");
        let examples = others.iter().take(5).map(String::as_str).collect::<Vec<_>>().join("\n");
        self.check(self.is_lossy || others.is_empty(), || {
            format!("{} false mismatches:\n{examples}", others.len())
        });
    }

    /// Number of the mismatches that are true, and the other ones.
    async fn explained(&self, system: &System) -> (usize, Vec<String>) {
        let found = "SELECT toUnixTimestamp64Milli(window_start), edge, concat(toString(window_start), ' ', data_type, ' ', exchange, ' ', \
                     symbol, ': ', reason) FROM marketprism_hot.verdicts FINAL WHERE state = 'mismatch'";
        let text = system.hot.text(found).await.unwrap();
        let is_true = |at_ms: u64, edge: &str, text: &str| {
            let is_full =
                |full: &FullJournal| full.edge == edge && (full.from_ms..full.to_ms).contains(&at_ms);
            self.does_broker_forget && text.contains(" missing") && system.full_journals.iter().any(is_full)
        };
        let (mut explained, mut others) = (0, Vec::new());
        for line in text.lines() {
            let mut fields = line.splitn(3, '\t');
            let at_ms: u64 = fields.next().unwrap().parse().unwrap();
            let (edge, text) = (fields.next().unwrap(), fields.next().unwrap());
            if is_true(at_ms + u64::try_from(WINDOW.as_millis()).unwrap(), edge, text) {
                explained += 1;
            } else {
                others.push(text.to_owned());
            }
        }
        (explained, others)
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
        let name = stream_name(exchange, symbol);
        let said = stream_in(whole, &name);
        let named = missing_events(said);
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

    /// Times without faults and without missing trades are whole, unless the clock of an edge was stepped over them: no audit covers its second pass.
    async fn calm_times(&mut self, system: &System, missing: &[u64]) {
        for (from, to) in std::mem::take(&mut self.calms) {
            let calm = system.reporter().closed(from, to).await;
            println!("calm time           {}", report::words(&calm));
            let window = u64::try_from(WINDOW.as_millis()).unwrap();
            let is_in_calm = |(begin, end): &(u64, u64)| *begin < to && from < end + window;
            let is_excused = system.lived_twice.iter().any(is_in_calm);
            let has_missing = missing.iter().any(|at| (from..to).contains(at));
            let is_whole = calm["verdict"] == "whole" || is_excused || has_missing;
            self.check(is_whole, || format!("a calm time is not called whole: {}", report::words(&calm)));
        }
    }
}

/// Ids in hot once every message of the broker is stored, or nothing more came for a while: a loss is a result here, not a reason to stop, and
/// a busy machine needs long for what was sent again.
async fn stored_at_last(system: &System, sent: &HashSet<u128>) -> HashSet<u128> {
    let (mut least, mut since) = (usize::MAX, Instant::now());
    loop {
        let stored = hot_ids(&system.hot).await.unwrap_or_default();
        let left = sent.difference(&stored).count();
        if left == 0 || since.elapsed() > STANDSTILL {
            return stored;
        }
        if left < least {
            (least, since) = (left, Instant::now());
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Begin of a calm in which everything is ready at a time: that of the second window after it. A hole in the ids reaches up to the end of the
/// window with the first trade behind it.
fn calm_from(ready_ms: u64) -> u64 {
    let window = u64::try_from(WINDOW.as_millis()).unwrap();
    (ready_ms / window + 2) * window
}

fn stream_name(exchange: &str, symbol: &str) -> String {
    format!("trade.{exchange}.spot.{}", normalized(symbol))
}

fn stream_in<'a>(whole: &'a Value, name: &str) -> Option<&'a Value> {
    whole["heat_map"]["streams"].as_array()?.iter().find(|stream| stream["stream"] == name)
}

fn missing_events(said: Option<&Value>) -> u64 {
    said.and_then(|stream| stream["missing_events"].as_u64()).unwrap_or(0)
}

/// The report names more trades missing than are.
async fn names_too_many(system: &System, whole: &Value) -> bool {
    for (exchange, symbols) in EXCHANGES.iter().filter(|(exchange, _)| *exchange == NUMBERED) {
        for symbol in *symbols {
            let sent = system.sim.all_trades(exchange, symbol).unwrap().len();
            let stored = stored(system, exchange, symbol).await.len();
            let named = missing_events(stream_in(whole, &stream_name(exchange, symbol)));
            if named > sent.saturating_sub(stored) as u64 {
                return true;
            }
        }
    }
    false
}

async fn stored(system: &System, exchange: &str, symbol: &str) -> BTreeSet<String> {
    let query = format!(
        "SELECT trade_id FROM marketprism_hot.trades WHERE exchange = '{exchange}' AND venue_symbol = '{symbol}'"
    );
    system.hot.text(&query).await.unwrap().lines().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_calm_begins_with_the_window_after_that_of_the_first_trade() {
        assert_eq!([9_999, 10_000, 10_001].map(calm_from), [12_000, 14_000, 14_000]);
    }
}
