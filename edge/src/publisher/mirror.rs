//! Mirror of live events to core NATS, for readers that cannot wait until an event is stored.
//!
//! At most once: it holds nothing up and repeats nothing. What does not go out is counted; JetStream gets the event all the same.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::header::NATS_MESSAGE_ID;
use async_nats::{Client, HeaderMap, HeaderValue};
use marketprism_schema::{SubjectFilter, core_mirror_subject};
use marketprism_service::LogLimit;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::events::CONTENT_TYPE;
use crate::broker::BrokerLink;
use crate::config::MirrorSettings;
use crate::queue::EventRecord;
use crate::telemetry::Metrics;

/// Live events that wait to be mirrored. Full: they are not mirrored, counted.
const MIRROR_MESSAGES_MAX: usize = 1_024;
/// Longest wait for the client to take an event, and at the end for those that wait.
const MIRROR_SEND: Duration = Duration::from_secs(1);
/// Time since its receipt after which an event is live no more.
const MIRROR_AGE_MAX_NS: i64 = 10_000_000_000;

/// Reason for which an event was not mirrored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MirrorDrop {
    /// Its queue was full.
    Full,
    /// It was no longer live: it waited for the broker.
    Late,
    /// The client did not take it.
    Failed,
}

impl MirrorDrop {
    pub const ALL: [Self; 3] = [Self::Full, Self::Late, Self::Failed];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Late => "late",
            Self::Failed => "failed",
        }
    }
}

pub(super) struct CoreMirror {
    settings: watch::Receiver<MirrorSettings>,
    filters: Vec<SubjectFilter>,
    waiting: mpsc::Sender<EventRecord>,
    task: AbortOnDropHandle<()>,
    metrics: Metrics,
}

impl CoreMirror {
    pub(super) fn start(
        client: Client,
        link: Arc<BrokerLink>,
        mut settings: watch::Receiver<MirrorSettings>,
        metrics: Metrics,
    ) -> Self {
        let (waiting, records) = mpsc::channel(MIRROR_MESSAGES_MAX);
        let sender = MirrorSender { client, link, records, metrics: metrics.clone() };
        let filters = settings.borrow_and_update().filters();
        Self { settings, filters, waiting, task: AbortOnDropHandle::new(tokio::spawn(sender.run())), metrics }
    }

    pub(super) fn follow_settings(&mut self) {
        if self.settings.has_changed().unwrap_or_default() {
            self.filters = self.settings.borrow_and_update().filters();
        }
    }

    /// For an event that is published for the first time.
    pub(super) fn offer(&self, record: &EventRecord, now_ns: i64) {
        if record.is_resend || !self.filters.iter().any(|filter| filter.matches(&record.subject)) {
            return;
        }
        if now_ns.saturating_sub(record.received_at_ns) > MIRROR_AGE_MAX_NS {
            dropped(&self.metrics, MirrorDrop::Late);
        } else if self.waiting.try_send(record.clone()).is_err() {
            dropped(&self.metrics, MirrorDrop::Full);
        }
    }

    /// Events that wait still go out.
    pub(super) async fn end(self) {
        drop(self.waiting);
        if timeout(MIRROR_SEND, self.task).await.is_err() {
            tracing::debug!("mirror ended before all was sent");
        }
    }
}

fn dropped(metrics: &Metrics, reason: MirrorDrop) {
    metrics.mirror_dropped.with_label_values(&[reason.as_str()]).inc();
}

struct MirrorSender {
    client: Client,
    link: Arc<BrokerLink>,
    records: mpsc::Receiver<EventRecord>,
    metrics: Metrics,
}

impl MirrorSender {
    async fn run(mut self) {
        let mut lines = LogLimit::default();
        while let Some(record) = self.records.recv().await {
            // In the client's buffer it would wait for the broker and be late.
            let sent = if self.link.is_connected() {
                self.send(&record).await
            } else {
                Err("not connected".to_owned())
            };
            match sent {
                Ok(()) => self.metrics.mirrored.inc(),
                Err(error) => {
                    dropped(&self.metrics, MirrorDrop::Failed);
                    if let Some(held_back) = lines.allow(Instant::now()) {
                        tracing::warn!(error, subject = %record.subject, held_back, "event not mirrored to core NATS");
                    }
                }
            }
        }
    }

    async fn send(&self, record: &EventRecord) -> Result<(), String> {
        let mut headers = HeaderMap::new();
        headers.insert(NATS_MESSAGE_ID, HeaderValue::from(record.event_id.to_string()));
        headers.insert(CONTENT_TYPE, HeaderValue::from(record.form.content_type()));
        let subject = core_mirror_subject(&record.subject);
        let publish = self.client.publish_with_headers(subject, headers, record.payload.clone());
        match timeout(MIRROR_SEND, publish).await {
            Ok(sent) => sent.map_err(|error| error.to_string()),
            Err(_elapsed) => Err(format!("not taken within {} ms", MIRROR_SEND.as_millis())),
        }
    }
}
