//! What a simulator plays and how strictly.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::exchange::Options;
use crate::ledger::Backlog;
use crate::venue::{Limits, PerWindow};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordingConfig {
    pub file: PathBuf,
    pub exchange: Option<String>,
    /// Whether venue times are shifted so that the first frame is of now.
    pub shift_to_now: bool,
    pub speed_percent: u64,
}

/// Configuration of a simulator. Every limit that is `None` is the venue's own.
#[derive(Debug, Clone)]
pub struct SimConfig {
    pub listen: SocketAddr,
    pub exchanges: Vec<String>,
    /// The venues' own symbols, those for one exchange only as `<exchange id>:<symbol>`. An exchange plays those
    /// that have its form, or its default list when there are none.
    pub symbols: Vec<String>,
    pub seed: u64,
    /// Frames (trades and fast book updates) per second over all symbols of the exchanges that had a client;
    /// of all exchanges until the first client comes.
    pub rate: u64,
    pub trade_percent: u32,
    /// Period of everything that comes or is counted by the clock (funding, open interest, forced orders, ratios,
    /// volatility), ms; the venues' own periods when absent.
    pub event_ms: Option<i64>,
    /// A book that stands still this long gets an update without changes where the venue sends such, ms.
    pub still_book_ms: Option<i64>,
    /// Period of bursts, ms; 0 for none.
    pub burst_every_ms: u64,
    pub burst_frames: u64,
    pub start_paused: bool,
    /// Where update and trade ids start. The start time in ms when absent, so that a restarted simulator
    /// does not use numbers again.
    pub first_id: Option<u64>,
    pub tls_dir: Option<PathBuf>,
    pub recordings: Vec<RecordingConfig>,
    /// Book changes kept per symbol for `book_at`; fewer when [`SimConfig::KEPT_TOTAL`] is shared by many.
    pub history_changes: usize,
    /// Trades kept per symbol and kind in the ledger; fewer when [`SimConfig::KEPT_TOTAL`] is shared by many.
    pub ledger_trades: usize,
    pub ledger_events: usize,
    /// Age from which on a trade's liquidation shows in REST answers that tell it late, ms.
    pub liquidation_delay_ms: i64,
    /// Trades a minute in the two hours before the start, where a venue is asked about them.
    pub past_per_minute: u32,
    /// Whether a new subscriber of trades is first sent those that did not provably arrive at an earlier
    /// one. No real venue does this: there, a client fills such holes by REST. It lets a test demand every
    /// trade over cut sockets.
    pub backlog: bool,
    pub backlog_limit: usize,
    /// Trades sent again before the last one that is known to have arrived.
    pub backlog_overlap: u64,
    /// Frames queued per connection; a client that lets it fill is cut off.
    pub queue_capacity: usize,
    pub ping_ms: Option<u64>,
    /// Time to answer a ping, ms.
    pub pong_within_ms: Option<u64>,
    /// Age at which connections are closed, ms.
    pub age_max_ms: Option<u64>,
    /// Announce the end by age this long before, ms.
    pub shutdown_notice_ms: Option<u64>,
    pub messages_per_second: Option<usize>,
    /// Period of heartbeats that a client asks for, whatever it asks, ms.
    pub heartbeat_ms: Option<u64>,
    /// Connections without traffic end after this time, ms.
    pub idle_ms: Option<u64>,
    pub requests_max: Option<u32>,
    pub connects_max: Option<u32>,
    pub weight_max: Option<u32>,
    /// Length of the weight window, ms.
    pub weight_window_ms: Option<u64>,
    pub ban_after_ignored: u32,
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
            event_ms: None,
            still_book_ms: None,
            burst_every_ms: 0,
            burst_frames: 0,
            start_paused: false,
            first_id: None,
            tls_dir: None,
            recordings: Vec::new(),
            history_changes: 200_000,
            ledger_trades: 200_000,
            ledger_events: 200_000,
            liquidation_delay_ms: 3_600_000,
            past_per_minute: 4,
            backlog: false,
            backlog_limit: 1000,
            backlog_overlap: 50,
            queue_capacity: 16_384,
            ping_ms: None,
            pong_within_ms: None,
            age_max_ms: None,
            shutdown_notice_ms: None,
            messages_per_second: None,
            heartbeat_ms: None,
            idle_ms: None,
            requests_max: None,
            connects_max: None,
            weight_max: None,
            weight_window_ms: None,
            ban_after_ignored: 10,
            ban_ms: 120_000,
        }
    }
}

impl SimConfig {
    pub const KEPT_TOTAL: usize = 4_000_000;

    pub fn options_for(&self, own: Limits) -> Options {
        Options {
            limits: self.limits(own),
            heartbeat_every: self.heartbeat_ms.map(Duration::from_millis),
            backlog: self
                .backlog
                .then_some(Backlog { limit: self.backlog_limit, overlap: self.backlog_overlap }),
            confirm_every: Duration::from_millis(500),
            notice_before: self.shutdown_notice_ms.map(Duration::from_millis),
            write_within: Duration::from_secs(30),
            queue_capacity: self.queue_capacity,
            liquidation_delay_ms: self.liquidation_delay_ms,
            past_per_minute: self.past_per_minute,
        }
    }

    fn limits(&self, own: Limits) -> Limits {
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
            bans: own.bans,
        }
    }
}
