//! Asking edges to send again what the ledger misses in hot.

use std::time::Duration;

use anyhow::Context as _;
use marketprism_schema::{
    DataType, RepairAnswer, RepairError, RepairRequest, RepairState, StreamId, Table, repair_subject,
};
use serde::Deserialize;
use tokio::time::timeout;

use super::progress::{Fate, Journal, Outcome, Request};
use crate::broker::Broker;
use crate::config::Config;
use crate::replicator::Endpoint;
use crate::storage::bounded;
use crate::time::Time;
use crate::{clock, limits};

/// A window of a stream that lacks events, as the ledger judged it.
#[derive(Debug, Clone, PartialEq, Eq, clickhouse::Row, Deserialize)]
struct Lacking {
    data_type: String,
    exchange: String,
    market_type: String,
    symbol: String,
    edge: String,
    start_ms: i64,
    window_seconds: u16,
    missing: u64,
}

/// Asks the edges for every stretch that the ledger misses, oldest first, up to a bound.
pub async fn ask_edges(
    config: &Config,
    broker: &Broker,
    hot: &Endpoint,
    request: &Request,
    journal: &Journal,
) -> anyhow::Result<()> {
    let lacking = lacking(hot, request).await.context("cannot read the ledger's verdicts")?;
    let held_from_ms = held_from(config);
    for stretch in stretches(&lacking) {
        let stream =
            format!("{} {}.{}.{}", stretch.edge, stretch.exchange, stretch.market_type, stretch.symbol);
        let add = |fate, what| {
            journal.add(Outcome {
                table: table_of(&stretch.data_type).to_owned(),
                stream: Some(stream.clone()),
                window_start: Time(stretch.start_ms).to_string(),
                fate,
                what,
            });
        };
        // Hot would not know these events any more, and would take each for a new one.
        if stretch.start_ms < held_from_ms {
            let missing = stretch.missing;
            add(
                Fate::Left,
                format!("{missing} events are missing; hot does not hold that time any more, not asked"),
            );
            continue;
        }
        if request.dry_run {
            add(Fate::WouldMend, format!("would ask the edge for {} events", stretch.missing));
            continue;
        }
        journal.doing(format!("asking {stream}"));
        let (fate, what) = ask(broker, &stretch).await;
        add(fate, what);
    }
    Ok(())
}

/// Since when hot holds everything, milliseconds since 1970.
fn held_from(config: &Config) -> i64 {
    let ms = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    let ttl = Duration::from_secs(u64::from(config.clickhouse.hot_ttl_days) * 86_400);
    let kept = config.replication.remove_from_hot_after.map_or(ttl, |after| after.min(ttl));
    clock::now_ns() / 1_000_000 - ms(kept.saturating_sub(limits::TTL_MARGIN))
}

async fn ask(broker: &Broker, stretch: &Stretch) -> (Fate, String) {
    let missing = stretch.missing;
    let Stretch { data_type, exchange, market_type, symbol, .. } = stretch;
    let stream = StreamId::from_names(data_type, exchange, market_type, symbol).map_err(RepairError::from);
    let payload = stream.and_then(|stream| {
        let id = format!("{:016x}", rand::random::<u64>());
        let (from_ns, to_ns) =
            (stretch.start_ms.saturating_mul(1_000_000), stretch.end_ms.saturating_mul(1_000_000));
        RepairRequest::new(id, &stream, from_ns, to_ns).encode()
    });
    let payload = match payload {
        Ok(payload) => payload,
        Err(error) => {
            return (Fate::Left, format!("{missing} events are missing; they cannot be asked for: {error}"));
        }
    };
    let sent = broker.client.request(repair_subject(&stretch.edge), payload.into());
    let message = match timeout(limits::EDGE_ANSWER_WAIT, sent).await {
        Ok(Ok(message)) => message,
        Ok(Err(error)) if error.kind() != async_nats::client::RequestErrorKind::NoResponders => {
            return (Fate::Left, format!("{missing} events are missing; the edge cannot be asked: {error}"));
        }
        _ => return (Fate::Left, format!("{missing} events are missing; the edge did not answer")),
    };
    match RepairAnswer::decode(&message.payload) {
        Ok(answer) if answer.state == RepairState::Resent => {
            (Fate::Resent, format!("the edge sent {} events again", answer.resent))
        }
        Ok(answer) => {
            let (state, resent) = (answer.state.as_str(), answer.resent);
            (
                Fate::Left,
                format!(
                    "{missing} events are missing; the edge sent {resent} again ({state}): {}",
                    answer.reason
                ),
            )
        }
        Err(error) => {
            (Fate::Left, format!("{missing} events are missing; the edge's answer cannot be read: {error}"))
        }
    }
}

