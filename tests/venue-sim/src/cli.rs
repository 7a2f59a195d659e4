//! The command line.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Parser;
use marketprism_service::Signals;

use crate::config::{RecordingConfig, SimConfig};
use crate::sim::Sim;

/// A venue for tests: websocket and REST of real venues' form, misbehaving on command.
#[derive(Debug, Parser)]
#[command(name = "marketprism-venue-sim", version)]
pub struct Cli {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Speak TLS with a fresh authority, whose certificate is written to DIR/ca.pem.
    #[arg(long, value_name = "DIR")]
    tls_dir: Option<PathBuf>,
    /// Exchange to play (may be repeated); all when absent.
    #[arg(long = "exchange", value_name = "ID")]
    exchanges: Vec<String>,
    /// The venue's own symbols, those for one exchange as `ID:SYMBOL`; each exchange's default list when absent.
    #[arg(long, value_delimiter = ',')]
    symbols: Vec<String>,
    /// Seed of the market.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Frames per second over all symbols.
    #[arg(long, default_value_t = 100)]
    rate: u64,
    /// Period of everything that comes by the clock (funding, open interest, ...), ms; the venues' own when absent.
    #[arg(long)]
    event_ms: Option<i64>,
    /// Share of trades among the events, percent.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(0..=100))]
    trade_percent: u32,
    /// Recording to play instead of a generated market (may be repeated).
    #[arg(long = "recording", value_name = "FILE")]
    recordings: Vec<PathBuf>,
    /// Shift recorded venue times to now.
    #[arg(long)]
    shift_to_now: bool,
    /// Speed of recordings in percent; 0 plays without waiting.
    #[arg(long, default_value_t = 100)]
    speed: u64,
    /// Send a new subscriber of trades those that did not provably arrive before.
    #[arg(long)]
    backlog: bool,
    /// Most trades sent again per stream.
    #[arg(long, default_value_t = 1000)]
    backlog_limit: usize,
    /// Close connections at this age, ms.
    #[arg(long)]
    age_max_ms: Option<u64>,
    /// Announce that end this long before, ms.
    #[arg(long)]
    shutdown_notice_ms: Option<u64>,
    /// Period of ping frames, ms.
    #[arg(long)]
    ping_ms: Option<u64>,
    /// Generate nothing until told so.
    #[arg(long)]
    paused: bool,
}

impl Cli {
    fn config(self) -> SimConfig {
        let recording = |file| RecordingConfig {
            file,
            exchange: match self.exchanges.as_slice() {
                [one] => Some(one.clone()),
                _ => None,
            },
            shift_to_now: self.shift_to_now,
            speed_percent: self.speed,
        };
        SimConfig {
            recordings: self.recordings.into_iter().map(recording).collect(),
            listen: self.listen,
            tls_dir: self.tls_dir,
            exchanges: self.exchanges,
            symbols: self.symbols,
            seed: self.seed,
            rate: self.rate,
            event_ms: self.event_ms,
            trade_percent: self.trade_percent,
            backlog: self.backlog,
            backlog_limit: self.backlog_limit,
            age_max_ms: self.age_max_ms,
            shutdown_notice_ms: self.shutdown_notice_ms,
            ping_ms: self.ping_ms,
            start_paused: self.paused,
            ..SimConfig::default()
        }
    }

    /// Runs until SIGINT or SIGTERM. Prints `listening on HOST:PORT` when ready.
    ///
    /// # Errors
    /// What keeps the simulator from starting, or from printing.
    pub async fn run(self) -> anyhow::Result<()> {
        let sim = Sim::start(self.config()).await.context("starting the simulator")?;
        let mut out = std::io::stdout();
        writeln!(out, "listening on {}", sim.addr())
            .and_then(|()| out.flush())
            .context("printing the address")?;
        Signals::new().context("listening for signals")?.next().await;
        sim.stop().await;
        Ok(())
    }
}
