//! Mirror of live events to core NATS, for readers that cannot wait until an event is stored.
//!
//! At most once, over restarts too: it holds nothing up and repeats nothing. What does not go out is counted; JetStream gets the event all the same.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::header::NATS_MESSAGE_ID;
use async_nats::{Client, HeaderMap, HeaderValue};
use marketprism_schema::{SubjectFilter, core_mirror_subject};
use marketprism_service::LogLimit;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::batches::CONTENT_TYPE;
use crate::broker::BrokerLink;
use crate::clocks::nanos;
use crate::config::MirrorSettings;
use crate::queue::EventRecord;
use crate::telemetry::{Metrics, follow, labels};

/// Live events that wait to be mirrored, and their bytes. Full: they are not mirrored, counted.
const MIRROR_MESSAGES_MAX: usize = 1_024;
const MIRROR_BYTES_MAX: u32 = 8 << 20;
/// Longest wait for the client to take an event, and at the end for those that wait.
const MIRROR_SEND: Duration = Duration::from_secs(1);
/// Time since its receipt after which an event is live no more.
const MIRROR_AGE_MAX_NS: i64 = 10_000_000_000;

labels! {
    /// Reason for which an event was not mirrored.
    MirrorDrop {
        /// Its queue was full.
        Full = "full",
        /// It was no longer live: it waited for the broker, or an earlier process received it and may have mirrored it.
        Late = "late",
        /// The client did not take it.
        Failed = "failed",
        /// The server refused its subject, after it was sent.
        Denied = "denied",
    }
}

pub(super) struct CoreMirror {
    settings: watch::Receiver<MirrorSettings>,
    filters: Vec<SubjectFilter>,
    waiting: mpsc::Sender<MirroredEvent>,
    /// Bytes that may wait yet.
    room: Arc<Semaphore>,
    task: AbortOnDropHandle<()>,
    link: Arc<BrokerLink>,
    started: Instant,
    metrics: Metrics,
}

struct MirroredEvent {
    record: EventRecord,
    _bytes: OwnedSemaphorePermit,
}

impl CoreMirror {
    pub(super) fn start(
        client: Client,
        link: Arc<BrokerLink>,
        mut settings: watch::Receiver<MirrorSettings>,
        metrics: Metrics,
    ) -> Self {
        let (waiting, events) = mpsc::channel(MIRROR_MESSAGES_MAX);
        let queue = MirrorQueue { events, is_sending: false, metrics: metrics.clone() };
        let sender = MirrorSender { client, link: Arc::clone(&link), queue };
        let filters = settings.borrow_and_update().filters();
        Self {
            settings,
            filters,
            waiting,
            room: Arc::new(Semaphore::new(MIRROR_BYTES_MAX as usize)),
            task: AbortOnDropHandle::new(tokio::spawn(sender.run())),
            link,
            started: Instant::now(),
            metrics,
        }
    }

    /// The filter, and what the server refused since.
    pub(super) fn update(&mut self) {
        let denied = self.metrics.mirror_dropped.with_label_values(&[MirrorDrop::Denied.as_str()]);
        follow(&denied, self.link.mirror_denials());
        if self.settings.has_changed().unwrap_or_default() {
            self.filters = self.settings.borrow_and_update().filters();
        }
    }

    /// For an event that is published for the first time.
    pub(super) fn offer(&self, record: &EventRecord, now_ns: i64) {
        self.offer_younger(record, now_ns, nanos(self.started.elapsed()).min(MIRROR_AGE_MAX_NS));
    }

