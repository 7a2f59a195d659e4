//! A websocket client and a bare HTTP client that show exactly what came over the wire.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use marketprism_venue_sim::{BookView, Sim, SimConfig};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// Everything expected arrives within this time, or the test fails.
pub const SOON: Duration = Duration::from_secs(60);
/// Nothing came for this long: the stream is silent.
pub const SILENCE: Duration = Duration::from_millis(300);
/// Nothing came for this long: what was on its way has come, also on a busy machine.
const DRAINED: Duration = Duration::from_secs(1);

pub async fn start(change: impl FnOnce(&mut SimConfig)) -> Sim {
    let mut config = SimConfig { rate: 400, ..SimConfig::default() };
    change(&mut config);
    Sim::start(config).await.expect("simulator starts")
}

pub struct Ws {
    pub stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    next_id: u64,
}

#[derive(Debug, PartialEq)]
pub enum Got {
    Text(Utf8Bytes),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Close(Option<(u16, String)>),
    Failed(String),
    Nothing,
}

impl Ws {
    pub async fn open(url: &str) -> Ws {
        let (stream, _) = timeout(SOON, connect_async(url)).await.expect("in time").expect(url);
        Ws { stream, next_id: 0 }
    }

    pub async fn send(&mut self, text: &str) {
        self.stream.send(Message::text(text)).await.expect("sent");
    }

    /// Subscribes and waits for the ack; data that comes before it is not expected.
    pub async fn subscribe(&mut self, streams: &[&str]) {
        self.next_id += 1;
        let id = self.next_id;
        self.send(&json!({"method": "SUBSCRIBE", "params": streams, "id": id}).to_string()).await;
        loop {
            let message = self.json().await;
            if message.get("id").is_some() {
                assert_eq!(message, json!({"result": null, "id": id}));
                return;
            }
        }
    }

    pub async fn got(&mut self, within: Duration) -> Got {
        let deadline = Instant::now() + within;
        loop {
            return match timeout_at(deadline, self.stream.next()).await {
                Err(_) => Got::Nothing,
                Ok(None) => Got::Failed("ended".into()),
                Ok(Some(Err(Error::ConnectionClosed))) => Got::Failed("closed".into()),
                Ok(Some(Err(error))) => Got::Failed(error.to_string()),
                Ok(Some(Ok(Message::Text(text)))) => Got::Text(text),
                Ok(Some(Ok(Message::Binary(bytes)))) => Got::Binary(bytes.to_vec()),
                Ok(Some(Ok(Message::Ping(payload)))) => Got::Ping(payload.to_vec()),
                Ok(Some(Ok(Message::Close(frame)))) => {
                    Got::Close(frame.map(|f| (f.code.into(), f.reason.to_string())))
                }
                Ok(Some(Ok(_))) => continue,
            };
        }
    }

    pub async fn text(&mut self) -> Utf8Bytes {
        loop {
            match self.got(SOON).await {
                Got::Text(text) => return text,
                Got::Ping(_) => {}
                other => panic!("expected text, got {other:?}"),
            }
        }
    }

    /// The next text frame as JSON.
    pub async fn json(&mut self) -> Value {
        let text = self.text().await;
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"))
    }

    /// Reads until the connection ends; returns how it ended.
    pub async fn end(&mut self) -> Got {
        let deadline = Instant::now() + SOON;
        loop {
            match self.got(deadline - Instant::now()).await {
                Got::Text(_) | Got::Binary(_) | Got::Ping(_) => {}
                end => return end,
            }
        }
    }

    /// Every text frame until nothing came for a while.
    pub async fn drain(&mut self) -> Vec<Value> {
        let mut all = Vec::new();
        let mut until = Instant::now() + DRAINED;
        loop {
            match self.got(until.saturating_duration_since(Instant::now())).await {
                Got::Text(text) => {
                    until = Instant::now() + DRAINED;
                    all.push(serde_json::from_str(&text).expect("JSON"));
                }
                Got::Ping(_) => {}
                Got::Nothing => return all,
                other => panic!("connection ended: {other:?}"),
            }
        }
    }
}

#[derive(Debug)]
pub struct Http {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

impl Http {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }
}

pub async fn try_http(address: SocketAddr, method: &str, path: &str, body: &str) -> std::io::Result<Http> {
    let mut stream = TcpStream::connect(address).await?;
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
    );
    stream.write_all(format!("{head}{body}").as_bytes()).await?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await?;
    let text = String::from_utf8(bytes).expect("UTF-8");
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return Err(std::io::Error::other(format!("no answer: {text}")));
    };
    let mut lines = head.lines();
    let status = lines.next().and_then(|l| l.split(' ').nth(1)).and_then(|s| s.parse().ok()).expect("status");
    let header = |line: &str| line.split_once(": ").map(|(k, v)| (k.to_lowercase(), v.to_owned()));
    Ok(Http { status, headers: lines.filter_map(header).collect(), body: body.to_owned() })
}

pub async fn get(sim: &Sim, path: &str) -> Http {
    timeout(SOON, try_http(sim.addr(), "GET", path, "")).await.expect("in time").expect(path)
}

pub async fn post(sim: &Sim, path: &str, body: &Value) -> Http {
    timeout(SOON, try_http(sim.addr(), "POST", path, &body.to_string())).await.expect("in time").expect(path)
}

pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !holds() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::task::yield_now().await;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Result of a burst that took less than `window`, so that all of it fell into one window of the venue. On a machine that is too busy for that
/// it is repeated, after a window without requests.
pub async fn within<T>(window: Duration, mut burst: impl AsyncFnMut() -> T) -> T {
    for _ in 0..20 {
        let begun = Instant::now();
        let result = burst().await;
        if begun.elapsed() < window {
            return result;
        }
        tokio::time::sleep(window).await;
    }
    panic!("none of 20 bursts took less than {window:?}");
}

pub fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("no number: {value}"))
}

/// A book built from messages alone, by price in units of 10^-9.
#[derive(Default)]
pub struct Replica {
    pub bids: BTreeMap<u64, [String; 2]>,
    pub asks: BTreeMap<u64, [String; 2]>,
}

impl Replica {
    /// Sets a level, or removes it when the quantity is zero; returns the level before.
    pub fn set(&mut self, side: &str, price: &str, quantity: &str) -> Option<[String; 2]> {
        let levels = if side.starts_with('b') { &mut self.bids } else { &mut self.asks };
        match units(quantity) {
            0 => levels.remove(&units(price)),
            _ => levels.insert(units(price), [price, quantity].map(str::to_owned)),
        }
    }

    pub fn assert_is(&self, book: &BookView) {
        let bids: Vec<_> = self.bids.values().rev().cloned().collect();
        let asks: Vec<_> = self.asks.values().cloned().collect();
        assert_eq!(bids, book.bids, "bids at {}", book.update_id);
        assert_eq!(asks, book.asks, "asks at {}", book.update_id);
    }
}

fn units(text: &str) -> u64 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    format!("{whole}{fraction:0<9}").parse().expect(text)
}

/// The book at an update id.
pub fn book_at(sim: &Sim, exchange: &str, symbol: &str, id: u64) -> BookView {
    sim.book_at(exchange, symbol, id).expect("known").unwrap_or_else(|| panic!("no book at {id}"))
}
