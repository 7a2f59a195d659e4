//! Routes requests to the control API, a venue's REST, or a WebSocket session.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE,
};
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::session::Session;
use crate::delivery::{Connection, Counters, Socket, SocketSwitch, Verdict};
use crate::exchange::{Exchange, lock};
use crate::fault::{self, RestEffect, RestFacts};
use crate::ledger::{TradeKind, TradeRecord};
use crate::market::{Ratio, RatioKind, Reference, Side, SymbolMarket};
use crate::simulation::Simulation;
use crate::venue::{ListedInstrument, Opening, RestAnswer, RestRequest, Snapshot, Source};
use crate::{clock, control};

const BODY_MAX: usize = 64 * 1024;
/// Timeout of a request body, and of an upgrade.
const CLIENT_WITHIN: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
#[error("connection ended on purpose")]
pub struct Hangup;

#[derive(Clone)]
pub struct Service {
    pub simulation: Arc<Simulation>,
    pub next_connection: Arc<AtomicU64>,
    pub tasks: TaskTracker,
    pub stop: CancellationToken,
}

pub async fn serve(service: Service, socket: Socket, peer: SocketAddr, switch: Arc<SocketSwitch>) {
    let stop = service.stop.clone();
    let handler = service_fn(|request| handle(service.clone(), request, peer, switch.clone()));
    let connection = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(socket), handler)
        .with_upgrades();
    tokio::select! {
        result = connection => if let Err(error) = result {
            tracing::debug!(%peer, %error, "connection ended with an error");
        },
        () = stop.cancelled() => {}
    }
}

async fn handle(
    service: Service,
    request: Request<Incoming>,
    peer: SocketAddr,
    switch: Arc<SocketSwitch>,
) -> Result<Answer, Hangup> {
    let uri = request.uri().clone();
    let (path, query) = (uri.path(), uri.query().unwrap_or(""));
    if path.starts_with("/sim/") {
        let method = request.method().clone();
        let body = timeout(CLIENT_WITHIN, Limited::new(request.into_body(), BODY_MAX).collect()).await;
        let Ok(Ok(body)) = body else {
            return Ok(json(413, control::error("body: too large or too slow"), &[]));
        };
        let reply = control::answer(&service.simulation, &method, path, query, &body.to_bytes());
        return Ok(json(reply.status, reply.body, &[]));
    }
    let split = path.trim_start_matches('/').split_once('/');
    let Some((exchange, rest)) =
        split.and_then(|(name, rest)| Some((service.simulation.exchange(name)?, rest)))
    else {
        return Ok(json(404, control::error("path: no simulated exchange, and not /sim/"), &[]));
    };
    if exchange.faults.refuses(exchange.venue.exchange()) {
        switch.reset_on_drop();
        return Err(Hangup);
    }
    let rest = format!("/{rest}");
    let key = request.headers().get(SEC_WEBSOCKET_KEY).map(|key| key.as_bytes().to_owned());
    match (key, wants_upgrade(request.headers())) {
        (Some(_), true) if !exchange.admits(peer.ip()) => {
            Counters::add(&exchange.counters.refused_connections, 1);
            Ok(json(429, control::error("too many new connections"), &[]))
        }
        (Some(key), true) => match exchange.venue.open(&rest, query) {
            Some(opening) => Ok(upgrade(service, exchange, request, opening, (peer, switch), &key)),
            None => Ok(json(404, control::error("path: no websocket there"), &[])),
        },
        _ => answer_rest(&exchange, &rest, query, peer, &switch).await,
    }
}

fn wants_upgrade(headers: &HeaderMap) -> bool {
    headers
        .get(UPGRADE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.eq_ignore_ascii_case("websocket"))
}

