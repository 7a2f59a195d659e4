//! The whole configuration of an edge: sections, rules between keys, validation as a whole.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::time::Duration;

use marketprism_config::{ConfigError, Document, Nats, Problems};
use marketprism_schema::{
    DataType, DataTypeMap, EDGE_NAME_ALLOWED, SELFTEST_EXCHANGE, StreamId, WireForm, is_edge_name,
    selftest_stream,
};
use marketprism_service::read_file;
use marketprism_traces::TraceSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::adapter::Adapters;
use super::clock::ClockSettings;
use super::feed::{FeedConfig, check_overlap, check_raw};
use super::http::Http;
use super::logging::Logging;
use super::mirror::MirrorSettings;
use super::network::Network;
use super::sandbox::Sandbox;
use super::selfcare::SelfCareLimits;
use super::selftest::SelfTestSettings;
use super::swap::SwapSettings;
use super::symbols::check_symbols;
use crate::limits;

/// Largest file of certificate authorities that is compared.
const CA_BYTES_MAX: u64 = 4 << 20;

/// A validated configuration.
#[derive(Debug, Clone)]
pub struct Config {
    pub name: String,
    pub region: String,
    pub data_dir: PathBuf,
    pub allow_multiple: bool,
    pub nats: Nats,
    pub publisher: PublisherLimits,
    pub mirror_to_core: MirrorSettings,
    pub journal: JournalSettings,
    pub http: Http,
    pub sandbox: Sandbox,
    pub wire: DataTypeMap<WireForm>,
    pub audit: Audits,
    pub log: Logging,
    pub traces: TraceSettings,
    /// The file is applied when it changes.
    pub watch_config: bool,
    pub selfcare: SelfCareLimits,
    pub clock: ClockSettings,
    pub selftest: SelfTestSettings,
    pub adapters: SwapSettings,
    pub feeds: Vec<FeedConfig>,
}

/// The file as it is written.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ConfigFile {
    edge: Identity,
    nats: Nats,
    publisher: PublisherLimits,
    mirror_to_core: MirrorSettings,
    journal: JournalSettings,
    #[schemars(schema_with = "wire_schema")]
    wire: DataTypeMap<WireForm>,
    audit: Audits,
    http: Http,
    selfcare: SelfCareLimits,
    clock: ClockSettings,
    selftest: SelfTestSettings,
    network: Network,
    sandbox: Sandbox,
    log: Logging,
    traces: TraceSettings,
    adapters: SwapSettings,
    #[schemars(extend("x-required" = true))]
    feed: Vec<FeedConfig>,
}

impl Default for ConfigFile {
    fn default() -> Self {
        Self {
            wire: WireForm::defaults(),
            edge: Identity::default(),
            nats: Nats::default(),
            publisher: PublisherLimits::default(),
            mirror_to_core: MirrorSettings::default(),
            journal: JournalSettings::default(),
            audit: Audits::default(),
            http: Http::default(),
            selfcare: SelfCareLimits::default(),
            clock: ClockSettings::default(),
            selftest: SelfTestSettings::default(),
            network: Network::default(),
            sandbox: Sandbox::default(),
            log: Logging::default(),
            traces: TraceSettings::default(),
            adapters: SwapSettings::default(),
            feed: Vec::new(),
        }
    }
}

fn wire_schema(_: &mut SchemaGenerator) -> Schema {
    let form = |kind: &DataType| {
        let schema = json_schema!({ "type": "string", "enum": ["json", "protobuf"], "description": WIRE });
        (kind.as_str().to_owned(), schema.to_value())
    };
    let properties: serde_json::Map<_, _> = DataType::ALL.iter().map(form).collect();
    json_schema!({ "type": "object", "properties": properties })
}

const WIRE: &str = "Encoding of events of this type: `json`, one event a message, or `protobuf` as in `schema/marketprism.proto`, one or more. \
                    JSON has the Content-Type `application/json`, `protobuf` no such header; consumers other than central may read JSON only.";

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Identity {
    /// Name of this edge, stamped on every event: 1 to 32 of a-z, 0-9, -.
    #[schemars(extend("x-required" = true, "x-allowed" = EDGE_NAME_ALLOWED))]
    name: String,
    /// Region of this edge, stamped on every event.
    #[schemars(extend("x-required" = true, "x-allowed" = EDGE_NAME_ALLOWED))]
    region: String,
    /// Compiled adapters, quarantined and raw frames, the journal, and the state of the last run.
    data_dir: PathBuf,
    /// Apply this file when its content changes, as SIGHUP and `POST /reload` do.
    watch_config: bool,
    /// Start although another edge of this name runs, here or on another host. Each needs a `data_dir` or `journal.dir` of its own, and
    /// nothing distinguishes their audits. The variable `ALLOW_MULTIPLE` (1 or 0) wins.
    allow_multiple: bool,
}

