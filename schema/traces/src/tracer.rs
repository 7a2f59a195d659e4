//! The process's tracer: which messages are traced, and the bounded queue to the collector.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use prometheus::{IntCounter, IntCounterVec};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::operation::OperationSpan;
use crate::span::{SpanContext, SpanRecord};

/// Spans that wait for the collector, each of some hundred bytes. Full: new ones are dropped.
pub(crate) const QUEUED_SPANS_MAX: usize = 4_096;

static TRACER: OnceLock<Tracer> = OnceLock::new();
static OFF: Tracer = Tracer { below: 0, queue: None };

/// The tracer of this process; it records nothing before [`crate::TraceExport::start`].
pub fn tracer() -> &'static Tracer {
    TRACER.get().unwrap_or(&OFF)
}

#[derive(Debug)]
pub struct Tracer {
    /// Messages whose hash is below it are traced.
    below: u64,
    queue: Option<SpanQueue>,
}

#[derive(Debug)]
struct SpanQueue {
    spans: mpsc::Sender<SpanRecord>,
    counts: Arc<SpanCounters>,
}

/// Reason for which a span did not reach the collector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanDrop {
    /// The queue was full: the collector is unreachable or slow.
    QueueFull,
    /// The collector refused it.
    Refused,
    /// The process ended before the collector had it.
    Stopped,
}

impl SpanDrop {
    pub const ALL: [Self; 3] = [Self::QueueFull, Self::Refused, Self::Stopped];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Refused => "refused",
            Self::Stopped => "stopped",
        }
    }
}

/// Spans since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TraceCounts {
    pub exported: u64,
    /// In the order of [`SpanDrop::ALL`].
    pub dropped: [u64; 3],
}

#[derive(Debug, Default)]
pub(crate) struct SpanCounters {
    exported: AtomicU64,
    queue_full: AtomicU64,
    refused: AtomicU64,
    stopped: AtomicU64,
}

impl SpanCounters {
    pub(crate) fn add_exported(&self, spans: u64) {
        self.exported.fetch_add(spans, Ordering::Relaxed);
    }

    pub(crate) fn add_dropped(&self, reason: SpanDrop, spans: u64) {
        self.of(reason).fetch_add(spans, Ordering::Relaxed);
    }

    const fn of(&self, reason: SpanDrop) -> &AtomicU64 {
        match reason {
            SpanDrop::QueueFull => &self.queue_full,
            SpanDrop::Refused => &self.refused,
            SpanDrop::Stopped => &self.stopped,
        }
    }

    fn read(&self) -> TraceCounts {
        TraceCounts {
            exported: self.exported.load(Ordering::Relaxed),
            dropped: SpanDrop::ALL.map(|reason| self.of(reason).load(Ordering::Relaxed)),
        }
    }
}

impl Tracer {
    pub(crate) fn new(one_message_in: u64, counts: Arc<SpanCounters>) -> (Self, mpsc::Receiver<SpanRecord>) {
        let (spans, receiver) = mpsc::channel(QUEUED_SPANS_MAX);
        let below = u64::MAX.checked_div(one_message_in).unwrap_or_default();
        (Self { below, queue: Some(SpanQueue { spans, counts }) }, receiver)
    }

    /// False: the process has one already.
    pub(crate) fn set(self) -> bool {
        TRACER.set(self).is_ok()
    }

    /// True if spans are sent.
    pub const fn is_on(&self) -> bool {
        self.queue.is_some()
    }

    /// The root of the trace of a message, if it is one of those that are traced.
    #[inline]
    pub fn message(&self, id: u128) -> Option<SpanContext> {
        (self.below > 0 && spread(id) < self.below).then(|| SpanContext::of_message(id))
    }

    /// A span of an operation, in a trace of its own.
    pub fn operation(&'static self, name: &'static str) -> OperationSpan {
        OperationSpan::start(self, name)
    }

    /// Queues a span for the collector.
    pub fn send(&self, span: SpanRecord) {
        let Some(queue) = &self.queue else { return };
        match queue.spans.try_send(span) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => queue.counts.add_dropped(SpanDrop::QueueFull, 1),
            Err(TrySendError::Closed(_)) => queue.counts.add_dropped(SpanDrop::Stopped, 1),
        }
    }

    pub fn counts(&self) -> TraceCounts {
        self.queue.as_ref().map(|queue| queue.counts.read()).unwrap_or_default()
    }

    /// Raises the counters of a program's metrics to the counts: exported spans, and those dropped, by reason.
    pub fn refresh(&self, exported: &IntCounter, dropped: &IntCounterVec) {
        let counts = self.counts();
        let raise = |counter: &IntCounter, total: u64| counter.inc_by(total.saturating_sub(counter.get()));
        raise(exported, counts.exported);
        for (reason, count) in SpanDrop::ALL.into_iter().zip(counts.dropped) {
            raise(&dropped.with_label_values(&[reason.as_str()]), count);
        }
    }
}

/// Ids of one book's changes have the same high half: the low one decides, mixed so that no pattern of ids is a pattern of traces.
#[expect(clippy::cast_possible_truncation, reason = "the low half is wanted")]
const fn spread(id: u128) -> u64 {
    let mixed = (id as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ (mixed >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::span::SpanKind;

    fn on(one_message_in: u64) -> (Tracer, mpsc::Receiver<SpanRecord>) {
        Tracer::new(one_message_in, Arc::default())
    }

    fn traced(tracer: &Tracer) -> Vec<u128> {
        (0..100_000).filter(|id| tracer.message(*id).is_some()).collect()
    }

    #[test]
    fn the_same_messages_are_traced_everywhere_and_a_smaller_share_is_part_of_a_larger_one() {
        let ((tenth, _a), (hundredth, _b)) = (on(10), on(100));
        let (many, few) = (traced(&tenth), traced(&hundredth));
        assert!((9_000..11_000).contains(&many.len()) && (800..1_200).contains(&few.len()), "{}", few.len());
        assert!(few.iter().all(|id| many.contains(id)));
        assert_eq!(tenth.message(few[0]), hundredth.message(few[0]));
        let (all, _c) = on(1);
        assert_eq!(traced(&all).len(), 100_000);
        let (none, _d) = on(0);
        assert_eq!((traced(&none).len(), none.is_on()), (0, true));
        assert_eq!((traced(&OFF).len(), OFF.is_on()), (0, false));
    }

    #[test]
    fn spans_beyond_the_queue_are_dropped_and_counted() {
        let (tracer, mut queued) = on(1);
        let span = SpanRecord::new("x", SpanKind::Internal, SpanContext::random(), (1, 2));
        for _ in 0..QUEUED_SPANS_MAX + 3 {
            tracer.send(span.clone());
        }
        assert_eq!(tracer.counts(), TraceCounts { exported: 0, dropped: [3, 0, 0] });
        queued.close();
        tracer.send(span);
        assert_eq!(tracer.counts().dropped, [3, 0, 1]);
        assert!(queued.try_recv().is_ok());
    }
}
