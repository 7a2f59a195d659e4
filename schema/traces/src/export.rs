//! The task that sends spans to the collector in groups.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use marketprism_service::{Backoff, LogLimit, mask};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans};
use prost::Message as _;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::collector::{Collector, ExportResult};
use crate::settings::TraceSettings;
use crate::span::{SpanRecord, attribute};
use crate::tracer::{SpanCounters, SpanDrop, Tracer};

/// Spans in one request.
const GROUP_SPANS_MAX: usize = 512;
/// Wait for more spans of a group.
const GROUP_WAIT: Duration = Duration::from_secs(1);
/// Time from the stop on for the spans that are left, that of a request under way included.
const FLUSH_DEADLINE: Duration = Duration::from_secs(3);
/// Time between lines about refused spans.
const REFUSAL_EVERY: Duration = Duration::from_secs(600);
const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(30);

/// Owner of the task that sends spans. A process without a collector has none.
#[derive(Debug)]
pub struct TraceExport(Option<ExportTask>);

#[derive(Debug)]
struct ExportTask {
    task: JoinHandle<()>,
    stop: CancellationToken,
}

impl TraceExport {
    /// Starts to send spans, if the settings name a collector. `instance`: name of this process among those of the service. Connects
    /// when there is something to send.
    ///
    /// # Errors
    /// A file of the settings cannot be used.
    pub fn start(
        settings: &TraceSettings,
        (service, version): (&str, &str),
        (instance, region): (&str, Option<&str>),
    ) -> anyhow::Result<Self> {
        let Some((tracer, exporter)) = Exporter::new(settings, (service, version), (instance, region))?
        else {
            return Ok(Self(None));
        };
        let collector = exporter.shown.clone();
        if !tracer.set() {
            return Ok(Self(None));
        }
        tracing::info!(collector, one_message_in = settings.one_message_in, "traces are on");
        let stop = CancellationToken::new();
        Ok(Self(Some(ExportTask { task: tokio::spawn(exporter.run(stop.clone())), stop })))
    }

    /// Sends what is left, within a deadline. Spans that come later are dropped.
    pub async fn end(self) {
        let Some(ExportTask { task, stop }) = self.0 else { return };
        stop.cancel();
        if task.await.is_err() {
            tracing::warn!("the task that sends traces panicked");
        }
    }
}

struct Exporter {
    spans: mpsc::Receiver<SpanRecord>,
    /// Of the next group.
    gathered: Vec<SpanRecord>,
    counts: Arc<SpanCounters>,
    collector: Collector,
    shown: String,
    resource: Resource,
    scope: InstrumentationScope,
    /// The collector took nothing at the last try.
    is_away: bool,
    refusal_lines: LogLimit,
}

/// An encoded group.
#[derive(Clone)]
struct SpanGroup {
    body: Bytes,
    spans: u64,
}

impl Exporter {
    /// `None` without a collector.
    fn new(
        settings: &TraceSettings,
        (service, version): (&str, &str),
        (instance, region): (&str, Option<&str>),
    ) -> anyhow::Result<Option<(Tracer, Self)>> {
        let Some(endpoint) = &settings.endpoint else { return Ok(None) };
        let counts = Arc::new(SpanCounters::default());
        let (tracer, spans) = Tracer::new(settings.one_message_in, Arc::clone(&counts));
        let mut attributes = vec![
            attribute("service.name", service),
            attribute("service.version", version),
            attribute("service.instance.id", instance),
        ];
        attributes.extend(region.map(|region| attribute("cloud.region", region)));
        let scope = InstrumentationScope {
            name: "marketprism".to_owned(),
            version: version.to_owned(),
            ..InstrumentationScope::default()
        };
        let exporter = Self {
            spans,
            gathered: Vec::new(),
            counts,
            collector: Collector::new(settings, endpoint.reveal())?,
            shown: mask(endpoint.reveal()).into_owned(),
            resource: Resource { attributes, ..Resource::default() },
            scope,
            is_away: false,
            refusal_lines: LogLimit::new(REFUSAL_EVERY),
        };
        Ok(Some((tracer, exporter)))
    }