impl Default for Identity {
    fn default() -> Self {
        Self {
            name: String::new(),
            region: String::new(),
            data_dir: ".marketprism/edge".into(),
            watch_config: true,
            allow_multiple: false,
        }
    }
}

/// Audits of what the broker stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Audits {
    /// Report what the broker stored, per window and stream, to `audit.<edge.name>`; without it central can verify nothing of this
    /// edge.
    pub enabled: bool,
    /// Length of a window; a divisor of 60.
    #[schemars(range(min = 1, max = 60))]
    pub window_seconds: u16,
    /// Least time from a window's end to its audit.
    #[serde(rename = "settle_ms", with = "marketprism_config::millis")]
    #[schemars(with = "u64", range(min = 100, max = 60_000))]
    pub settle: Duration,
}

impl Default for Audits {
    fn default() -> Self {
        Self { enabled: true, window_seconds: 60, settle: limits::AUDIT_SETTLE }
    }
}

/// Bounds of publishing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PublisherLimits {
    /// Messages whose acknowledgements are awaited at once.
    #[serde(rename = "max_in_flight_messages")]
    #[schemars(range(min = 1, max = 65_536))]
    pub in_flight_messages: usize,
    /// Bytes whose acknowledgements are awaited at once.
    #[serde(rename = "max_in_flight_bytes")]
    #[schemars(range(min = 65_536, max = 1_073_741_824))]
    pub in_flight_bytes: usize,
    /// Longest wait of a packed event for others of its subject, which then go in one message; 0: only what is ready together goes
    /// together. JSON events wait for nothing.
    #[serde(rename = "linger_ms", with = "marketprism_config::millis")]
    #[schemars(with = "u64", range(min = 0, max = 1_000))]
    pub linger: Duration,
    /// Events in one message; 1: each goes alone. Central takes at most 10,000.
    #[serde(rename = "batch_max_events")]
    #[schemars(range(min = 1, max = 10_000))]
    pub batch_events: usize,
    /// Wait for an acknowledgement, after which a message is published again under its id, unless those of earlier messages still
    /// come.
    #[serde(rename = "ack_timeout_ms", with = "marketprism_config::millis")]
    #[schemars(with = "u64", range(min = 100, max = 120_000))]
    pub ack_timeout: Duration,
    /// Events in memory during an outage of the broker, those in flight included. Past half of it books are conflated, past all of it the
    /// oldest events are on disk only; without the journal they are lost and counted.
    #[serde(rename = "queue_max_messages")]
    #[schemars(range(min = 1_000, max = 10_000_000))]
    pub queue_messages: usize,
    /// Bytes of the queue; as `queue_max_messages`.
    #[serde(rename = "queue_max_bytes")]
    #[schemars(range(min = 1_048_576, max = 17_179_869_184_u64))]
    pub queue_bytes: usize,
}

impl Default for PublisherLimits {
    fn default() -> Self {
        Self {
            in_flight_messages: limits::IN_FLIGHT_MESSAGES_MAX,
            in_flight_bytes: limits::IN_FLIGHT_BYTES_MAX,
            linger: limits::LINGER,
            batch_events: limits::MESSAGE_EVENTS_MAX,
            ack_timeout: limits::ACK_TIMEOUT,
            queue_messages: limits::QUEUE_MESSAGES_MAX,
            queue_bytes: limits::QUEUE_BYTES_MAX,
        }
    }
}

