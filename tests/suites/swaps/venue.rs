//! A venue of the adapter `sound`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use futures_util::{SinkExt, StreamExt};
use marketprism_tests::edge::Feed;
use marketprism_tests::parts;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message;

/// Symbol that a test adds while a change of the adapter runs.
pub(super) const LATE: &str = "ETH-USD";

/// A venue of the adapter `sound`: trades with rising ids, marked for the faults or not.
pub struct SoundVenue {
    ws: String,
    rest: String,
    pub(super) next_id: Arc<AtomicU64>,
    pub is_marked: Arc<AtomicBool>,
    pub(super) is_paused: Arc<AtomicBool>,
    /// The trades of [`LATE`] are marked.
    pub(super) is_late_marked: Arc<AtomicBool>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl SoundVenue {
    pub async fn start() -> Self {
        let (ws, rest) = (
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
        );
        let mut venue = Self {
            ws: format!("ws://{}", ws.local_addr().unwrap()),
            rest: format!("http://{}", rest.local_addr().unwrap()),
            next_id: Arc::default(),
            is_marked: Arc::default(),
            is_paused: Arc::default(),
            is_late_marked: Arc::default(),
            tasks: Vec::new(),
        };
        let (next, marked, paused) =
            (Arc::clone(&venue.next_id), Arc::clone(&venue.is_marked), Arc::clone(&venue.is_paused));
        venue.tasks.push(tokio::spawn(stream(ws, [marked, Arc::clone(&venue.is_late_marked)], next, paused)));
        venue.tasks.push(tokio::spawn(list(rest)));
        venue
    }

    /// Newest id.
    pub fn sent(&self) -> u64 {
        self.next_id.load(Ordering::SeqCst)
    }

    pub fn pause(&self) {
        self.is_paused.store(true, Ordering::SeqCst);
    }

    pub fn stop(&self) {
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
    }

    pub fn feed(&self) -> Feed {
        Feed {
            exchange: "sound".to_owned(),
            adapter: parts::adapter("broken-adapters"),
            symbols: vec!["BTC-USD".to_owned()],
            data_types: vec!["trade".to_owned()],
            ws: self.ws.clone(),
            rest: self.rest.clone(),
            backfill: false,
            extra: String::new(),
        }
    }
}

async fn stream(
    listener: TcpListener,
    is_marked: [Arc<AtomicBool>; 2],
    next: Arc<AtomicU64>,
    is_paused: Arc<AtomicBool>,
) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        let (is_marked, next, is_paused) = (is_marked.clone(), Arc::clone(&next), Arc::clone(&is_paused));
        connections.spawn(async move {
            let Ok(mut socket) = tokio_tungstenite::accept_async(socket).await else { return };
            let Some(Ok(subscription)) = socket.next().await else { return };
            let is_late = subscription.to_text().unwrap().contains("ETH/USD");
            let (name, is_marked) =
                if is_late { ("ETH/USD", &is_marked[1]) } else { ("BTC/USD", &is_marked[0]) };
            let next = if is_late { Arc::default() } else { next };
            loop {
                tokio::time::sleep(Duration::from_millis(5)).await;
                if is_paused.load(Ordering::SeqCst) {
                    continue;
                }
                let id = next.load(Ordering::SeqCst) + 1;
                let mark = if is_marked.load(Ordering::SeqCst) { "!" } else { "" };
                if socket.send(Message::text(trade(name, id, mark))).await.is_err() {
                    break;
                }
                // Trades that a test skips meanwhile stay skipped.
                next.fetch_max(id, Ordering::SeqCst);
            }
        });
    }
}

fn trade(name: &str, id: u64, mark: &str) -> String {
    let time_us = UNIX_EPOCH.elapsed().unwrap().as_micros();
    format!(
        r#"{{"type":"trade","name":"{name}","id":{id},"time_us":{time_us},"price":"87543.2","quantity":"1.5","taker":"buy","mark":"{mark}"}}"#
    )
}

/// The venue's REST API: its list of instruments, and past trades.
async fn list(listener: TcpListener) {
    let market = |base: &str| {
        format!(r#"{{"name":"{base}/USD","base":"{base}","quote":"USD","tick":"0.1","step":"0.00001"}}"#)
    };
    let body = format!(r#"{{"markets":[{},{}]}}"#, market("BTC"), market("ETH"));
    loop {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut head = [0; 4_096];
        let read = socket.read(&mut head).await.unwrap_or_default();
        let head = String::from_utf8_lossy(&head[..read]).into_owned();
        // A past trade, marked for the faults.
        let asked = head.split_whitespace().nth(1).filter(|path| path.contains("/trade?"));
        let id = asked.and_then(|path| path.split_once("&id=")).map(|(_, id)| id.to_owned());
        let body = id.map_or_else(|| body.clone(), |id| trade("BTC/USD", id.parse().unwrap(), "!"));
        let answer =
            format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
        let _ = socket.write_all(answer.as_bytes()).await;
    }
}
