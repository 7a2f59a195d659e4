//! Progress of a stream while this central owns a partition of it: delivered sequences and gap-scan results.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use anyhow::anyhow;
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;

use super::delivery_watch::DeliveryWatch;
use super::gap_scan::{GapScan, GapScanResult, ScanVerdict, scan};
use super::losses::{self, LossCause};
use super::progress::DeliveryProgress;
use super::scan_pace::{ScanNeed, ScanPace};
use super::subscription::Subscription;
use crate::config::Partition;
use crate::context::CentralContext;
use crate::limits;
use crate::seq_range::SeqRange;
use crate::watermark::{WatermarkEntry, Watermarks};

pub struct StreamProgress {
    shared: Arc<CentralContext>,
    partition: Partition,
    consumers_created_ns: Vec<i128>,
    owned: Option<OwnedStream>,
    scans: JoinSet<anyhow::Result<ScanVerdict>>,
    deliveries: Arc<Mutex<DeliveryWatch>>,
    pace: ScanPace,
}

struct OwnedStream {
    progress: DeliveryProgress,
    /// Creation times of the consumers of all partitions at the last scan.
    all_created_ns: Vec<i128>,
    watermarks: Watermarks,
    written: WatermarkEntry,
    newest: u64,
    /// Hot has run since then.
    hot_seen: Instant,
}

impl StreamProgress {
    pub fn new(shared: Arc<CentralContext>, partition: Partition) -> Self {
        Self {
            shared,
            partition,
            consumers_created_ns: Vec::new(),
            owned: None,
            scans: JoinSet::new(),
            deliveries: Arc::default(),
            pace: ScanPace::new(),
        }
    }

    /// The stream was recreated since the last subscription.
    pub fn is_other_stream(&self, found: &Subscription) -> bool {
        let owned = self.owned.as_ref();
        owned.is_some_and(|owned| owned.progress.stream_created_ns != found.stream_created_ns)
    }

    /// Creation of the stream of the last subscription, nanoseconds since 1970.
    pub fn stream_created_ns(&self) -> i64 {
        self.owned.as_ref().map_or(0, |owned| owned.progress.stream_created_ns)
    }

    /// A consumer was recreated since the last subscription, or this is the first one.
    pub fn is_other_consumer(&self, found: &Subscription) -> bool {
        self.consumers_created_ns != found.consumers_created_ns
    }

    /// Starts with a subscription, from what broker and bucket say: a broker that was put back to an earlier state has consumers that acknowledged
    /// messages which hot lost since, and gives sequences again.
    pub async fn begin(&mut self, found: &Subscription) -> anyhow::Result<()> {
        // Aborts a running scan and drops the result of a finished one.
        self.scans = JoinSet::new();
        let watermarks = Watermarks::open(&self.shared.broker, self.shared.config.replicas()).await?;
        let written = watermarks.read(self.partition.stream).await?;
        let created_ns = found.stream_created_ns;
        let confirmed = written.sequence_of(created_ns);
        // The owner of the first partition looks up what is inherited.
        let acknowledged = if self.partition.is_first() { found.acknowledged } else { confirmed };
        let mut progress = DeliveryProgress::new(created_ns, confirmed, acknowledged, limits::GAPS);
        let (mut newest, mut hot_seen) = (0, Instant::now());
        if let Some(before) = self.owned.take_if(|owned| owned.progress.stream_created_ns == created_ns) {
            progress.resume(&before.progress, found.last);
            (newest, hot_seen) = (before.newest, before.hot_seen);
        }
        self.owned =
            Some(OwnedStream { progress, all_created_ns: Vec::new(), watermarks, written, newest, hot_seen });
        self.consumers_created_ns.clone_from(&found.consumers_created_ns);
        self.pace.forget();
        Ok(())
    }

    pub fn take(&mut self, sequence: u64) {
        if let Some(owned) = &mut self.owned {
            owned.progress.take(sequence);
        }
    }

