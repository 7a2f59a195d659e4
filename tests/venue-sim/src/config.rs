//! Configuration of the simulator, also its command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use crate::venue::{BanRules, Limits, PerWindow};

/// A venue for tests: WebSocket and REST with the protocols of real venues, faults on command. Limits default to the venue's own.
#[derive(Debug, Clone, Parser)]
#[command(name = "marketprism-venue-sim", version)]
pub struct SimConfig {
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// Speak TLS with a fresh certificate, written to DIR/ca.pem.
    #[arg(long, value_name = "DIR")]
    pub tls_dir: Option<PathBuf>,
    /// Exchange to simulate (may be repeated); default: all.
    #[arg(long = "exchange", value_name = "ID")]
    pub exchanges: Vec<String>,
    /// The venues' own symbols, those for one exchange as `ID:SYMBOL`. An exchange without a symbol of its form lists its defaults.
    #[arg(long, value_delimiter = ',')]
    pub symbols: Vec<String>,
    /// Seed of the markets.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Frames (trades and fast book updates) per second over all symbols of the exchanges that had a client; of all exchanges until
    /// the first client connects.
    #[arg(long, default_value_t = 100)]
    pub rate: u64,
    /// Share of trades among the events, percent.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(0..=100))]
    pub trade_percent: u32,
    /// Period of everything timed (funding, open interest, liquidations, ratios, volatility), ms; default: the venues' own.
    #[arg(long)]
    pub event_ms: Option<i64>,
    /// Time after which an unchanged book gets an update without changes, where the venue sends such, ms.
    #[arg(long)]
    pub still_book_ms: Option<i64>,
    /// Period of bursts, ms; 0 for none.
    #[arg(long, default_value_t = 0)]
    pub burst_every_ms: u64,
    #[arg(long, default_value_t = 0)]
    pub burst_frames: u64,
    /// Generate nothing until resumed.
    #[arg(long = "paused")]
    pub start_paused: bool,
    /// First update and trade id; default: the start time in ms, so that a restarted simulator does not repeat ids.
    #[arg(long)]
    pub first_id: Option<u64>,
    /// Recording to play instead of a generated market (may be repeated); its exchange is the one of `--exchange`, or that of its
    /// addresses.
    #[arg(long = "recording", value_name = "FILE")]
    pub recordings: Vec<PathBuf>,
    /// Shift recorded venue times to now.
    #[arg(long)]
    pub shift_to_now: bool,
    /// Speed of recordings in percent; 0 plays without waiting.
    #[arg(long = "speed", default_value_t = 100)]
    pub speed_percent: u64,
    /// Book changes kept per symbol for `book_at`; fewer when many symbols share `KEPT_TOTAL`.
    #[arg(long, default_value_t = 200_000)]
    pub history_changes: usize,
    /// Trades kept per symbol and kind in the ledger; fewer when many symbols share `KEPT_TOTAL`.
    #[arg(long, default_value_t = 200_000)]
    pub ledger_trades: usize,
    /// Events other than trades kept per exchange in the ledger.
    #[arg(long, default_value_t = 200_000)]
    pub ledger_events: usize,
    /// Age from which REST answers mark liquidations, where the venue marks them late, ms.
    #[arg(long, default_value_t = 3_600_000)]
    pub liquidation_delay_ms: i64,
    /// Trades per minute in the two hours before the start, where a venue answers for them.
    #[arg(long, default_value_t = 4)]
    pub past_per_minute: u32,
    /// Send a new subscriber of trades those that did not provably arrive before. No real venue does this (clients fill such gaps by
    /// REST); it lets a test demand every trade over cut sockets.
    #[arg(long)]
    pub backlog: bool,
    /// Trades sent again per stream at most.
    #[arg(long, default_value_t = 1000)]
    pub backlog_limit: usize,
    /// Trades sent again before the last one known to have arrived.
    #[arg(long, default_value_t = 50)]
    pub backlog_overlap: u64,
    /// Frames queued per connection; a client that lets it fill is disconnected.
    #[arg(long, default_value_t = 16_384)]
    pub queue_capacity: usize,
    /// Period of ping frames, ms.
    #[arg(long)]
    pub ping_ms: Option<u64>,
    /// Time to answer a ping, ms.
    #[arg(long)]
    pub pong_within_ms: Option<u64>,
    /// Age at which connections are closed, ms.
    #[arg(long)]
    pub age_max_ms: Option<u64>,
    /// Time of the notice before a connection's end by age, ms.
    #[arg(long)]
    pub shutdown_notice_ms: Option<u64>,
    /// Client messages per second.
    #[arg(long)]
    pub messages_per_second: Option<usize>,
    /// Period of heartbeats, whatever the client requests, ms.
    #[arg(long)]
    pub heartbeat_ms: Option<u64>,
    /// Time without traffic after which a connection is closed, ms.
    #[arg(long)]
    pub idle_ms: Option<u64>,
    /// Requests to subscribe or unsubscribe per connection in the venue's window.
    #[arg(long)]
    pub requests_max: Option<u32>,
    /// New connections per address in the venue's window.
    #[arg(long)]
    pub connects_max: Option<u32>,
    /// REST weight per window and address.
    #[arg(long)]
    pub weight_max: Option<u32>,
    /// Length of the weight window, ms.
    #[arg(long)]
    pub weight_window_ms: Option<u64>,
    /// Requests that may ignore a 429 before the ban.
    #[arg(long)]
    pub ban_after_ignored: Option<u32>,
    /// Length of the ban, ms.
    #[arg(long)]
    pub ban_ms: Option<u64>,
}

impl Default for SimConfig {
    fn default() -> SimConfig {
        SimConfig::parse_from(["marketprism-venue-sim"])
    }
}

impl SimConfig {
    pub const KEPT_TOTAL: usize = 4_000_000;

    /// A venue's own limits, with those configured.
    pub fn limits(&self, own: Limits) -> Limits {
        let ms = |given: Option<u64>| given.map(Duration::from_millis);
        let sized = |limit: PerWindow, max: Option<u32>| PerWindow { max: max.unwrap_or(limit.max), ..limit };
        Limits {
            // A venue that sends no pings sends none at another pace either.
            ping_every: own.ping_every.map(|every| ms(self.ping_ms).unwrap_or(every)),
            pong_within: ms(self.pong_within_ms).unwrap_or(own.pong_within),
            age_max: ms(self.age_max_ms).or(own.age_max),
            idle_within: own.idle_within.map(|idle| ms(self.idle_ms).unwrap_or(idle)),
            messages_per_second: self.messages_per_second.unwrap_or(own.messages_per_second),
            requests: own.requests.map(|limit| sized(limit, self.requests_max)),
            streams_max: own.streams_max,
            connects: own.connects.map(|limit| sized(limit, self.connects_max)),
            weight: PerWindow {
                max: self.weight_max.unwrap_or(own.weight.max),
                window: ms(self.weight_window_ms).unwrap_or(own.weight.window),
            },
            bans: own.bans.map(|bans| BanRules {
                ignored_max: self.ban_after_ignored.unwrap_or(bans.ignored_max),
                ban: ms(self.ban_ms).unwrap_or(bans.ban),
            }),
        }
    }
}
