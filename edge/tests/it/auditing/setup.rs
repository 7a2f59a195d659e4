//! Queue, publisher and audits of an edge without feeds, and the contents of the broker's streams.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use marketprism_edge::audit::{
    AuditFeed, AuditOrigin, AuditStream, Auditor, JournaledRun, Resumption, RunJournal,
};
use marketprism_edge::publisher::{AuditSender, DrainResult};
use marketprism_edge::queue::{EventQueue, EventRecord, QueueLane};
use marketprism_edge::telemetry::Coverage;
use marketprism_schema::{
    Audit, AuditPayload, Capability, Completeness, DataType, DataTypeMap, Downtime, EventId, Fingerprint,
    MarketType, Numbering, SilentStreams, StreamId, decode_audit_payload,
};
use marketprism_service::clock;
use marketprism_tests::broker::Broker;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::broker::{Publishing, STREAM, create_stream, event_id, limits, messages, publish, record};

/// Longer than anything here takes to be acknowledged.
const DRAIN: Duration = Duration::from_secs(60);

/// Nanoseconds of a second, the length of a window here.
pub const SECOND: i64 = 1_000_000_000;

pub const SYMBOLS: [&str; 2] = ["A-B", "C-D"];

pub fn trades(symbol: &str) -> StreamId {
    StreamId::new(DataType::Trade, "sim_spot", MarketType::Spot, symbol).unwrap()
}

pub const NUMBERED: Capability =
    Capability { numbering: Numbering::ByOne, completeness: Completeness::Complete, delay_seconds: 0 };

pub fn silent(symbol: &str) -> [SilentStreams; 1] {
    [SilentStreams { capability: NUMBERED, streams: vec![trades(symbol)] }]
}

/// An auditor with windows of a second, and the trades of [`SYMBOLS`].
pub struct Audited {
    pub auditor: Arc<Auditor>,
    pub feed: AuditFeed,
    pub streams: Vec<AuditStream>,
}

pub fn audited(run_ns: i64) -> Audited {
    audited_symbols(run_ns, &SYMBOLS.map(str::to_owned))
}

pub fn origin(run_ns: i64) -> AuditOrigin {
    let settle = Duration::from_millis(100);
    AuditOrigin { edge: "e1".into(), region: "r".into(), run_ns, window_seconds: 1, settle }
}

pub fn audited_symbols(run_ns: i64, symbols: &[String]) -> Audited {
    audited_after(&Resumption::default(), run_ns, symbols)
}

/// Streams of the run before whose symbols begin with `GONE` are still configured.
pub fn audited_after(resumption: &Resumption, run_ns: i64, symbols: &[String]) -> Audited {
    let auditor = Arc::new(Auditor::new(origin(run_ns)));
    auditor.resume(resumption, |stream| stream.symbol.starts_with("GONE"));
    let feed = auditor.feed("sim_spot");
    let row = |symbol: &String| {
        DataTypeMap::from_fn(|kind| (kind == DataType::Trade).then(|| (trades(symbol), NUMBERED)))
    };
    let rows: Vec<_> = symbols.iter().map(row).collect();
    let table = auditor.subscribe(feed, &rows, run_ns);
    Audited { auditor, feed, streams: table.iter().filter_map(|row| row[DataType::Trade]).collect() }
}

impl Audited {
    /// A trade with an id spread as a hash spreads it.
    pub fn record(&self, symbol: usize, id: u64, received_at_ns: i64, coverage: &Coverage) -> EventRecord {
        let event_id = u128::from(id).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        let stream = Some(self.streams[symbol]);
        let record = record(SYMBOLS[symbol % 2], event_id, stream, received_at_ns, coverage);
        EventRecord { sequence: i64::try_from(id).ok(), ..record }
    }
}

pub struct Running {
    pub audited: Audited,
    pub publishing: Publishing,
    audits_stop: CancellationToken,
    audits: tokio::task::JoinHandle<u64>,
}

pub async fn run(url: &str, queue_messages: usize) -> Running {
    start(url, queue_messages, audited(clock::now_ns()), None, DRAIN).await
}

/// With a short time for the last acknowledgements.
pub async fn run_draining(url: &str, drain: Duration) -> Running {
    start(url, 100_000, audited(clock::now_ns()), None, drain).await
}

/// A run after the one that `journal` knows.
pub async fn run_journaled(url: &str, journal: &RunJournal) -> Running {
    let run_ns = clock::now_ns();
    let resumption = Resumption::new(journal.read().unwrap(), &origin(run_ns), |_| true).unwrap();
    let audited = audited_after(&resumption, run_ns, &SYMBOLS.map(str::to_owned));
    let Resumption { unsent, lasting, killed, .. } = resumption;
    let run = JournaledRun { run_ns, stop: None, unsent, lasting, killed };
    journal.write(&run).unwrap();
    start(url, 100_000, audited, Some((journal, run)), DRAIN).await
}

