//! A running edge from socket to acknowledgement, relative to a bare publisher in the same run.
//!
//! Its load is a venue that sends prepared frames as fast as the socket takes them: the simulator's own work would be measured too.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use futures_util::{SinkExt, StreamExt};
use marketprism_schema::WireForm;
use marketprism_tests::broker::Broker;
use marketprism_tests::central::Central;
use marketprism_tests::clickhouse::ClickHouse;
use marketprism_tests::edge::{Edge, Feed};
use marketprism_tests::figures::{Goal, Report};
use marketprism_tests::pairs::{Pairs, Spread, Turn};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::sample::{self, Sample};

/// Limit for the last acknowledgement.
const LIMIT: Duration = Duration::from_secs(120);

/// Turns of a bare publisher, an edge, and an edge without a journal.
const ROUNDS: u64 = 20;
/// Each takes this part of the trades.
const TURN: u64 = 3;
const WITHOUT_JOURNAL: &str = "[journal]\nenabled = false\n";

/// Starts with a compiled adapter; the slowest counts.
const STARTS: u64 = 3;
/// Trades that a venue sends to a new edge.
const FIRST_TRADES: u64 = 10;

/// Measures the bare publisher, then edges with the same number of trades on the same broker.
pub async fn measure(report: &mut Report, trades: u64) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut broker = broker_with_streams(folder.path()).await;
    let trades = (trades / TURN).max(1);
    let (mut against_bare, mut against_memory) = (Pairs::default(), Pairs::default());
    let (mut with, mut without) = (Through::default(), Through::default());
    for round in 0..ROUNDS {
        let first = 1 + 3 * trades * round;
        let (mut turns, mut bare) = ([None, None], None);
        // Which side begins changes from round to round.
        for place in 0..3 {
            match (place + round) % 3 {
                0 => {
                    let (cpu, url) = (broker.process().cpu_time(), broker.url());
                    let time =
                        sample::publish(&url, Sample::Trades, (WireForm::Json, 1), first, trades).await?;
                    bare = Some(Turn::of(time, broker.process().cpu_time().saturating_sub(cpu), trades));
                }
                side => {
                    let (tables, name) =
                        if side == 1 { ("", "journal") } else { (WITHOUT_JOURNAL, "memory") };
                    let name = format!("{name}-{round}");
                    let first = first + side * trades;
                    let run = through(folder.path(), &mut broker, (&name, tables), first, trades).await?;
                    if side == 1 {
                        with.add(&run)
                    } else {
                        without.add(&run)
                    }
                    let index = usize::try_from(side - 1)?;
                    *turns.get_mut(index).context("two sides")? = run.turn;
                }
            }
        }
        let ([Some(own), Some(memory)], Some(bare)) = (turns, bare) else { bail!("a turn is missing") };
        against_bare.push(own, bare);
        against_memory.push(own, memory);
    }
    let rate = |side: Option<Spread>| side.map_or(0.0, |each| 1.0 / each.median);
    report.figure(
        "bare async-nats publisher, trades, 4,096 acks in flight",
        rate(against_bare.right()),
        "msg/s",
    );
    report.figure("edge, trades from socket to ack", rate(against_bare.left()), "frames/s");
    report.figure(
        "edge without a journal, trades from socket to ack",
        rate(against_memory.right()),
        "frames/s",
    );
    let pairs = "no pair";
    let goal = Some(Goal::AtLeast(3.0));
    report.spread("edge / bare publisher", against_bare.rates().context(pairs)?, "times", goal);
    let times = against_bare.cpu_times();
    report.figure("broker's CPU time an event, edge / bare publisher", times, "times");
    let goal = Some(Goal::AtLeast(0.85));
    report.spread("edge / edge without a journal", against_memory.rates().context(pairs)?, "times", goal);
    let lost = with.lost + without.lost;
    report.goal("edge, events lost meanwhile", lost as f64, "events", Goal::AtMost(0.0));
    report.goal(
        "edge, resident memory after it",
        with.resident_bytes as f64 / 1e6,
        "MB",
        Goal::AtMost(100.0),
    );
    let start = start_to_first_event(folder.path(), &broker).await?;
    let name =
        format!("edge, start to first acknowledged event, adapter compiled before, slowest of {STARTS}");
    report.goal(name, start.as_secs_f64(), "s", Goal::AtMost(1.0));
    Ok(())
}