fn upgrade(
    service: Service,
    exchange: Arc<Exchange>,
    mut request: Request<Incoming>,
    opening: Opening,
    (peer, switch): (SocketAddr, Arc<SocketSwitch>),
    key: &[u8],
) -> Answer {
    let upgraded = hyper::upgrade::on(&mut request);
    let id = service.next_connection.fetch_add(1, Ordering::Relaxed) + 1;
    let capacity = exchange.config.queue_capacity;
    let (connection, queue) = Connection::new(id, (opening.route, opening.combined), peer, switch, capacity);
    let stop = service.stop.clone();
    service.tasks.spawn(async move {
        let Ok(Ok(upgraded)) = timeout(CLIENT_WITHIN, upgraded).await else { return };
        let mut config = WebSocketConfig::default();
        config.max_message_size = Some(BODY_MAX);
        config.max_frame_size = Some(BODY_MAX);
        let ws = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config)).await;
        exchange.join(&connection, &opening.streams);
        Session::new(exchange, connection).run(ws, queue, stop).await;
    });
    let headers = [
        (CONNECTION.as_str().to_owned(), "Upgrade".to_owned()),
        (UPGRADE.as_str().to_owned(), "websocket".to_owned()),
        (SEC_WEBSOCKET_ACCEPT.as_str().to_owned(), derive_accept_key(key)),
    ];
    let mut answer = Answer::default();
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) = (name.parse::<hyper::header::HeaderName>(), value.parse()) {
            answer.headers_mut().insert(name, value);
        }
    }
    answer
}

async fn answer_rest(
    exchange: &Exchange,
    path: &str,
    query: &str,
    peer: SocketAddr,
    switch: &SocketSwitch,
) -> Result<Answer, Hangup> {
    Counters::add(&exchange.counters.requests, 1);
    let venue = &exchange.venue;
    let request = RestRequest { path: path.to_owned(), query: control::pairs(query) };
    let call = venue.rest_call(&request);
    let used = match exchange.charge(peer.ip(), &call) {
        Verdict::Allowed(used) => used,
        Verdict::Refused { status, used, wait } => {
            Counters::add(&exchange.counters.refused_requests, 1);
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            let told = venue.profile().names_wait.then_some(seconds);
            return Ok(refusal(exchange, status, used, told));
        }
    };
    let facts = RestFacts {
        exchange: venue.exchange(),
        symbol: call.symbol.as_deref().unwrap_or(""),
        path,
        snapshot: call.snapshot,
    };
    let RestEffect { delay, stale_updates, status, code, corrupt, hang } = exchange.faults.on_rest(facts);
    if let Some(hang) = hang {
        sleep(hang).await;
        switch.reset_on_drop();
        return Err(Hangup);
    }
    if !delay.is_zero() {
        sleep(delay).await;
    }
    if let Some((status, retry_after)) = status {
        return Ok(refusal(exchange, status, used, retry_after));
    }
    if let Some(answer) = code.and_then(|code| venue.rest_error(code)) {
        return Ok(json(answer.status, answer.body, &weight_header(exchange, used)));
    }
    let recorded = exchange.recording.as_ref().and_then(|r| r.answer(path, request.get("symbol")));
    let answer = match recorded {
        Some(body) => RestAnswer::new(200, body),
        None => venue.rest_answer(&request, &RestView::new(exchange, stale_updates)),
    };
    if let Some(action) = corrupt {
        let body = fault::corrupted(action, &answer.body);
        return Ok(json(answer.status, body, &weight_header(exchange, used)));
    }
    exchange.answered(answer.events);
    Ok(json(answer.status, answer.body, &weight_header(exchange, used)))
}

fn weight_header(exchange: &Exchange, used: u32) -> Vec<(&'static str, String)> {
    exchange.venue.profile().weight_header.map(|name| (name, used.to_string())).into_iter().collect()
}

fn refusal(exchange: &Exchange, status: u16, used: u32, retry_after_s: Option<u64>) -> Answer {
    let venue = &exchange.venue;
    let mut headers = weight_header(exchange, used);
    headers.extend(retry_after_s.map(|seconds| ("retry-after", seconds.to_string())));
    let wait_ms = i64::try_from(retry_after_s.unwrap_or(0)).unwrap_or(0).saturating_mul(1000);
    let (status, body) = venue.refusal(status, clock::now_ms().saturating_add(wait_ms));
    json(status, body, &headers)
}