    async fn run(mut self, stop: CancellationToken) {
        let mut end = pin!(async {
            stop.cancelled().await;
            sleep(FLUSH_DEADLINE).await;
        });
        let mut backoff = Backoff::new(RETRY_FIRST, RETRY_MAX);
        let mut open: Option<SpanGroup> = None;
        while !stop.is_cancelled() {
            let group = match open.take() {
                Some(group) => group,
                None => tokio::select! {
                    () = gather(&mut self.spans, &mut self.gathered) => self.encode_gathered(),
                    () = stop.cancelled() => break,
                },
            };
            // Not interrupted by the stop itself: what was sent would be sent again.
            let sent = tokio::select! {
                sent = self.send(&group) => sent,
                () = &mut end => {
                    self.counts.add_dropped(SpanDrop::Stopped, group.spans);
                    return self.drop_queued();
                }
            };
            let Err(least) = sent else {
                backoff.reset();
                continue;
            };
            open = Some(group);
            tokio::select! {
                () = sleep(backoff.pause().max(least)) => {}
                () = stop.cancelled() => {}
            }
        }
        let flushed = tokio::select! {
            () = self.flush(&mut open) => true,
            () = end => false,
        };
        if !flushed {
            self.counts.add_dropped(SpanDrop::Stopped, open.map_or(0, |group| group.spans));
            self.drop_queued();
        }
    }

    /// The collector has answered for these spans, or the least time before the next try.
    async fn send(&mut self, group: &SpanGroup) -> Result<(), Duration> {
        let spans = group.spans;
        match self.collector.send(group.body.clone()).await {
            ExportResult::Taken { refused, reason } => {
                let refused = refused.min(spans);
                self.counts.add_exported(spans - refused);
                if refused > 0 {
                    self.refuse(refused, &reason);
                }
            }
            ExportResult::Refused(reason) => self.refuse(spans, &reason),
            ExportResult::Unreachable { reason, retry_after } => {
                if !self.is_away {
                    let (collector, reason) = (&self.shown, mask(&reason));
                    tracing::warn!(collector, %reason, "traces cannot be sent, trying again; data is not affected");
                    self.is_away = true;
                }
                return Err(retry_after.unwrap_or_default());
            }
        }
        if self.is_away {
            self.is_away = false;
            tracing::info!(collector = self.shown, "traces are sent again");
        }
        Ok(())
    }

    fn refuse(&mut self, spans: u64, reason: &str) {
        self.counts.add_dropped(SpanDrop::Refused, spans);
        if let Some(held_back) = self.refusal_lines.allow(Instant::now()) {
            let (collector, reason) = (&self.shown, mask(reason));
            tracing::warn!(collector, spans, %reason, held_back, "traces refused by the collector, they are dropped");
        }
    }

    /// One try for each group: an unreachable collector is not waited for again. `open` is the group that is being sent.
    async fn flush(&mut self, open: &mut Option<SpanGroup>) {
        self.spans.close();
        let mut is_sending = true;
        loop {
            if open.is_none() {
                *open = self.next_queued();
            }
            let Some(group) = open.clone() else { return };
            is_sending = is_sending && self.send(&group).await.is_ok();
            *open = None;
            if !is_sending {
                self.counts.add_dropped(SpanDrop::Stopped, group.spans);
            }
        }
    }

    fn drop_queued(&mut self) {
        self.spans.close();
        while let Some(group) = self.next_queued() {
            self.counts.add_dropped(SpanDrop::Stopped, group.spans);
        }
    }

    /// The next group of what is left in the closed queue.
    fn next_queued(&mut self) -> Option<SpanGroup> {
        while self.gathered.len() < GROUP_SPANS_MAX
            && let Ok(span) = self.spans.try_recv()
        {
            self.gathered.push(span);
        }
        (!self.gathered.is_empty()).then(|| self.encode_gathered())
    }

