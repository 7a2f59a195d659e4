//! Control API under `/sim/`.

use hyper::Method;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::fault::FaultSpec;
use crate::ledger::EventFilter;
use crate::simulation::{Simulation, TradeQuery, Unknown};

const TRADES_LIMIT: usize = 1000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    pub body: String,
}

/// The parameters of a query string, percent-decoded.
pub fn pairs(query: &str) -> Vec<(String, String)> {
    form_urlencoded::parse(query.as_bytes()).into_owned().collect()
}

pub fn error(text: &str) -> String {
    json!({ "error": text }).to_string()
}

fn refuse(status: u16, text: &str) -> Reply {
    Reply { status, body: error(text) }
}

fn give(value: &impl Serialize) -> Reply {
    match serde_json::to_string(value) {
        Ok(body) => Reply { status: 200, body },
        Err(problem) => refuse(500, &problem.to_string()),
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RateChange {
    updates_per_second: Option<u64>,
    trade_percent: Option<u32>,
    burst_every_ms: Option<u64>,
    burst_frames: Option<u64>,
    event_ms: Option<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Push {
    exchange: String,
    symbol: String,
    data_type: String,
    #[serde(default = "one")]
    count: usize,
}

fn one() -> usize {
    1
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Listing {
    exchange: String,
    symbol: String,
    listed: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct HistoryChange {
    exchange: String,
    symbol: String,
    first_id: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClockSkew {
    exchange: String,
    skew_ms: i64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Burst {
    exchange: String,
    frames: u64,
}

fn body<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Reply> {
    serde_json::from_slice(bytes).map_err(|problem| refuse(400, &format!("body: {problem}")))
}

pub fn answer(sim: &Simulation, method: &Method, path: &str, query: &str, bytes: &[u8]) -> Reply {
    let query = Query(pairs(query));
    match route(sim, method, path, &query, bytes) {
        Ok(reply) | Err(reply) => reply,
    }
}

fn route(sim: &Simulation, method: &Method, path: &str, query: &Query, bytes: &[u8]) -> Result<Reply, Reply> {
    let post = method == Method::POST;
    match path {
        "/sim/state" => Ok(give(&sim.state())),
        "/sim/connections" => Ok(give(&sim.connections())),
        "/sim/endpoints" => Ok(give(&sim.endpoints())),
        "/sim/instruments" => Ok(give(&known(sim.instruments(query.need("exchange")?))?)),
        "/sim/trades" => trades(sim, query),
        "/sim/events" => events(sim, query),
        "/sim/push" if post => push(sim, &body(bytes)?),
        "/sim/book" => book(sim, query),
        "/sim/fault" if post => {
            let id =
                sim.fault(body::<FaultSpec>(bytes)?).map_err(|problem| refuse(400, &problem.to_string()))?;
            Ok(give(&json!({ "id": id })))
        }
        "/sim/fault" if method == Method::DELETE => {
            let removed = sim.remove_fault(query.number("id", None)?);
            Ok(give(&json!({ "removed": removed })))
        }
        "/sim/fault" | "/sim/faults" => Ok(give(&sim.faults())),
        "/sim/cut" if post => Ok(give(&json!({ "cut": sim.cut_all() }))),
        "/sim/rate" if post => set_rate(sim, &body(bytes)?),
        "/sim/burst" if post => {
            let burst: Burst = body(bytes)?;
            sim.exchange(&burst.exchange).ok_or_else(|| refuse(404, "exchange: is not simulated"))?;
            sim.burst(&burst.exchange, burst.frames);
            Ok(give(&json!({})))
        }
        "/sim/listing" if post => {
            let Listing { exchange, symbol, listed } = body(bytes)?;
            known(sim.set_listed(&exchange, &symbol, listed))?;
            Ok(give(&json!({})))
        }
        "/sim/history" if post => {
            let HistoryChange { exchange, symbol, first_id } = body(bytes)?;
            known(sim.set_history(&exchange, &symbol, first_id))?;
            Ok(give(&json!({})))
        }
        "/sim/clock" if post => {
            let ClockSkew { exchange, skew_ms } = body(bytes)?;
            match sim.set_clock_skew(&exchange, skew_ms) {
                true => Ok(give(&json!({}))),
                false => Err(refuse(404, "exchange: is not simulated")),
            }
        }
        "/sim/pause" if post => {
            sim.pause();
            Ok(give(&sim.state()))
        }
        "/sim/resume" if post => {
            sim.resume();
            Ok(give(&json!({ "paused": false })))
        }
        _ => Err(refuse(404, "path: unknown, or wrong method")),
    }
}

fn set_rate(sim: &Simulation, change: &RateChange) -> Result<Reply, Reply> {
    if change.trade_percent.is_some_and(|percent| percent > 100) {
        return Err(refuse(400, "trade_percent: allowed 0 to 100"));
    }
    sim.change_settings(|settings| {
        settings.rate = change.updates_per_second.unwrap_or(settings.rate);
        settings.trade_percent = change.trade_percent.unwrap_or(settings.trade_percent);
        settings.burst_every_ms = change.burst_every_ms.unwrap_or(settings.burst_every_ms);
        settings.burst_frames = change.burst_frames.unwrap_or(settings.burst_frames);
        // 0 gives the venues' own periods back.
        settings.event_ms = change.event_ms.map_or(settings.event_ms, |ms| (ms > 0).then_some(ms));
    });
    let now = sim.settings();
    Ok(give(&json!({ "updates_per_second": now.rate, "trade_percent": now.trade_percent,
        "burst_every_ms": now.burst_every_ms, "burst_frames": now.burst_frames,
        "event_ms": now.event_ms })))
}

struct Query(Vec<(String, String)>);

impl Query {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    fn need(&self, name: &str) -> Result<&str, Reply> {
        self.get(name).ok_or_else(|| refuse(400, &format!("{name}: absent")))
    }

    fn number(&self, name: &str, usual: Option<u64>) -> Result<u64, Reply> {
        match (self.get(name), usual) {
            (Some(text), _) => text.parse().map_err(|_| refuse(400, &format!("{name}: {text} is no number"))),
            (None, Some(usual)) => Ok(usual),
            (None, None) => Err(refuse(400, &format!("{name}: absent"))),
        }
    }
}

fn known<T>(found: Result<T, Unknown>) -> Result<T, Reply> {
    found.map_err(|problem| refuse(404, &problem.to_string()))
}

/// A value of an enum by its name.
fn named<T: DeserializeOwned>(field: &str, name: &str) -> Result<T, Reply> {
    serde_json::from_value(name.into()).map_err(|problem| refuse(400, &format!("{field}: {problem}")))
}

fn push(sim: &Simulation, push: &Push) -> Result<Reply, Reply> {
    if push.data_type == "still_book" {
        known(sim.push_still_book(&push.exchange, &push.symbol))?;
        return Ok(give(&json!({ "pushed": 1 })));
    }
    let data_type = named("data_type", &push.data_type)?;
    let pushed = known(sim.push(&push.exchange, &push.symbol, data_type, push.count))?;
    Ok(give(&json!({ "pushed": pushed })))
}

fn events(sim: &Simulation, query: &Query) -> Result<Reply, Reply> {
    let limit = query.number("limit", Some(TRADES_LIMIT as u64))?;
    let filter = EventFilter {
        data_type: query.get("data_type").map(|name| named("data_type", name)).transpose()?,
        symbol: query.get("symbol"),
        from: query.number("from", Some(0))?,
        limit: usize::try_from(limit).unwrap_or(usize::MAX),
    };
    Ok(give(&known(sim.events(query.need("exchange")?, filter))?))
}

fn trades(sim: &Simulation, query: &Query) -> Result<Reply, Reply> {
    let limit = query.number("limit", Some(TRADES_LIMIT as u64))?;
    let query = TradeQuery {
        exchange: query.need("exchange")?,
        symbol: query.need("symbol")?,
        kind: query.get("kind").map(|name| named("kind", name)).transpose()?,
        from_id: query.number("from_id", Some(0))?,
        limit: usize::try_from(limit).unwrap_or(usize::MAX),
    };
    Ok(give(&known(sim.trades(&query))?))
}

fn book(sim: &Simulation, query: &Query) -> Result<Reply, Reply> {
    let (exchange, symbol) = (query.need("exchange")?, query.need("symbol")?);
    let found = match query.get("update_id") {
        Some(_) => sim.book_at(exchange, symbol, query.number("update_id", None)?),
        None => sim.book_now(exchange, symbol),
    };
    match known(found)? {
        Some(book) => Ok(give(&book)),
        None => Err(refuse(404, "update_id: no change had this id, or it is too old")),
    }
}