pub type Answer = Response<Full<Bytes>>;

/// A JSON response. Headers invalid in HTTP are omitted.
pub fn json(status: u16, body: String, headers: &[(&'static str, String)]) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json;charset=UTF-8"));
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::from_str(value) {
            answer.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
    answer
}

/// REST data of an exchange, current or outdated.
pub struct RestView<'a> {
    exchange: &'a Exchange,
    listed: Cow<'a, [ListedInstrument]>,
    stale_updates: Option<u64>,
}

impl<'a> RestView<'a> {
    pub fn new(exchange: &'a Exchange, stale_updates: Option<u64>) -> RestView<'a> {
        RestView { exchange, listed: exchange.listed_now(), stale_updates }
    }
}

impl Source for RestView<'_> {
    fn listed(&self) -> &[ListedInstrument] {
        &self.listed
    }

    fn find(&self, symbol: &str) -> Option<&ListedInstrument> {
        self.exchange.find_symbol(symbol).filter(|found| self.exchange.listings.has(found.index))
    }

    fn turnover(&self, symbol: usize) -> u64 {
        self.exchange.listings.turnover(symbol)
    }

    fn now_ms(&self) -> i64 {
        clock::now_ms().saturating_add(self.exchange.skew_ms.load(Ordering::Relaxed))
    }

    fn snapshot(&self, symbol: usize, depth: usize) -> Option<Snapshot> {
        let market = lock(&self.exchange.market);
        let symbol = market.symbols.get(symbol)?;
        let past =
            self.stale_updates.and_then(|back| symbol.book_back(usize::try_from(back).unwrap_or(usize::MAX)));
        let (last_update_id, book) = match &past {
            Some((id, book)) => (*id, book),
            None => (symbol.last_update_id(), symbol.book()),
        };
        Some(Snapshot {
            last_update_id,
            change_id: symbol.last_change(),
            bids: book.top(Side::Bid, depth),
            asks: book.top(Side::Ask, depth),
            engine_ms: symbol.engine_ms(),
        })
    }

    fn reference(&self, symbol: usize) -> Option<Reference> {
        let market = lock(&self.exchange.market);
        market.symbols.get(symbol)?.asked_reference(self.exchange.pace(), clock::now_ms())
    }

    fn ratios(&self, symbol: usize, kind: RatioKind, limit: usize) -> Vec<Ratio> {
        let market = lock(&self.exchange.market);
        let rows = |m: &SymbolMarket| m.ratios(kind, self.exchange.pace(), clock::now_ms(), limit);
        market.symbols.get(symbol).map(rows).unwrap_or_default()
    }

    fn newest_trades(&self, symbol: usize, kind: TradeKind, limit: usize) -> Vec<TradeRecord> {
        self.exchange.ledger().trades.newest(symbol, kind, limit)
    }

    fn trades_from(&self, symbol: usize, kind: TradeKind, from_id: u64, limit: usize) -> Vec<TradeRecord> {
        let from_id = from_id.max(self.exchange.history.first_id(symbol));
        self.exchange.ledger().trades.list(symbol, kind, from_id, limit)
    }

    fn trades_between(&self, symbol: usize, kind: TradeKind, from_ms: i64, to_ms: i64) -> Vec<TradeRecord> {
        let within = |record: &TradeRecord| record.trade_ms >= from_ms && record.trade_ms <= to_ms;
        let mut found: Vec<_> = self.exchange.past(symbol).iter().filter(|r| within(r)).cloned().collect();
        found.extend(self.exchange.ledger().trades.between(symbol, kind, from_ms, to_ms));
        found
    }

    fn liquidation_delay_ms(&self) -> i64 {
        self.exchange.config.liquidation_delay_ms
    }
}