/// Events on disk until they are in hot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JournalSettings {
    /// Keep every event on disk until central has confirmed that it is in hot. What a killed edge or a lost broker leaves is sent again.
    pub enabled: bool,
    /// Folder of the journal; in it is a folder per edge name. None given: `journal` in `edge.data_dir`.
    pub dir: Option<PathBuf>,
    /// Bytes on disk. Full: what is in hot goes first; past half of it, with events that wait for the broker, books are not written; then
    /// the oldest waiting events are lost and counted.
    #[schemars(range(min = 16_777_216, max = 1_099_511_627_776_u64))]
    pub max_bytes: u64,
    /// Oldest event on disk; older ones that still wait are lost and counted. At most 47 h: central refuses events received more than 48 h
    /// ago.
    #[serde(rename = "max_age_seconds", with = "marketprism_config::seconds")]
    #[schemars(with = "u64", range(min = 60, max = limits::JOURNAL_AGE_BOUND.as_secs()))]
    pub max_age: Duration,
    /// Time for which events that are in hot are kept for repair, while there is room. At most 47 h, as `max_age_seconds`.
    #[serde(rename = "keep_confirmed_seconds", with = "marketprism_config::seconds")]
    #[schemars(with = "u64", range(min = 0, max = limits::JOURNAL_AGE_BOUND.as_secs()))]
    pub keep_confirmed: Duration,
    /// Time between syncs: a power cut loses what came in it and during the sync. 0: after each group of writes. A kill loses nothing
    /// that was written.
    #[serde(rename = "sync_interval_ms", with = "marketprism_config::millis")]
    #[schemars(with = "u64", range(min = 0, max = 60_000))]
    pub sync_interval: Duration,
}

impl Default for JournalSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            dir: None,
            max_bytes: limits::JOURNAL_BYTES_MAX,
            max_age: limits::JOURNAL_AGE_MAX,
            keep_confirmed: limits::JOURNAL_KEEP_CONFIRMED,
            sync_interval: limits::JOURNAL_SYNC_EVERY,
        }
    }
}

/// The listeners of a running edge, from its configuration; nothing else of it is validated.
pub fn read_http(document: &Document) -> Result<Http, ConfigError> {
    let (file, mut problems) = document.read::<ConfigFile>();
    let mut http = file.http;
    http.take_predecessors(&mut problems);
    problems.finish()?;
    Ok(http)
}

impl Config {
    /// The synthetic stream, if it is on.
    pub fn selftest_stream(&self) -> Option<StreamId> {
        self.selftest.enabled.then(|| selftest_stream(&self.name, self.selftest.rate))
    }

    /// True if the configuration has the exchange of a stream.
    pub fn has_exchange(&self, stream: &StreamId) -> bool {
        let is_selftest = self.selftest.enabled && stream.exchange == SELFTEST_EXCHANGE;
        is_selftest || self.feeds.iter().any(|feed| feed.exchange == stream.exchange)
    }

    /// True if the configuration collects the stream, provided that the venue lists its instrument.
    pub fn selects(&self, stream: &StreamId) -> bool {
        let is_selftest = self.selftest_stream().is_some_and(|selftest| selftest == *stream);
        is_selftest || self.feeds.iter().any(|feed| feed.selects(stream))
    }

    /// The files of certificates, by key.
    pub fn certificates(&self) -> Vec<(String, Option<PathBuf>)> {
        let of_nats = self.nats.certificates().into_iter().map(|(key, path)| (key.to_owned(), path));
        let of_http = [
            ("http.tls_cert_file".to_owned(), self.http.tls_cert_file.as_deref()),
            ("traces.ca_file".to_owned(), self.traces.ca_file.as_deref()),
        ];
        let feeds = self.feeds.iter().enumerate();
        let of_feeds = feeds.map(|(index, feed)| (format!("feed[{index}].ca_file"), feed.ca_file.as_deref()));
        let files = of_nats.chain(of_http).chain(of_feeds);
        files.map(|(key, path)| (key, path.map(Path::to_owned))).collect()
    }

    /// Folder of this edge's journal.
    pub fn journal_dir(&self) -> PathBuf {
        let folder = self.journal.dir.clone().unwrap_or_else(|| self.data_dir.join("journal"));
        folder.join(&self.name)
    }

    /// Reads and validates a configuration: all that a start does before it touches the network. Adapter files are compiled and asked
    /// for their description; `adapters` keeps them for the start.
    pub fn load(path: &Path, adapters: &mut Adapters) -> Result<Self, ConfigError> {
        Self::read(&Document::load(path)?, adapters)
    }

