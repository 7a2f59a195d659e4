//! Every time limit and size limit of this crate that a caller may set.

use std::path::PathBuf;
use std::time::Duration;

/// How long to wait before trying again: a random time up to `base` doubled with each failure, never above
/// `cap`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackoffOptions {
    /// Upper end of the first wait.
    pub base: Duration,
    /// Upper end of every wait.
    pub cap: Duration,
    /// A connection that stood this long starts again at `base`.
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

/// Limits and manners of sockets and requests.
#[derive(Debug, Clone)]
pub struct SocketOptions {
    /// PEM files of certificate authorities trusted in addition to the public ones.
    pub ca_files: Vec<PathBuf>,
    /// Sent with every request and handshake.
    pub user_agent: String,
    /// Name resolution and TCP connect.
    pub connect_timeout: Duration,
    /// TLS handshake.
    pub tls_timeout: Duration,
    /// Websocket handshake.
    pub handshake_timeout: Duration,
    /// Writing one message.
    pub write_timeout: Duration,
    /// Waiting for the venue's part of a closing handshake; what arrives meanwhile is delivered.
    pub close_timeout: Duration,
    /// For requests whose plan gives none (0).
    pub request_timeout: Duration,
    /// How often one request is tried before it is given up.
    pub request_tries: u32,
    /// Longest wait for room in a budget before a try counts as failed.
    pub budget_wait_max: Duration,
    /// Longest answer, decompressed.
    pub body_max_bytes: usize,
    /// Longest websocket message.
    pub max_frame_bytes: usize,
    /// Waits between reconnects and between tries of a request.
    pub backoff: BackoffOptions,
    /// A replacement that stands this long takes over even when no data came on it (quiet streams).
    pub overlap: Duration,
    /// How long both generations go on after the new one received its first data: not all streams start at
    /// once.
    pub overlap_settle: Duration,
    /// Time between the first connects of a feed's connections.
    pub stagger: Duration,
    /// Longest wait for the first answers of reference polls before the connections are opened without them.
    pub reference_wait: Duration,
    /// Polls of one feed under way at once, and as many resyncs.
    pub requests_at_once: usize,
    /// Report every text sent as [`crate::Input::Sent`] and every URL asked as [`crate::Input::Asked`] (for
    /// recordings).
    pub report_sent: bool,
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self {
            ca_files: Vec::new(),
            user_agent: concat!("marketprism/", env!("CARGO_PKG_VERSION")).to_owned(),
            connect_timeout: Duration::from_secs(10),
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
            stagger: Duration::from_millis(100),
            reference_wait: Duration::from_secs(30),
            requests_at_once: 8,
            report_sent: false,
        }
    }
}
