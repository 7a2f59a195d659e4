//! The whole configuration of an edge.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use marketprism_adapter_host::Limits;
use marketprism_config::{ConfigError, Document, Nats, Section};
use marketprism_schema::{DataType, WireForm};

use super::adapter::Adapters;
use super::feed::FeedConfig;
use crate::limits;

const NAME_LENGTH_MAX: usize = 32;

/// A validated configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// Name of this edge, `[a-z0-9-]{1,32}`; stands in every event.
    pub name: String,
    /// Region of this edge; stands in every event.
    pub region: String,
    /// Folder of the compile cache and the quarantined frames.
    pub data_dir: PathBuf,
    /// Where the broker is.
    pub nats: Nats,
    /// Bounds of publishing.
    pub publisher: PublisherLimits,
    /// Where the edge tells about itself.
    pub http: Http,
    /// Bounds of the adapters.
    pub sandbox: Sandbox,
    /// How each data type is encoded, in the order of [`DataType::ALL`].
    pub wire: [WireForm; 8],
    /// How what is stored is reported.
    pub audit: Audits,
    /// What is collected.
    pub feeds: Vec<FeedConfig>,
}

/// How what is stored is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Audits {
    /// Whether it is.
    pub enabled: bool,
    /// Length of a window: 1 to 60, a divisor of 60.
    pub window_seconds: u16,
    /// Least time from a window's end to its audit.
    pub settle: Duration,
}

/// Bounds of publishing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublisherLimits {
    /// Most messages without an acknowledgement.
    pub in_flight_messages: usize,
    /// Most bytes without an acknowledgement.
    pub in_flight_bytes: usize,
    /// Longest wait for an acknowledgement before the message is published again.
    pub ack_timeout: Duration,
    /// Most records in the queue, those in flight among them.
    pub queue_messages: usize,
    /// Most bytes in the queue.
    pub queue_bytes: usize,
}

/// Where the edge tells about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Http {
    /// `/health /ready /metrics /coverage /adapters`.
    pub listen: SocketAddr,
    /// `/metrics` alone, for a scraper.
    pub metrics_listen: SocketAddr,
}

/// Bounds of one adapter instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sandbox {
    /// Longest `normalize` call.
    pub call_deadline: Duration,
    /// Most memory.
    pub memory_bytes: usize,
    /// Most frames kept for looking at after a fault.
    pub quarantine_files: usize,
}

impl Sandbox {
    /// The host's limits with these bounds.
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits { call_deadline: self.call_deadline, memory_bytes: self.memory_bytes, ..Limits::default() }
    }
}

impl Config {
    /// Reads and validates a configuration: all that a start does before it touches the network. Adapter files are compiled and asked
    /// who they are; `adapters` keeps them for the start.
    pub fn load(path: &Path, adapters: &mut Adapters) -> Result<Self, ConfigError> {
        Self::read(Document::load(path)?, adapters)
    }

    /// Validates a document, with every problem in one error.
    pub fn read(document: Document, adapters: &mut Adapters) -> Result<Self, ConfigError> {
        let config = {
            let root = document.root();
            let edge = root.section("edge");
            let sandbox = read_sandbox(&root.section("sandbox"));
            let data_dir = edge.text("data_dir").unwrap_or_else(|| ".marketprism/edge".to_owned());
            let data_dir = PathBuf::from(data_dir);
            Self {
                name: name(&edge, "name"),
                region: name(&edge, "region"),
                nats: Nats::read(&root.section("nats")),
                publisher: read_publisher(&root.section("publisher")),
                http: read_http(&root.section("http")),
                sandbox,
                wire: read_wire(&root.section("wire")),
                audit: read_audit(&root.section("audit")),
                feeds: FeedConfig::read_all(&root, adapters, &data_dir),
                data_dir,
            }
        };
        document.finish()?;
        Ok(config)
    }
}

/// Names stand in subjects, logs and labels: a small alphabet keeps them legal everywhere.
fn name(section: &Section<'_>, key: &str) -> String {
    let text = section.required_text(key);
    let legal = text.len() <= NAME_LENGTH_MAX
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if !legal {
        section.report(key, format!("is {text:?}"), "1 to 32 of a-z, 0-9 and -");
    }
    text
}

fn read_publisher(section: &Section<'_>) -> PublisherLimits {
    let size =
        |key, default, range| usize::try_from(section.integer_or(key, default, range)).unwrap_or(usize::MAX);
    let limits = PublisherLimits {
        in_flight_messages: size("max_in_flight_messages", limits::IN_FLIGHT_MESSAGES_MAX, 1..=65_536),
        in_flight_bytes: size("max_in_flight_bytes", limits::IN_FLIGHT_BYTES_MAX, 65_536..=1 << 30),
        ack_timeout: section.millis_or("ack_timeout_ms", limits::ACK_TIMEOUT_MS, 100..=120_000),
        queue_messages: size("queue_max_messages", limits::QUEUE_MESSAGES_MAX, 1_000..=10_000_000),
        queue_bytes: size("queue_max_bytes", limits::QUEUE_BYTES_MAX, 1 << 20..=16 << 30),
    };
    if limits.queue_messages < limits.in_flight_messages {
        let at_least = format!("at least max_in_flight_messages ({})", limits.in_flight_messages);
        section.report("queue_max_messages", format!("is {}", limits.queue_messages), at_least);
    }
    if limits.queue_bytes < limits.in_flight_bytes {
        let at_least = format!("at least max_in_flight_bytes ({})", limits.in_flight_bytes);
        section.report("queue_max_bytes", format!("is {}", limits.queue_bytes), at_least);
    }
    limits
}

fn read_wire(section: &Section<'_>) -> [WireForm; 8] {
    let form = |position: usize| {
        let kind = DataType::ALL.get(position)?;
        section.parsed::<WireForm>(kind.as_str(), "json or protobuf")
    };
    std::array::from_fn(|position| form(position).unwrap_or_default())
}

fn read_audit(section: &Section<'_>) -> Audits {
    let seconds = section.integer_or("window_seconds", 60, 1..=60);
    if 60 % seconds != 0 {
        section.report("window_seconds", format!("is {seconds}"), "a divisor of 60");
    }
    Audits {
        enabled: section.boolean_or("enabled", true),
        window_seconds: u16::try_from(seconds).unwrap_or(60),
        settle: section.millis_or("settle_ms", limits::AUDIT_SETTLE_MS, 100..=60_000),
    }
}

fn read_http(section: &Section<'_>) -> Http {
    let address =
        |key, default| section.parsed(key, "an address and port such as 127.0.0.1:8087").unwrap_or(default);
    let listen = address("listen", SocketAddr::from(([127, 0, 0, 1], 8087)));
    let metrics_listen = address("metrics_listen", SocketAddr::from(([127, 0, 0, 1], 9093)));
    if listen == metrics_listen && listen.port() != 0 {
        section.report("metrics_listen", format!("is {metrics_listen}"), "another address than http.listen");
    }
    Http { listen, metrics_listen }
}

fn read_sandbox(section: &Section<'_>) -> Sandbox {
    let size =
        |key, default, range| usize::try_from(section.integer_or(key, default, range)).unwrap_or(usize::MAX);
    Sandbox {
        call_deadline: section.millis_or("call_deadline_ms", 100, 10..=60_000),
        memory_bytes: size("memory_limit_bytes", 64 << 20, 1 << 20..=4 << 30),
        quarantine_files: size("quarantine_max_files", 1_000, 1..=1_000_000),
    }
}