/// `init` creates the streams as in production; its engine is stopped before anything is measured.
pub async fn broker_with_streams(folder: &Path) -> Broker {
    let broker = Broker::start(folder).await;
    let mut clickhouse = ClickHouse::start(folder).await;
    let mut central = Central::start(folder, &broker.url(), &clickhouse.url()).await;
    central.kill();
    clickhouse.kill();
    broker
}

/// Trades through an edge.
#[derive(Debug, Default)]
struct Through {
    /// The wall clock from socket to acknowledgement, and the broker's CPU time.
    turn: Option<Turn>,
    lost: u64,
    resident_bytes: u64,
}

impl Through {
    fn add(&mut self, other: &Self) {
        self.lost += other.lost;
        self.resident_bytes = self.resident_bytes.max(other.resident_bytes);
    }
}

async fn through(
    folder: &Path,
    broker: &mut Broker,
    (name, tables): (&str, &str),
    first: u64,
    trades: u64,
) -> Result<Through> {
    let (venue, feed) = venue(first, trades).await?;
    let (sender, receiver) = oneshot::channel();
    let serving = tokio::spawn(venue.serve(sender));
    let nats = format!("urls = [{:?}]\n{tables}", broker.url());
    let cpu = broker.process().cpu_time();
    let mut edge = Edge::start_as(&format!("edge-{name}"), folder, &nats, &[feed]).await;
    let started = receiver.await.context("the edge never subscribed")?;
    let time = until_acknowledged(&edge, trades, started).await?;
    let turn = Turn::of(time, broker.process().cpu_time().saturating_sub(cpu), trades);
    serving.abort();
    let lost = edge.metric("marketprism_edge_lost_events_total", "").await;
    Ok(Through { turn: Some(turn), lost, resident_bytes: edge.process().resident_bytes() })
}

async fn venue(first: u64, trades: u64) -> Result<(Venue, Feed)> {
    let venue = Venue::bind(frames(first, trades)?).await?;
    let feed = venue.feed()?;
    Ok((venue, feed))
}

