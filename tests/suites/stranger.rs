//! Promise: an edge collects through an adapter that it was not built with, whatever its language.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::{SinkExt as _, StreamExt as _};
use marketprism_tests::edge::Feed;
use marketprism_tests::parts;
use marketprism_tests::stack::Stack;
use marketprism_tests::wait::eventually;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;

const INSTRUMENTS: &str = r#"{"instruments":[{"name":"BTC_USD","base":"BTC","quote":"USD","tick":"0.10","step":"0.00001","status":"open"}]}"#;
const SNAPSHOT: &str = r#"{"type":"snapshot","name":"BTC_USD","id":500,"time":TIME,"bids":[["87654.2","1.5"]],"asks":[["87654.3","2"]]}"#;
const DELTA: &str = r#"{"type":"delta","name":"BTC_USD","first":501,"last":503,"time":TIME,"bids":[["87654.2","0"],["87654.0","0.00001"]],"asks":[]}"#;
const TRADE: &str = r#"{"type":"trade","name":"BTC_USD","id":7,"time":TIME,"price":"87654.3","quantity":"0.01500","side":"buy"}"#;

/// The venue of the template's VENUE.md with one instrument: a subscription gets a snapshot, a delta and a trade.
async fn venue(listener: TcpListener) {
    let mut clients = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        clients.spawn(client(stream));
    }
}

async fn client(mut stream: TcpStream) {
    let mut head = [0; 1024];
    let length = stream.peek(&mut head).await.unwrap();
    if String::from_utf8_lossy(&head[..length]).starts_with("GET /v1/instruments") {
        let _ = stream.read(&mut head).await;
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{INSTRUMENTS}",
            INSTRUMENTS.len()
        );
        let _ = stream.write_all(head.as_bytes()).await;
        return;
    }
    let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
    while let Some(Ok(message)) = socket.next().await {
        let Message::Text(text) = message else { continue };
        let answers: &[&str] = match text.as_str() {
            text if text.contains("\"subscribe\"") => &[SNAPSHOT, DELTA, TRADE],
            text if text.contains("\"ping\"") => &[r#"{"type":"pong"}"#],
            _ => &[],
        };
        // Hot keeps days, so the frames are of today.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis().to_string();
        for answer in answers {
            let _ = socket.send(Message::text(answer.replace("TIME", &now))).await;
        }
    }
}

async fn collects_through(adapter: PathBuf) {
    let stack = Stack::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(venue(listener));
    let feed = Feed {
        exchange: "template_spot".to_owned(),
        adapter,
        symbols: vec!["BTC-USD".to_owned()],
        data_types: vec!["trade".to_owned(), "orderbook".to_owned()],
        ws: format!("ws://{address}"),
        rest: format!("http://{address}"),
        backfill: false,
        extra: String::new(),
    };
    let _edge = stack.edge(&[feed]).await;
    let trades = "SELECT concatWithSeparator(' ', trade_id, toString(price), toString(quantity), toString(side), symbol) \
                  FROM marketprism_hot.trades WHERE exchange = 'template_spot'";
    let books = "SELECT concatWithSeparator(' ', toString(bids), toString(asks)) FROM marketprism_hot.orderbooks \
                 WHERE exchange = 'template_spot' AND last_update_id = 503";
    for (query, expected) in
        [(trades, "7 87654.3 0.015 buy BTC-USD"), (books, "[(87654,0.00001)] [(87654.3,2)]")]
    {
        eventually(expected, || async {
            let found = stack.clickhouse.text(query).await?;
            if found.trim() == expected { Ok(()) } else { Err(found) }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adapter_that_the_edge_was_not_built_with_collects() {
    collects_through(parts::adapter("template")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adapter_in_c_collects() {
    let component = parts::root().join("target/adapters/template-c.wasm");
    if !component.is_file() {
        println!("SKIPPED: template-c.wasm is not there; its build needs clang and lld");
        return;
    }
    collects_through(component).await;
}
