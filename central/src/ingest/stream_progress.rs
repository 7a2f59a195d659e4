//! Progress of a stream while this central owns it: delivered sequences and gap-scan results.

use std::sync::Arc;

use anyhow::anyhow;
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;

use super::gap_scan::{GapScan, GapScanResult, look};
use super::losses;
use super::progress::{DeliveryProgress, SeqRange};
use super::subscription::Subscription;
use crate::context::CentralContext;
use crate::limits;
use crate::watermark::{Watermarks, Written};

/// Delivered sequences and gap-scan results of an owned stream.
pub struct StreamProgress {
    shared: Arc<CentralContext>,
    stream: &'static str,
    consumer_created_ns: Option<i128>,
    known: Option<Known>,
    looks: JoinSet<anyhow::Result<GapScanResult>>,
}

struct Known {
    progress: DeliveryProgress,
    watermarks: Watermarks,
    written: Written,
    /// Newest sequence of the stream at the last scan.
    newest: u64,
}

impl StreamProgress {
    pub fn new(shared: Arc<CentralContext>, stream: &'static str) -> Self {
        Self { shared, stream, consumer_created_ns: None, known: None, looks: JoinSet::new() }
    }

    /// The stream was recreated since the last subscription.
    pub fn is_other_stream(&self, found: &Subscription) -> bool {
        let known = self.known.as_ref();
        known.is_some_and(|known| known.progress.stream_created_ns != found.stream_created_ns)
    }

    /// The consumer was recreated since the last subscription, or this is the first one.
    pub fn is_other_consumer(&self, found: &Subscription) -> bool {
        self.consumer_created_ns != Some(found.consumer_created_ns)
    }

    /// Starts with a subscription. Reads the confirmed sequence the first time.
    pub async fn begin(&mut self, found: &Subscription) -> anyhow::Result<()> {
        if self.known.is_none() || self.is_other_stream(found) {
            self.looks.abort_all();
            let watermarks = Watermarks::open(&self.shared.broker, self.shared.config.replicas()).await?;
            let written = watermarks.read(self.stream).await?;
            let created_ns = found.stream_created_ns;
            let confirmed = written.sequence_of(created_ns);
            let progress = DeliveryProgress::new(created_ns, confirmed, found.delivered, limits::HOLES);
            self.known = Some(Known { progress, watermarks, written, newest: 0 });
        }
        self.consumer_created_ns = Some(found.consumer_created_ns);
        Ok(())
    }

    pub fn take(&mut self, sequence: u64) {
        if let Some(known) = &mut self.known {
            known.progress.take(sequence);
        }
    }

    /// Starts a scan unless one is running.
    pub fn look(&mut self, lowest_open: Option<u64>) {
        if self.looks.is_empty()
            && let Some(start) = self.start(lowest_open)
        {
            self.looks.spawn(look(Arc::clone(&self.shared), start));
        }
    }

    fn start(&self, lowest_open: Option<u64>) -> Option<GapScan> {
        let known = self.known.as_ref()?;
        Some(GapScan {
            stream: self.stream,
            progress: known.progress.clone(),
            lowest_open,
            watermarks: known.watermarks.clone(),
            written: known.written.clone(),
        })
    }

    /// Waits for the running scan; forever when there is none.
    pub async fn found(&mut self) -> Result<anyhow::Result<GapScanResult>, JoinError> {
        match self.looks.join_next().await {
            Some(found) => found,
            None => std::future::pending().await,
        }
    }

    /// Applies the result of a scan. Returns the reason for a new subscription, if one is needed.
    pub fn settle(
        &mut self,
        found: Result<anyhow::Result<GapScanResult>, JoinError>,
    ) -> anyhow::Result<Option<String>> {
        let stream = self.stream;
        match found {
            Ok(Ok(found)) => return Ok(self.apply(found)),
            Ok(Err(error)) => {
                tracing::debug!(
                    stream,
                    error = format!("{error:#}"),
                    "gap scan failed; retried at the next interval"
                );
            }
            Err(error) if error.is_cancelled() => {}
            Err(error) => return Err(anyhow!("gap scan of stream {stream} panicked: {error}")),
        }
        Ok(None)
    }

    fn apply(&mut self, found: GapScanResult) -> Option<String> {
        let Some(known) = &mut self.known else { return None };
        let progress = &mut known.progress;
        if progress.stream_created_ns != found.stream_created_ns {
            return Some("the stream was recreated".to_owned());
        }
        let mut holes = found.left;
        for hole in &progress.holes {
            // Sequences skipped meanwhile begin where the scan ended.
            let rest = SeqRange { from: hole.from.max(found.next), to: hole.to };
            if !found.settled.contains(hole) && rest.from <= rest.to {
                holes.push(rest);
            }
        }
        progress.holes = holes;
        progress.next = progress.next.max(found.next);
        progress.confirmed = found.confirmed;
        if found.is_inherited_settled {
            progress.inherited = None;
        }
        known.written = found.written;
        known.newest = found.newest;
        None
    }

    /// The stream was deleted: messages that nobody took are lost.
    pub async fn record_end(&mut self) -> anyhow::Result<()> {
        self.looks.shutdown().await;
        let Some(known) = &self.known else { return Ok(()) };
        let never_taken = SeqRange { from: known.progress.next, to: known.newest };
        if never_taken.from <= never_taken.to {
            let evidence = format!("the stream was deleted; its last known sequence was {}", known.newest);
            losses::record(&self.shared, self.stream, &[never_taken], &evidence).await?;
        }
        Ok(())
    }

    /// Last scan before another central takes the stream.
    pub async fn last_look(&mut self, lowest_open: Option<u64>) {
        self.looks.shutdown().await;
        let Some(start) = self.start(lowest_open) else { return };
        let ended = timeout(limits::CLOSE_DEADLINE, look(Arc::clone(&self.shared), start)).await;
        if let Ok(Err(error)) = ended {
            tracing::debug!(stream = self.stream, error = format!("{error:#}"), "last gap scan failed");
        }
    }
}