async fn start(
    url: &str,
    queue_messages: usize,
    audited: Audited,
    journaled: Option<(&RunJournal, JournaledRun)>,
    drain: Duration,
) -> Running {
    let mut limits = limits();
    limits.queue_messages = queue_messages;
    let publishing = publish(url, limits, Arc::clone(&audited.auditor), drain).await;
    let mut sender = AuditSender::new(
        publishing.client.clone(),
        Arc::clone(&publishing.link),
        Arc::clone(&publishing.queue) as Arc<dyn EventQueue>,
        Arc::clone(&publishing.auditor),
        publishing.metrics.clone(),
        "e1",
    );
    if let Some((journal, run)) = journaled {
        sender = sender.with_runs(journal.clone(), run);
    }
    let audits_stop = CancellationToken::new();
    Running { audited, publishing, audits: tokio::spawn(sender.run(audits_stop.clone())), audits_stop }
}

impl Running {
    /// Appends trades of both streams, received now, and reports everything before as processed.
    pub fn append(&self, ids: std::ops::Range<u64>) {
        let coverage = &self.publishing.coverage;
        let record = |id: u64| self.audited.record((id % 2) as usize, id, clock::now_ns(), coverage);
        self.publishing.queue.append(QueueLane::default(), &mut ids.map(record).collect());
        self.audited.auditor.observe(self.audited.feed, Vec::new(), Some(clock::now_ns()));
    }

    /// Records in the queue and in flight.
    pub fn pending(&self) -> u64 {
        self.publishing.queue.status().messages
    }

    /// Stops everything. Returns the undelivered records, and the number of lost audits and windows.
    pub async fn end(self) -> (DrainResult, u64) {
        self.audited.auditor.observe(self.audited.feed, Vec::new(), Some(i64::MAX));
        self.publishing.stop.cancel();
        let drained = self.publishing.task.await.unwrap().unwrap();
        assert_eq!(self.publishing.queue.abandon().lost, drained.undelivered);
        self.audits_stop.cancel();
        (drained, self.audits.await.unwrap())
    }
}

/// A broker with the streams of events and audits, and its folder.
pub async fn broker_with_streams() -> (TempDir, Broker) {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(folder.path()).await;
    create_streams(&broker.url()).await;
    (folder, broker)
}

pub async fn create_streams(url: &str) {
    create_stream(url, STREAM, "trade.>").await;
    create_stream(url, "AUDIT", "audit.>").await;
}

/// Stored event ids, by symbol and window of receive time.
async fn stored(url: &str) -> BTreeMap<(String, i64), BTreeSet<EventId>> {
    let mut all: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for message in messages(url, STREAM).await {
        let body: serde_json::Value = serde_json::from_slice(&message.payload).unwrap();
        let symbol = message.subject.rsplit('.').next().unwrap().to_owned();
        let at_ns = body["received_at"].as_i64().unwrap();
        let ids = all.entry((symbol, at_ns / SECOND * SECOND)).or_default();
        assert!(ids.insert(event_id(&message)), "twice in the stream");
    }
    all
}

/// Audits and downtimes, in the order in which they were stored.
pub async fn audit_payloads(url: &str) -> (Vec<Audit>, Vec<Downtime>) {
    let (mut audits, mut downtimes) = (Vec::new(), Vec::new());
    for message in messages(url, "AUDIT").await {
        match decode_audit_payload(&message.payload).unwrap() {
            AuditPayload::Audit(audit) => audits.push(audit),
            AuditPayload::Downtime(downtime) => downtimes.push(downtime),
            AuditPayload::Instruments(_) | AuditPayload::Changes(_) | AuditPayload::Correction(_) => {}
        }
    }
    (audits, downtimes)
}

pub async fn audits(url: &str) -> Vec<Audit> {
    audit_payloads(url).await.0
}

/// Recomputes every window from the stream. Returns the events that audits call stored, ambiguous and dropped.
pub async fn compare(url: &str) -> (u64, u64, u64) {
    let mut stored = stored(url).await;
    let audits = audits(url).await;
    let mut sums = (0, 0, 0);
    for pair in audits.windows(2) {
        assert_eq!(pair[0].to, pair[1].from, "no time between two windows");
    }
    for audit in &audits {
        for stream in &audit.streams {
            let symbol = stream.id.symbol.clone();
            let mut ids = stored.remove(&(symbol, audit.window_start)).unwrap_or_default();
            for id in &stream.unsure {
                assert!(ids.remove(id), "an ambiguous event is not in the stream");
            }
            let expected: Fingerprint = ids.into_iter().collect();
            assert_eq!(stream.stored, expected, "{} {}", stream.id, audit.window_start);
            assert!(!stream.unsure_truncated);
            sums.0 += stream.stored.count;
            sums.1 += stream.unsure.len() as u64;
            sums.2 += stream.dropped;
        }
    }
    assert!(stored.is_empty(), "windows with events and without an audit: {:?}", stored.keys());
    sums
}
