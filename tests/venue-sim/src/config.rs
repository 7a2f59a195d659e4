//! What a simulator plays and how strictly.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::exchange::Options;
use crate::ledger::Backlog;
use crate::venue::Limits;

/// A recording to be played instead of a generated market.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordingConfig {
    /// JSON lines file.
    pub file: PathBuf,
    /// Exchange id; found from the recorded addresses when absent.
    pub exchange: Option<String>,
    /// Whether venue times are shifted so that the first frame is of now.
    pub shift_to_now: bool,
    /// Speed in percent of the recorded pace; 0 plays without waiting.
    pub speed_percent: u64,
}

/// Configuration of a simulator. Every limit that is `None` is the venue's own.
#[derive(Debug, Clone)]
pub struct SimConfig {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Exchange ids to play; empty plays all.
    pub exchanges: Vec<String>,
    /// The venues' own symbols; empty plays each exchange's default list.
    pub symbols: Vec<String>,
    /// Seed of the markets.
    pub seed: u64,
    /// Frames (trades and fast book updates) per second over all symbols of all exchanges.
    pub rate: u64,
    /// Share of trades among the events, percent.
    pub trade_percent: u32,
    /// Period of bursts, ms; 0 for none.
    pub burst_every_ms: u64,
    /// Frames of a burst, all at once.
    pub burst_frames: u64,
    /// Whether generation waits for `resume`.
    pub start_paused: bool,
    /// Where update and trade ids start. The start time in ms when absent, so that a restarted simulator
    /// does not use numbers again.
    pub first_id: Option<u64>,
    /// Speak TLS, and write `ca.pem` there.
    pub tls_dir: Option<PathBuf>,
    /// Recordings.
    pub recordings: Vec<RecordingConfig>,
    /// Book changes kept per symbol for `book_at`.
    pub history_changes: usize,
    /// Trades kept per symbol and kind in the ledger.
    pub ledger_trades: usize,
    /// Whether a new subscriber of trades is first sent those that did not provably arrive at an earlier
    /// one. No real venue does this: there, a client fills such holes by REST. It lets a test demand every
    /// trade over cut sockets.
    pub backlog: bool,
    /// Most trades sent again per stream.
    pub backlog_limit: usize,
    /// Trades sent again before the last one that is known to have arrived.
    pub backlog_overlap: u64,
    /// Frames queued per connection; a client that lets it fill is cut off.
    pub queue_capacity: usize,
    /// Period of ping frames, ms.
    pub ping_ms: Option<u64>,
    /// Time to answer a ping, ms.
    pub pong_within_ms: Option<u64>,
    /// Age at which connections are closed, ms.
    pub age_max_ms: Option<u64>,
    /// Announce the end by age this long before, ms.
    pub shutdown_notice_ms: Option<u64>,
    /// Client messages per second.
    pub messages_per_second: Option<usize>,
    /// REST weight per window and address.
    pub weight_max: Option<u32>,
    /// Length of the weight window, ms.
    pub weight_window_ms: u64,
    /// Requests ignoring a 429 before the ban.
    pub ban_after_ignored: u32,
    /// Length of the ban, ms.
    pub ban_ms: u64,
}

impl Default for SimConfig {
    fn default() -> SimConfig {
        SimConfig {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            exchanges: Vec::new(),
            symbols: Vec::new(),
            seed: 1,
            rate: 100,
            trade_percent: 50,
            burst_every_ms: 0,
            burst_frames: 0,
            start_paused: false,
            first_id: None,
            tls_dir: None,
            recordings: Vec::new(),
            history_changes: 200_000,
            ledger_trades: 200_000,
            backlog: false,
            backlog_limit: 1000,
            backlog_overlap: 50,
            queue_capacity: 16_384,
            ping_ms: None,
            pong_within_ms: None,
            age_max_ms: None,
            shutdown_notice_ms: None,
            messages_per_second: None,
            weight_max: None,
            weight_window_ms: 60_000,
            ban_after_ignored: 10,
            ban_ms: 120_000,
        }
    }
}

impl SimConfig {
    /// The settings of an exchange with these limits of its own.
    #[must_use]
    pub fn options_for(&self, own: Limits) -> Options {
        let ms = |given: Option<u64>, usual| given.map_or(usual, Duration::from_millis);
        Options {
            limits: Limits {
                ping_every: ms(self.ping_ms, own.ping_every),
                pong_within: ms(self.pong_within_ms, own.pong_within),
                age_max: ms(self.age_max_ms, own.age_max),
                messages_per_second: self.messages_per_second.unwrap_or(own.messages_per_second),
                streams_max: own.streams_max,
                weight_max: self.weight_max.unwrap_or(own.weight_max),
            },
            backlog: self
                .backlog
                .then_some(Backlog { limit: self.backlog_limit, overlap: self.backlog_overlap }),
            confirm_every: Duration::from_millis(500),
            notice_before: self.shutdown_notice_ms.map(Duration::from_millis),
            write_within: Duration::from_secs(30),
            queue_capacity: self.queue_capacity,
        }
    }
}
