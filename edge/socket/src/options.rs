//! Timeouts and size limits that a caller may set.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use marketprism_service::Backoff;

use crate::clock_options::ClockOptions;
use crate::proxy::ProxyRules;

/// Waits are random up to `base`, doubled with each failure up to `cap`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackoffOptions {
    pub base: Duration,
    pub cap: Duration,
    /// A connection open for this long starts again at `base`.
    pub healthy_after: Duration,
}

impl Default for BackoffOptions {
    fn default() -> Self {
        Self {
            base: Duration::from_millis(250),
            cap: Duration::from_secs(60),
            healthy_after: Duration::from_secs(60),
        }
    }
}

impl BackoffOptions {
    pub(crate) const fn start(self) -> Backoff {
        Backoff::with_full_jitter(self.base, self.cap)
    }
}

#[derive(Debug, Clone)]
pub struct SocketOptions {
    /// PEM files of certificate authorities, trusted besides the public ones.
    pub ca_files: Vec<PathBuf>,
    pub user_agent: String,
    /// Of sockets and requests alike.
    pub proxy: ProxyRules,
    /// Connections start from this address.
    pub local_address: Option<IpAddr>,
    /// For a name and all of its addresses together.
    pub connect_timeout: Duration,
    /// Wait for a proxy's answer.
    pub proxy_timeout: Duration,
    pub tls_timeout: Duration,
    pub handshake_timeout: Duration,
    pub write_timeout: Duration,
    /// Wait for the venue's close frame; messages until then are delivered.
    pub close_timeout: Duration,
    /// For requests whose plan gives 0.
    pub request_timeout: Duration,
    pub request_tries: u32,
    /// Longest wait for a budget before a try fails.
    pub budget_wait_max: Duration,
    /// Decompressed.
    pub body_max_bytes: usize,
    pub max_frame_bytes: usize,
    pub backoff: BackoffOptions,
    /// A replacement without data takes over after this time. While the connection before brings events, it is given up for another one.
    pub overlap: Duration,
    /// Both generations run on after the first data of the new one, since not all streams start at once.
    pub overlap_settle: Duration,
    /// A connection without an expected silence of its streams is replaced after this time without an event; if that brings none,
    /// less and less often.
    pub event_timeout: Duration,
    /// A stream without an expected silence is subscribed again after this time without an event since its connection was subscribed, then less
    /// and less often.
    pub unanswered_after: Duration,
    /// Time between the first connects of a feed.
    pub stagger: Duration,
    /// Longest wait for the first answers of reference polls.
    pub reference_wait: Duration,
    /// Concurrent polls per feed, and as many resyncs.
    pub requests_at_once: usize,
    /// Measure the venue's clock, where the plan has one.
    pub clock: Option<ClockOptions>,
    /// Report sent texts and requested URLs, for recordings.
    pub report_sent: bool,
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self {
            ca_files: Vec::new(),
            user_agent: concat!("marketprism/", env!("CARGO_PKG_VERSION")).to_owned(),
            proxy: ProxyRules::None,
            local_address: None,
            connect_timeout: Duration::from_secs(10),
            proxy_timeout: Duration::from_secs(10),
            tls_timeout: Duration::from_secs(10),
            handshake_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(10),
            close_timeout: Duration::from_secs(2),
            request_timeout: Duration::from_secs(10),
            request_tries: 4,
            budget_wait_max: Duration::from_secs(150),
            body_max_bytes: 64 << 20,
            max_frame_bytes: 16 << 20,
            backoff: BackoffOptions::default(),
            overlap: Duration::from_secs(30),
            overlap_settle: Duration::from_secs(5),
            event_timeout: Duration::from_secs(300),
            unanswered_after: Duration::from_secs(3600),
            stagger: Duration::from_millis(100),
            reference_wait: Duration::from_secs(30),
            requests_at_once: 8,
            clock: None,
            report_sent: false,
        }
    }
}