    /// Validates a document, with every problem in one error.
    pub fn read(document: &Document, adapters: &mut Adapters) -> Result<Self, ConfigError> {
        let (file, mut problems) = document.read::<ConfigFile>();
        let ConfigFile {
            mut edge,
            mut nats,
            publisher,
            mirror_to_core,
            journal,
            wire,
            audit,
            mut http,
            mut selfcare,
            clock,
            selftest,
            network,
            sandbox,
            log,
            traces,
            adapters: swaps,
            feed: mut feeds,
        } = file;
        if let Some(given) = problems.predecessor_flag("ALLOW_MULTIPLE", "edge.allow_multiple") {
            edge.allow_multiple = given;
        }
        http.take_predecessors(&mut problems);
        selfcare.take_predecessors(&mut problems);
        check_name("edge.name", &edge.name, &mut problems);
        check_name("edge.region", &edge.region, &mut problems);
        check_sections(publisher, audit, &mut problems);
        http.check(&mut problems);
        log.check(&mut problems);
        for (index, feed) in feeds.iter().enumerate() {
            let at = format!("feed[{index}]");
            check_symbols(&at, feed, &mut problems);
            check_exchange(&at, feed, &mut problems);
            let earlier = feeds.get(..index).unwrap_or_default();
            check_overlap(&at, feed, earlier, &mut problems);
            check_raw(&at, feed, earlier, &mut problems);
            if !feed.adapter.as_os_str().is_empty() {
                adapters.verify(&at, feed, &edge.data_dir, &mut problems);
            }
        }
        swaps.check(&mut problems);
        selftest.check(&mut problems);
        mirror_to_core.check(&mut problems);
        traces.check(&mut problems);
        let variables = OnceCell::new();
        for (index, feed) in feeds.iter_mut().enumerate() {
            let at = format!("feed[{index}]");
            feed.egress = feed.network.egress(&at, &network, &variables, &mut problems);
            (feed.sandbox, feed.wire) = (sandbox.of_feeds(), wire);
            feed.ca_digest = feed.ca_file.as_deref().and_then(digest);
        }
        nats.check(&mut problems);
        problems.finish()?;
        let Identity { name, region, data_dir, watch_config, allow_multiple } = edge;
        let adapters = swaps;
        Ok(Self {
            name,
            region,
            data_dir,
            allow_multiple,
            nats,
            publisher,
            mirror_to_core,
            journal,
            http,
            sandbox,
            wire,
            audit,
            log,
            traces,
            watch_config,
            selfcare,
            clock,
            selftest,
            adapters,
            feeds,
        })
    }
}

/// The exchange of the synthetic stream is no venue's.
fn check_exchange(at: &str, feed: &FeedConfig, problems: &mut Problems<'_>) {
    let (is_free, at) = (feed.exchange != SELFTEST_EXCHANGE, format!("{at}.exchange"));
    problems.demand(
        is_free,
        &at,
        format!("is {SELFTEST_EXCHANGE:?}"),
        "the exchange id of a venue; see `selftest.enabled`",
    );
}

/// Of a file's content: another one under the same name is a change too. What cannot be read is reported where it is used.
fn digest(path: &Path) -> Option<u64> {
    Some(xxh3_64(&read_file(path, CA_BYTES_MAX).ok()?))
}

fn check_name(path: &str, name: &str, problems: &mut Problems<'_>) {
    // A missing name is reported as such.
    let legal = name.is_empty() || is_edge_name(name);
    problems.demand(legal, path, format!("is {name:?}"), EDGE_NAME_ALLOWED);
}

fn check_sections(publisher: PublisherLimits, audit: Audits, problems: &mut Problems<'_>) {
    let PublisherLimits { in_flight_messages, in_flight_bytes, queue_messages, queue_bytes, .. } = publisher;
    let queue = "publisher.queue_max_messages";
    let at_least = format!("at least max_in_flight_messages ({in_flight_messages})");
    problems.demand(queue_messages >= in_flight_messages, queue, format!("is {queue_messages}"), at_least);
    let queue = "publisher.queue_max_bytes";
    let at_least = format!("at least max_in_flight_bytes ({in_flight_bytes})");
    problems.demand(queue_bytes >= in_flight_bytes, queue, format!("is {queue_bytes}"), at_least);
    let seconds = audit.window_seconds;
    problems.demand(
        60 % seconds.max(1) == 0,
        "audit.window_seconds",
        format!("is {seconds}"),
        "a divisor of 60",
    );
}