    fn encode_gathered(&mut self) -> SpanGroup {
        let spans = std::mem::take(&mut self.gathered);
        let count = u64::try_from(spans.len()).unwrap_or(u64::MAX);
        let scope_spans = vec![ScopeSpans {
            scope: Some(self.scope.clone()),
            spans: spans.into_iter().map(SpanRecord::into_wire).collect(),
            ..ScopeSpans::default()
        }];
        let resource = Some(self.resource.clone());
        let resource_spans = vec![ResourceSpans { resource, scope_spans, ..ResourceSpans::default() }];
        let request = ExportTraceServiceRequest { resource_spans };
        SpanGroup { body: request.encode_to_vec().into(), spans: count }
    }
}

/// Fills a group. What it has when this is given up stays in it.
async fn gather(queue: &mut mpsc::Receiver<SpanRecord>, group: &mut Vec<SpanRecord>) {
    if group.is_empty() {
        queue.recv_many(group, GROUP_SPANS_MAX).await;
    }
    let until = tokio::time::Instant::now() + GROUP_WAIT;
    while group.len() < GROUP_SPANS_MAX {
        let more = queue.recv_many(group, GROUP_SPANS_MAX - group.len());
        if !timeout_at(until, more).await.is_ok_and(|count| count > 0) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Mutex;

    use marketprism_config::Secret;
    use marketprism_tests::trace_collector::{CollectorAnswer, TraceCollector};
    use marketprism_tests::wait::eventually;

    use super::*;
    use crate::span::SpanKind;
    use crate::tracer::TraceCounts;

    fn settings(collector: &TraceCollector) -> TraceSettings {
        TraceSettings {
            endpoint: Some(collector.endpoint().as_str().into()),
            one_message_in: 1,
            authorization: Some(Secret::new("Bearer abc".to_owned())),
            ..TraceSettings::default()
        }
    }

    fn exporter(collector: &TraceCollector) -> (&'static Tracer, Exporter) {
        exporter_with(&settings(collector))
    }

    fn exporter_with(settings: &TraceSettings) -> (&'static Tracer, Exporter) {
        let made = Exporter::new(settings, ("marketprism-x", "1"), ("x-1", Some("r"))).unwrap();
        let (tracer, exporter) = made.unwrap();
        (Box::leak(Box::new(tracer)), exporter)
    }

    fn send(tracer: &Tracer, id: u128) {
        let context = tracer.message(id).unwrap();
        tracer.send(SpanRecord::new("message", SpanKind::Producer, context, (5, 9)));
    }

    #[tokio::test]
    async fn what_is_queued_at_the_end_reaches_the_collector_with_its_service_and_steps() {
        let collector = TraceCollector::start().await;
        let (tracer, exporter) = exporter(&collector);
        send(tracer, 7);
        let operation = tracer.operation("work");
        operation.text("url", "http://u:hunter2@h/").step("one");
        operation.step("two");
        operation.step("two");
        operation.end(&Err::<(), _>("broken at http://u:hunter2@h/"));
        drop(tracer.operation("lost"));
        let stop = CancellationToken::new();
        stop.cancel();
        exporter.run(stop).await;
        let spans = collector.spans();
        let mut names: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["lost", "message", "one", "two", "work"]);
        assert!(spans.iter().all(|span| span.service == "marketprism-x" && span.instance == "x-1"));
        let work = &collector.named("marketprism-x", "work")[0];
        assert_eq!(collector.children(work).len(), 2);
        assert_eq!(work.error.as_deref(), Some("broken at http://***@h/"));
        assert_eq!(work.attributes["url"], "http://***@h/");
        let message = &collector.named("marketprism-x", "message")[0];
        assert_eq!((message.trace.as_slice(), message.times), (7_u128.to_be_bytes().as_slice(), (5, 9)));
        assert_eq!(collector.named("marketprism-x", "lost")[0].error.as_deref(), Some("given up"));
        assert_eq!(collector.authorizations(), ["Bearer abc"]);
        assert_eq!(tracer.counts(), TraceCounts { exported: 5, dropped: [0; 3] });
    }

    #[tokio::test]
    async fn a_busy_collector_gets_the_spans_again_and_refused_ones_are_counted() {
        let collector = TraceCollector::start().await;
        let (tracer, exporter) = exporter(&collector);
        collector.answer_next(&[CollectorAnswer::Status(503), CollectorAnswer::Rejected(1)]);
        let stop = CancellationToken::new();
        let task = tokio::spawn(exporter.run(stop.clone()));
        (1..=3).for_each(|id| send(tracer, id));
        let counts = |exported, refused| async move {
            let found = tracer.counts();
            let wanted = TraceCounts { exported, dropped: [0, refused, 0] };
            if found == wanted { Ok(()) } else { Err(format!("{found:?}")) }
        };
        eventually("two of three are taken at the second try", || counts(2, 1)).await;
        collector.answer_next(&[CollectorAnswer::Status(400)]);
        send(tracer, 4);
        eventually("a bad request is not repeated", || counts(2, 2)).await;
        send(tracer, 5);
        eventually("later spans are taken", || counts(3, 2)).await;
        stop.cancel();
        task.await.unwrap();
        assert_eq!(collector.spans().len(), 4);
    }

    #[tokio::test]
    async fn a_busy_collector_is_asked_again_when_it_says() {
        let collector = TraceCollector::start().await;
        let (tracer, exporter) = exporter(&collector);
        collector.answer_next(&[CollectorAnswer::Busy(3)]);
        let stop = CancellationToken::new();
        let task = tokio::spawn(exporter.run(stop.clone()));
        send(tracer, 1);
        eventually("the second try", async || (!collector.spans().is_empty()).then_some(())).await;
        let arrivals = collector.arrivals();
        let pause = arrivals[1] - arrivals[0];
        assert!(pause > Duration::from_millis(2_990), "asked again after {pause:?}");
        stop.cancel();
        task.await.unwrap();
    }

    #[tokio::test]
    async fn a_collector_that_never_answers_holds_up_no_end() {
        let collector = TraceCollector::start().await;
        let timeout = Duration::from_secs(60);
        let (tracer, exporter) = exporter_with(&TraceSettings { timeout, ..settings(&collector) });
        collector.answer_next(&[CollectorAnswer::Never]);
        let stop = CancellationToken::new();
        send(tracer, 1);
        let task = tokio::spawn(exporter.run(stop.clone()));
        eventually("the request to arrive", async || (!collector.authorizations().is_empty()).then_some(()))
            .await;
        send(tracer, 2);
        let stopped = Instant::now();
        stop.cancel();
        task.await.unwrap();
        assert!(stopped.elapsed() < Duration::from_secs(30), "not within the collector's timeout");
        assert_eq!(tracer.counts(), TraceCounts { exported: 0, dropped: [0, 0, 2] });
    }

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(text)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn an_unreachable_collector_is_told_once_and_costs_only_spans() {
        let lines = Lines::default();
        let written = lines.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || written.clone()).finish();
        let _guard = tracing::subscriber::set_default(subscriber);
        let mut collector = TraceCollector::prepared();
        let (tracer, mut exporter) = exporter(&collector);
        send(tracer, 1);
        gather(&mut exporter.spans, &mut exporter.gathered).await;
        let group = exporter.encode_gathered();
        for _ in 0..3 {
            assert!(exporter.send(&group).await.is_err());
        }
        collector.listen().await;
        assert!(exporter.send(&group).await.is_ok());
        collector.answer_next(&[CollectorAnswer::Status(503)]);
        send(tracer, 2);
        let stop = CancellationToken::new();
        stop.cancel();
        exporter.run(stop).await;
        assert_eq!(tracer.counts(), TraceCounts { exported: 1, dropped: [0, 0, 1] });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let count = |part: &str| text.lines().filter(|line| line.contains(part)).count();
        assert_eq!((count("traces cannot be sent"), count("traces are sent again")), (2, 1), "{text}");
        assert!(!text.contains("abc"), "{text}");
    }
}
