//! A venue that sends prepared trade frames as fast as the socket takes them: the load for the measurement of the edge. The simulator's own
//! work would be part of the measurement.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_tungstenite::tungstenite::Message;

const INSTRUMENTS: &str = r#"{"symbols":[{"symbol":"BTCUSDT","status":"TRADING","baseAsset":"BTC","quoteAsset":"USDT","baseAssetPrecision":8,"quoteAssetPrecision":8,"filters":[{"filterType":"PRICE_FILTER","minPrice":"0.01000000","maxPrice":"1000000.00000000","tickSize":"0.01000000"},{"filterType":"LOT_SIZE","minQty":"0.00000100","maxQty":"9000.00000000","stepSize":"0.00000100"}]}]}"#;

/// Frames per write: enough to make the system call cheap.
const CHUNK: usize = 64 * 1024;

#[derive(Debug)]
pub struct Venue {
    listener: TcpListener,
    frames: Arc<Vec<u8>>,
}

/// Prepared trade frames in wire form (server frames are not masked).
#[must_use]
pub fn frames(trades: u64) -> Vec<u8> {
    let mut wire = Vec::new();
    for id in 1..=trades {
        let time = 1_700_000_000_000 + id;
        let json = format!(
            r#"{{"stream":"btcusdt@trade","data":{{"e":"trade","E":{time},"s":"BTCUSDT","t":{id},"p":"{}.{:02}000000","q":"0.01234500","T":{time},"m":{},"M":true}}}}"#,
            64_000 + id % 1000,
            id % 100,
            id % 2 == 0
        );
        let length = u16::try_from(json.len()).unwrap_or(u16::MAX);
        wire.push(0x81);
        wire.push(126);
        wire.extend_from_slice(&length.to_be_bytes());
        wire.extend_from_slice(json.as_bytes());
    }
    wire
}

impl Venue {
    pub async fn bind(frames: Vec<u8>) -> Result<Self> {
        Ok(Self { listener: TcpListener::bind(("127.0.0.1", 0)).await?, frames: Arc::new(frames) })
    }

    /// `host:port`.
    pub fn address(&self) -> Result<String> {
        Ok(self.listener.local_addr()?.to_string())
    }

    /// Answers requests, and sends all frames to the first subscriber of trades. Reports the time of the first write, and runs until
    /// dropped.
    pub async fn serve(self, started: oneshot::Sender<Instant>) -> Result<()> {
        let mut started = Some(started);
        loop {
            let (socket, _) = self.listener.accept().await?;
            let mut head = [0_u8; 512];
            let length = socket.peek(&mut head).await?;
            let head = String::from_utf8_lossy(head.get(..length).unwrap_or_default()).into_owned();
            if head.contains("exchangeInfo") {
                instruments(socket).await?;
            } else if let Some(started) = started.take() {
                self.send(socket, started).await?;
            } else {
                bail!("a second subscriber came: {head}");
            }
        }
    }

    async fn send(&self, socket: TcpStream, started: oneshot::Sender<Instant>) -> Result<()> {
        let mut socket = tokio_tungstenite::accept_async(socket).await?;
        loop {
            let message = socket.next().await.context("the edge left before it subscribed")??;
            if message.is_text() && message.to_text()?.contains("SUBSCRIBE") {
                break;
            }
        }
        socket.send(Message::text(r#"{"result":null,"id":1}"#)).await?;
        let stream = socket.get_mut();
        let _ = started.send(Instant::now());
        for chunk in self.frames.chunks(CHUNK) {
            stream.write_all(chunk).await?;
        }
        while let Some(message) = socket.next().await {
            if message.is_err() {
                break;
            }
        }
        Ok(())
    }
}

async fn instruments(mut socket: TcpStream) -> Result<()> {
    let mut request = [0_u8; 4096];
    let _read = socket.read(&mut request).await?;
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        INSTRUMENTS.len()
    );
    socket.write_all(head.as_bytes()).await?;
    socket.write_all(INSTRUMENTS.as_bytes()).await?;
    socket.shutdown().await?;
    Ok(())
}