async fn lacking(hot: &Endpoint, request: &Request) -> Result<Vec<Lacking>, crate::storage::StorageError> {
    let mut conditions = vec!["state = 'mismatch' AND found < expected".to_owned()];
    if let Some(name) = &request.table
        && let Some(table) = Table::ALL.iter().find(|table| table.name == name)
    {
        conditions.push(format!("data_type = '{}'", table.data_type.as_str()));
    }
    for (operator, limit_ms) in [(">=", request.from_ms), ("<", request.to_ms)] {
        if let Some(ms) = limit_ms {
            conditions.push(format!("window_start {operator} fromUnixTimestamp64Milli({ms}, 'UTC')"));
        }
    }
    let sql = format!(
        "SELECT toString(data_type) AS data_type, toString(exchange) AS exchange, toString(market_type) AS market_type, \
         toString(symbol) AS symbol, toString(edge) AS edge, toInt64(toUnixTimestamp64Milli(window_start)) AS start_ms, \
         window_seconds, toUInt64(expected - found) AS missing FROM {} FINAL WHERE {} ORDER BY edge, data_type, exchange, \
         market_type, symbol, window_start LIMIT {}",
        hot.table("verdicts"),
        conditions.join(" AND "),
        limits::REPAIR_WINDOWS
    );
    bounded(hot.limit, hot.query(&sql).fetch_all()).await
}

/// Neighbouring windows of one stream and edge: asked for at once.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stretch {
    data_type: String,
    exchange: String,
    market_type: String,
    symbol: String,
    edge: String,
    start_ms: i64,
    end_ms: i64,
    missing: u64,
}

fn stretches(lacking: &[Lacking]) -> Vec<Stretch> {
    let mut stretches: Vec<Stretch> = Vec::new();
    for window in lacking {
        let end_ms = window.start_ms + i64::from(window.window_seconds) * 1_000;
        if let Some(last) = stretches.last_mut()
            && last.is_followed_by(window)
        {
            last.end_ms = end_ms;
            last.missing += window.missing;
            continue;
        }
        let Lacking { data_type, exchange, market_type, symbol, edge, start_ms, missing, .. } =
            window.clone();
        stretches.push(Stretch { data_type, exchange, market_type, symbol, edge, start_ms, end_ms, missing });
    }
    stretches
}

impl Stretch {
    fn is_followed_by(&self, window: &Lacking) -> bool {
        let mine = (&self.data_type, &self.exchange, &self.market_type, &self.symbol, &self.edge);
        let others = (&window.data_type, &window.exchange, &window.market_type, &window.symbol, &window.edge);
        mine == others && self.end_ms == window.start_ms
    }
}

fn table_of(data_type: &str) -> &'static str {
    let known = DataType::ALL.iter().find(|known| known.as_str() == data_type);
    known.map_or("", |known| Table::of(*known).name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: neighbouring windows of one stream are asked for at once, others apart.
    #[test]
    fn neighbouring_windows_are_one_stretch() {
        let window = |symbol: &str, start_ms| Lacking {
            data_type: "trade".to_owned(),
            exchange: "sim_spot".to_owned(),
            market_type: "spot".to_owned(),
            symbol: symbol.to_owned(),
            edge: "e".to_owned(),
            start_ms,
            window_seconds: 60,
            missing: 2,
        };
        let windows =
            [window("A-B", 0), window("A-B", 60_000), window("A-B", 180_000), window("C-B", 240_000)];
        let found: Vec<_> = stretches(&windows).iter().map(|s| (s.start_ms, s.end_ms, s.missing)).collect();
        assert_eq!(found, [(0, 120_000, 4), (180_000, 240_000, 2), (240_000, 300_000, 2)]);
        assert_eq!(table_of("trade"), "trades");
    }
}