    /// Starts a scan if one is due and none is running.
    pub fn start_scan(&mut self, lowest_open: Option<u64>) {
        if !self.scans.is_empty() {
            return;
        }
        let Some(start) = self.start(lowest_open) else { return };
        let progress = &start.progress;
        let need = if progress.inherited.is_some() || !progress.gaps.is_empty() {
            ScanNeed::Gaps
        } else if progress.confirmed < self.taken() {
            ScanNeed::Unconfirmed
        } else {
            ScanNeed::None
        };
        if self.pace.is_due(Instant::now(), need) {
            self.scans.spawn(scan(Arc::clone(&self.shared), start));
        }
    }

    fn start(&self, lowest_open: Option<u64>) -> Option<GapScan> {
        let owned = self.owned.as_ref()?;
        Some(GapScan {
            partition: self.partition,
            progress: owned.progress.clone(),
            all_created_ns: owned.all_created_ns.clone(),
            deliveries: Arc::clone(&self.deliveries),
            lowest_open,
            watermarks: owned.watermarks.clone(),
            written: owned.written.clone(),
            hot_seen: owned.hot_seen,
            asks_cold: true,
        })
    }

    /// Waits for the running scan; forever when there is none.
    pub async fn scan_result(&mut self) -> Result<anyhow::Result<ScanVerdict>, JoinError> {
        match self.scans.join_next().await {
            Some(found) => found,
            None => std::future::pending().await,
        }
    }

    /// Applies the result of a scan. Returns what ends the subscription, if anything does.
    pub fn apply_scan(
        &mut self,
        found: Result<anyhow::Result<ScanVerdict>, JoinError>,
    ) -> anyhow::Result<Option<ScanVerdict>> {
        let stream = self.partition.stream;
        match found {
            Ok(Ok(ScanVerdict::Done(found))) => self.apply(*found),
            Ok(Ok(ended)) => return Ok(Some(ended)),
            Ok(Err(error)) => {
                self.pace.forget();
                tracing::debug!(
                    stream,
                    error = format!("{error:#}"),
                    "gap scan failed; retried at the next look"
                );
            }
            Err(error) if error.is_cancelled() => {}
            Err(error) => return Err(anyhow!("gap scan of stream {stream} panicked: {error}")),
        }
        Ok(None)
    }

    fn apply(&mut self, found: GapScanResult) {
        let Some(owned) = &mut self.owned else { return };
        let mut after = found.progress;
        after.take(owned.progress.newest);
        owned.progress = after;
        owned.watermarks = found.watermarks;
        owned.written = found.written;
        owned.all_created_ns = found.all_created_ns;
        owned.newest = found.newest;
        owned.hot_seen = found.hot_seen;
    }

    /// Highest sequence taken here.
    pub fn taken(&self) -> u64 {
        self.owned.as_ref().map_or(0, |owned| owned.progress.newest)
    }

    /// The next subscription starts from what broker and hot say.
    pub async fn forget(&mut self) {
        self.scans.shutdown().await;
        (self.owned, self.consumers_created_ns) = (None, Vec::new());
    }

    /// The stream was deleted: messages that nobody stored are lost.
    pub async fn record_deleted_stream(&mut self) -> anyhow::Result<()> {
        self.scans.shutdown().await;
        let Some(owned) = &self.owned else { return Ok(()) };
        let (progress, stream) = (&owned.progress, self.partition.stream);
        let rest = SeqRange { from: progress.confirmed.saturating_add(1), to: owned.newest };
        if rest.from > rest.to {
            return Ok(());
        }
        let created_ns = progress.stream_created_ns;
        let lost = losses::not_stored(&self.shared, stream, &[rest], created_ns).await?;
        let evidence = format!("the stream was deleted; its last owned sequence was {}", owned.newest);
        losses::record(&self.shared, (stream, created_ns), &lost, LossCause::Retention, &evidence).await?;
        Ok(())
    }

    pub async fn last_scan(&mut self, lowest_open: Option<u64>) {
        self.scans.shutdown().await;
        let Some(start) = self.start(lowest_open).filter(|_| self.partition.is_first()) else { return };
        let start = GapScan { asks_cold: false, ..start };
        let ended = timeout(limits::CLOSE_DEADLINE, scan(Arc::clone(&self.shared), start)).await;
        if let Ok(Err(error)) = ended {
            tracing::debug!(
                stream = self.partition.stream,
                error = format!("{error:#}"),
                "last gap scan failed"
            );
        }
    }
}