    fn offer_younger(&self, record: &EventRecord, now_ns: i64, age_max_ns: i64) {
        if record.is_resend || !self.filters.iter().any(|filter| filter.matches(&record.subject)) {
            return;
        }
        if now_ns.saturating_sub(record.received_at_ns) > age_max_ns {
            dropped(&self.metrics, MirrorDrop::Late);
            return;
        }
        // A larger one goes out alone.
        let bytes = u32::try_from(record.size()).unwrap_or(u32::MAX).min(MIRROR_BYTES_MAX);
        let bytes = Arc::clone(&self.room).try_acquire_many_owned(bytes);
        let event = bytes.map(|bytes| MirroredEvent { record: record.clone(), _bytes: bytes });
        if event.is_ok_and(|event| self.waiting.try_send(event).is_ok()) {
            return;
        }
        dropped(&self.metrics, MirrorDrop::Full);
    }

    /// Events that wait still go out.
    pub(super) async fn end(self) {
        drop(self.waiting);
        // Its queue counts and reports the rest.
        let _ = timeout(MIRROR_SEND, self.task).await;
    }
}

fn dropped(metrics: &Metrics, reason: MirrorDrop) {
    metrics.mirror_dropped.with_label_values(&[reason.as_str()]).inc();
}

/// Events that wait. Those that are left at its end are counted.
struct MirrorQueue {
    events: mpsc::Receiver<MirroredEvent>,
    is_sending: bool,
    metrics: Metrics,
}

impl MirrorQueue {
    async fn next(&mut self) -> Option<MirroredEvent> {
        let event = self.events.recv().await;
        self.is_sending = event.is_some();
        event
    }

    fn sent(&mut self, is_taken: bool) {
        self.is_sending = false;
        if is_taken {
            self.metrics.mirrored.inc();
        } else {
            dropped(&self.metrics, MirrorDrop::Failed);
        }
    }
}

impl Drop for MirrorQueue {
    fn drop(&mut self) {
        self.events.close();
        let mut left = u64::from(self.is_sending);
        while self.events.try_recv().is_ok() {
            left += 1;
        }
        if left > 0 {
            tracing::warn!(left, "events not mirrored to core NATS: the mirror ended before they were sent");
        }
        let failed = self.metrics.mirror_dropped.with_label_values(&[MirrorDrop::Failed.as_str()]);
        failed.inc_by(left);
    }
}

struct MirrorSender {
    client: Client,
    link: Arc<BrokerLink>,
    queue: MirrorQueue,
}

impl MirrorSender {
    async fn run(mut self) {
        let mut lines = LogLimit::default();
        while let Some(MirroredEvent { record, _bytes }) = self.queue.next().await {
            // In the client's buffer it would wait for the broker and be late.
            let sent = if self.link.is_connected() {
                self.send(&record).await
            } else {
                Err("not connected".to_owned())
            };
            self.queue.sent(sent.is_ok());
            if let Err(error) = sent
                && let Some(held_back) = lines.allow(Instant::now())
            {
                tracing::warn!(error, subject = %record.subject, held_back, "event not mirrored to core NATS");
            }
        }
    }

    async fn send(&self, record: &EventRecord) -> Result<(), String> {
        let mut headers = HeaderMap::new();
        headers.insert(NATS_MESSAGE_ID, HeaderValue::from(record.event_id.to_string()));
        if let Some(content_type) = record.form.header() {
            headers.insert(CONTENT_TYPE, HeaderValue::from(content_type));
        }
        let subject = core_mirror_subject(&record.subject);
        let publish = self.client.publish_with_headers(subject, headers, record.payload.clone());
        match timeout(MIRROR_SEND, publish).await {
            Ok(sent) => sent.map_err(|error| error.to_string()),
            Err(_elapsed) => Err(format!("not taken within {} ms", MIRROR_SEND.as_millis())),
        }
    }
}

#[cfg(test)]
mod tests {
    use async_nats::{Event, ServerError};
    use marketprism_config::Nats;
    use marketprism_schema::DataType;

    use super::*;

    const SECOND_NS: i64 = 1_000_000_000;