/// From the start of the process, with what a killed one left.
async fn start_to_first_event(folder: &Path, broker: &Broker) -> Result<Duration> {
    let nats = broker.nats();
    let first = |round: u64| 1_000_000_000 + round * FIRST_TRADES;
    let (mut venue_now, feed) = venue(first(0), FIRST_TRADES).await?;
    let mut edge = Edge::named("edge-start", folder, &nats, &[feed]);
    let mut slowest = Duration::ZERO;
    for round in 1..=STARTS + 1 {
        let (sender, _receiver) = oneshot::channel();
        let serving = tokio::spawn(venue_now.serve(sender));
        let started = Instant::now();
        edge.start_without_waiting();
        while edge.get("/metrics").await.is_err() {
            ensure!(started.elapsed() < LIMIT, "the edge does not answer within {LIMIT:?}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let time = until_acknowledged(&edge, 1, started).await?;
        // The first one compiles the adapter.
        slowest = if round == 1 { Duration::ZERO } else { slowest.max(time) };
        edge.kill();
        serving.abort();
        let (next, feed) = venue(first(round), FIRST_TRADES).await?;
        venue_now = next;
        edge.set_feeds(&[feed]);
    }
    Ok(slowest)
}

pub async fn until_acknowledged(edge: &Edge, trades: u64, started: Instant) -> Result<Duration> {
    loop {
        let acknowledged = edge.metric("marketprism_edge_acknowledged_total", "").await;
        if acknowledged >= trades {
            return Ok(started.elapsed());
        }
        ensure!(started.elapsed() < LIMIT, "only {acknowledged} of {trades} acknowledged within {LIMIT:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Messages per second.
pub fn rate(messages: u64, time: Duration) -> f64 {
    messages as f64 / time.as_secs_f64()
}

const INSTRUMENTS: &str = r#"{"symbols":[{"symbol":"BTCUSDT","status":"TRADING","baseAsset":"BTC","quoteAsset":"USDT","baseAssetPrecision":8,"quoteAssetPrecision":8,"filters":[{"filterType":"PRICE_FILTER","minPrice":"0.01000000","maxPrice":"1000000.00000000","tickSize":"0.01000000"},{"filterType":"LOT_SIZE","minQty":"0.00000100","maxQty":"9000.00000000","stepSize":"0.00000100"}]}]}"#;

/// Time between the writes of a paced venue. Two frames come in it at 20,000 a second, as timers are late by as much.
const STEP: Duration = Duration::from_micros(50);

/// Bytes per write: enough to make the system call cheap.
const CHUNK: usize = 64 * 1024;

#[derive(Debug)]
pub struct Venue {
    listener: TcpListener,
    frames: Arc<Vec<u8>>,
    /// Time for all frames; `None`: as fast as the socket takes them.
    paced: Option<Duration>,
}

/// Prepared trade frames in wire form (server frames are not masked), of now: an edge leaves out trades of long before its start.
pub fn frames(first: u64, trades: u64) -> Result<Vec<u8>> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let now_ms = u64::try_from(now.as_millis())?;
    Ok(frames_at(|_| now_ms, first, trades))
}

/// As [`frames`]; `time`: milliseconds of a trade by its number.
pub fn frames_at(time: impl Fn(u64) -> u64, first: u64, trades: u64) -> Vec<u8> {
    let mut wire = Vec::new();
    for id in first..first + trades {
        let time = time(id);
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
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        Ok(Self { listener, frames: Arc::new(frames), paced: None })
    }

    /// Sends its frames evenly in this time.
    pub fn paced(self, time: Duration) -> Self {
        Self { paced: Some(time), ..self }
    }

    pub fn feed(&self) -> Result<Feed> {
        let mut feed = Feed::simulated("binance_spot", &self.address()?, &["BTC-USDT"]);
        feed.data_types = vec!["trade".to_owned()];
        Ok(feed)
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
        // Small writes would wait for the acknowledgement of those before them.
        socket.get_ref().set_nodelay(true)?;
        let _ = started.send(Instant::now());
        if let Some(time) = self.paced {
            let (stream, frames) = (socket.into_inner().into_std()?, Arc::clone(&self.frames));
            let stream = tokio::task::spawn_blocking(move || pace(stream, &frames, time)).await??;
            socket = WebSocketStream::from_raw_socket(TcpStream::from_std(stream)?, Role::Server, None).await;
        } else {
            for chunk in self.frames.chunks(CHUNK) {
                socket.get_mut().write_all(chunk).await?;
            }
        }
        while let Some(message) = socket.next().await {
            if message.is_err() {
                break;
            }
        }
        Ok(())
    }
}

/// Writes what is due every [`STEP`]. Timers of the runtime have steps of a millisecond, and its load would delay them.
fn pace(
    mut stream: std::net::TcpStream,
    frames: &[u8],
    time: Duration,
) -> std::io::Result<std::net::TcpStream> {
    stream.set_nonblocking(false)?;
    let (started, mut rest) = (Instant::now(), frames);
    while !rest.is_empty() {
        let passed = started.elapsed().min(time).as_micros();
        let due = frames.len() as u128 * passed / time.as_micros().max(1);
        let due = usize::try_from(due).unwrap_or(frames.len());
        let (now, later) = rest.split_at((due + rest.len()).saturating_sub(frames.len()));
        std::io::Write::write_all(&mut stream, now)?;
        rest = later;
        std::thread::sleep(STEP);
    }
    stream.set_nonblocking(true)?;
    Ok(stream)
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