    /// A mirror of all events whose sender does nothing yet.
    fn idle() -> (CoreMirror, MirrorQueue) {
        let (waiting, events) = mpsc::channel(MIRROR_MESSAGES_MAX);
        let metrics = Metrics::new().unwrap();
        let mirror = CoreMirror {
            settings: watch::Sender::new(MirrorSettings::default()).subscribe(),
            filters: vec![SubjectFilter::parse(">").unwrap()],
            waiting,
            room: Arc::new(Semaphore::new(MIRROR_BYTES_MAX as usize)),
            task: AbortOnDropHandle::new(tokio::spawn(async {})),
            link: Arc::new(BrokerLink::new(&Nats::default(), "test")),
            started: Instant::now(),
            metrics: metrics.clone(),
        };
        (mirror, MirrorQueue { events, is_sending: false, metrics })
    }

    fn event(id: u64, received_at_ns: i64, bytes: usize) -> EventRecord {
        let payload = vec![0; bytes].into();
        EventRecord { received_at_ns, payload, ..EventRecord::fixture(id, DataType::OrderBook, "A-B") }
    }

    fn drops(metrics: &Metrics) -> [u64; 3] {
        ["full", "late", "failed"].map(|reason| metrics.mirror_dropped.with_label_values(&[reason]).get())
    }

    #[tokio::test]
    async fn events_wait_within_bytes_and_those_that_are_left_at_the_end_are_counted() {
        let (mirror, mut queue) = idle();
        let metrics = mirror.metrics.clone();
        let quarter = MIRROR_BYTES_MAX as usize / 4;
        (0..5).for_each(|id| mirror.offer(&event(id, i64::MAX, quarter), 0));
        assert_eq!(drops(&metrics), [2, 0, 0], "three and their headers fit");
        drop(queue.next().await);
        queue.sent(true);
        mirror.offer(&event(5, i64::MAX, quarter), 0);
        assert_eq!(drops(&metrics), [2, 0, 0], "what was sent makes room");
        let sending = queue.next().await;
        drop(queue);
        assert_eq!(drops(&metrics), [2, 0, 3], "one was being sent, two waited");
        drop((mirror, sending));

        let (mirror, queue) = idle();
        let metrics = mirror.metrics.clone();
        mirror.offer(&event(6, i64::MAX, 2 * MIRROR_BYTES_MAX as usize), 0);
        assert_eq!(drops(&metrics), [0, 0, 0], "one that is larger than all goes out alone");
        drop(queue);
        assert_eq!(drops(&metrics), [0, 0, 1]);
    }

    #[tokio::test]
    async fn a_refused_subject_of_the_mirror_is_counted_and_no_problem_of_the_edge() {
        let (mut mirror, _queue) = idle();
        let text = "Permissions Violation for Publish to \"core.trade.x.spot.A-B\"".to_owned();
        mirror.link.update(Event::ServerError(ServerError::Other(text))).await;
        mirror.update();
        assert_eq!(mirror.metrics.mirror_dropped.with_label_values(&["denied"]).get(), 1);
        assert_eq!(mirror.link.problem(), None);
        assert!(mirror.link.mirror_problem().unwrap().contains("core.trade.x.spot.A-B"));
    }

    #[tokio::test]
    async fn an_event_that_an_earlier_process_received_is_not_mirrored_again() {
        let (mirror, _queue) = idle();
        let now_ns = 60 * SECOND_NS;
        mirror.offer_younger(&event(1, now_ns - SECOND_NS, 1), now_ns, 2 * SECOND_NS);
        assert_eq!(drops(&mirror.metrics), [0, 0, 0]);
        // It waited in the journal through a restart of a second.
        let started = Instant::now();
        mirror.offer(&event(2, now_ns - 9 * SECOND_NS, 1), now_ns);
        let was_quick = started.elapsed() < Duration::from_secs(9);
        assert!(!was_quick || drops(&mirror.metrics) == [0, 1, 0], "{:?}", drops(&mirror.metrics));
    }
}
