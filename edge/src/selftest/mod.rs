//! The synthetic stream: numbered trades on the way of every other event, from the records through queue and journal to the broker. It is
//! audited as a feed whose only connection never breaks, so that a hole in its ids in hot is a loss on this way.

mod ticks;

pub use ticks::Ticks;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use anyhow::Context as _;
use futures_util::FutureExt as _;
use marketprism_adapter_host::SourceIndex;
use marketprism_adapter_host::contract::{
    Connection, DataStream, DataType as ContractType, Decimal, Heartbeat, Instrument, Payload, Plan, Side,
    Trade, TradeId,
};
use marketprism_schema::{
    Capability, Completeness, DataType, DataTypeMap, Numbering, SELFTEST_EXCHANGE, SELFTEST_MARKET, StreamId,
    WireForm, selftest_symbol,
};
use marketprism_service::clock;
use marketprism_socket::CloseReason;
use prometheus::{Histogram, IntCounter};
use tokio::task::block_in_place;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::audit::{AuditFeed, Auditor};
use crate::config::SelfTestSettings;
use crate::gaps::GapMonitor;
use crate::queue::{EventQueue, EventRecord, QueueLane};
use crate::records::{EventEncoder, EventOrigin, RecordBuilder, RecordOptions, Subscription};
use crate::telemetry::{Coverage, CoverageIndex, Metrics, seconds_between};

/// Nanoseconds in a microsecond.
const MICRO_NS: i64 = 1_000;

/// Parts of the edge that the stream passes through.
pub struct SelfTestParts {
    pub edge: String,
    pub region: String,
    pub settings: SelfTestSettings,
    pub form: WireForm,
    pub auditor: Arc<Auditor>,
    pub queue: Arc<dyn EventQueue>,
    pub lane: QueueLane,
    pub coverage: Arc<Coverage>,
    pub metrics: Metrics,
}

pub struct SelfTest {
    ticks: Ticks,
    builder: RecordBuilder,
    gaps: GapMonitor,
    audit_feed: AuditFeed,
    records: Vec<EventRecord>,
    auditor: Arc<Auditor>,
    queue: Arc<dyn EventQueue>,
    lane: QueueLane,
    events: IntCounter,
    /// From the time of a tick.
    delay: Histogram,
}

impl SelfTest {
    pub fn new(parts: SelfTestParts) -> anyhow::Result<Self> {
        let SelfTestParts { edge, region, settings, form, auditor, queue, lane, coverage, metrics } = parts;
        let instrument = instrument(&edge, settings.rate);
        let origin = EventOrigin {
            edge,
            region,
            adapter: format!("selftest@{}", env!("CARGO_PKG_VERSION")),
            exchange: SELFTEST_EXCHANGE.to_owned(),
        };
        let id = StreamId::new(DataType::Trade, SELFTEST_EXCHANGE, SELFTEST_MARKET, &instrument.symbol)
            .context("symbol of the self-test")?;
        let capability = Capability {
            numbering: Numbering::ByOne,
            completeness: Completeness::Complete,
            delay_seconds: 0,
        };
        let subscribed =
            DataTypeMap::from_fn(|kind| (kind == DataType::Trade).then(|| (id.clone(), capability)));
        let audit_feed = auditor.feed(SELFTEST_EXCHANGE);
        let streams = auditor.subscribe(audit_feed, &[subscribed], clock::now_ns());
        let since_ns = auditor.since_ns(audit_feed).unwrap_or_else(clock::now_ns);
        let row = coverage.row(SELFTEST_EXCHANGE, DataType::Trade);
        let coverage = DataTypeMap::from_fn(|kind| match kind {
            DataType::Trade => row,
            _ => CoverageIndex::NONE,
        });
        let (plan, labels) = (plan(), [SELFTEST_EXCHANGE, DataType::Trade.as_str()]);
        let encoder = EventEncoder::new(origin, &[instrument])
            .context("symbol of the self-test")?
            .with_coverage(coverage)
            .with_forms(DataTypeMap::from_fn(|_| form))
            .with_streams(&streams);
        let options = RecordOptions {
            books: None,
            subscription: Subscription::everything(1),
            depth: 0,
            contiguous_trade_ids: true,
            deduplicate: false,
            every_update: false,
        };
        Ok(Self {
            ticks: Ticks::new(settings.rate, since_ns),
            builder: RecordBuilder::new(options, encoder, 1),
            gaps: GapMonitor::new(Arc::clone(&auditor), audit_feed, streams, &plan, since_ns),
            audit_feed,
            records: Vec::new(),
            auditor,
            queue,
            lane,
            events: metrics.events.with_label_values(&labels),
            delay: metrics.venue_to_edge.with_label_values(&labels),
        })
    }

    /// Publishes until `stop`. A panic ends the stream, and holds up no audit of the others.
    pub async fn run(self, stop: CancellationToken) {
        let (auditor, audit_feed) = (Arc::clone(&self.auditor), self.audit_feed);
        if AssertUnwindSafe(self.publish_until(stop)).catch_unwind().await.is_err() {
            tracing::error!("the self-test panicked: its stream ends here, until the next start of the edge");
            auditor.feed_ended(audit_feed, Some("the self-test panicked"));
        }
    }

    /// Everything is in the queue at the end.
    async fn publish_until(mut self, stop: CancellationToken) {
        loop {
            // Its queue may be full.
            block_in_place(|| self.publish(clock::now_ns()));
            let wait = self.ticks.wait(clock::now_ns());
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = sleep(wait) => {}
            }
        }
        let now_ns = clock::now_ns();
        block_in_place(|| self.publish(now_ns));
        self.gaps.closed((SourceIndex::default(), 0), &CloseReason::Stopped, now_ns, false);
        self.gaps.finish();
        self.auditor.feed_ended(self.audit_feed, None);
    }

    fn publish(&mut self, now_ns: i64) {
        let source = SourceIndex::default();
        let mut published = 0;
        for tick in self.ticks.due(now_ns) {
            let time_us = self.ticks.time_ns(tick) / MICRO_NS;
            let one = Decimal { mantissa: 1, scale: 0 };
            let trade = Payload::Trade(Trade {
                instrument: 0,
                time_us,
                id: TradeId::Number(u64::try_from(tick).unwrap_or_default()),
                price: one,
                quantity: one,
                side: Side::Buy,
            });
            self.gaps.frame((source, 0), now_ns, Some(now_ns));
            self.builder.event(&trade, &[], now_ns, now_ns, &mut self.records);
            self.gaps.event((source, 0), now_ns, Some(time_us));
            self.delay.observe(seconds_between(self.ticks.time_ns(tick), now_ns));
            published += 1;
        }
        for invalid in self.builder.take_invalid() {
            // Unreachable: the values are fixed, and the clock is that of the receive time.
            tracing::error!(error = %invalid.error, "an event of the self-test is lost");
        }
        self.events.inc_by(published);
        // Nothing is requested again: there is no venue.
        drop(self.builder.take_trade_holes());
        self.gaps.end_turn(&mut self.builder, now_ns);
        // What does not fit is counted by the queue.
        self.queue.append(self.lane, &mut self.records);
        self.gaps.report(&mut self.builder, &[]);
    }
}

fn instrument(edge: &str, rate: u32) -> Instrument {
    let symbol = selftest_symbol(edge, rate);
    Instrument {
        venue_symbol: symbol.clone(),
        symbol,
        market_type: SELFTEST_MARKET.into(),
        base: edge.to_ascii_uppercase(),
        quote: format!("{rate}HZ"),
        contract_size: None,
        contract_value: None,
        price_scale: 0,
        quantity_scale: 0,
        tick_size: None,
        step_size: None,
        trading: true,
    }
}

/// A connection that is never opened, for the audits.
fn plan() -> Plan {
    let stream = DataStream {
        data_type: ContractType::Trade,
        instrument: Some(0),
        expected_silence_ms: 0,
        resubscribe: Vec::new(),
    };
    let connection = Connection {
        name: "selftest".to_owned(),
        url: String::new(),
        headers: Vec::new(),
        on_open: Vec::new(),
        heartbeat: Heartbeat::Passive,
        idle_timeout_ms: 0,
        max_age_ms: 0,
        messages_max: 0,
        messages_window_ms: 0,
        charges: Vec::new(),
        streams: vec![stream],
    };
    Plan {
        connections: vec![connection],
        polls: Vec::new(),
        resyncs: Vec::new(),
        budgets: Vec::new(),
        clock: None,
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::Notify;

    use super::*;
    use crate::audit::AuditOrigin;
    use crate::queue::{AppendResult, Confirmation, DiscardQueue, QueueEntry, QueueStatus};

    #[derive(Default)]
    struct BrokenQueue(DiscardQueue);

    impl EventQueue for BrokenQueue {
        fn append(&self, _lane: QueueLane, _records: &mut Vec<EventRecord>) -> AppendResult {
            panic!("no queue")
        }

        fn read_next(&self, _messages_max: usize, _bytes_max: usize, _out: &mut Vec<QueueEntry>) {}

        fn confirm(&self, _confirmations: &[Confirmation]) {}

        fn oldest_pending_ns(&self) -> Option<i64> {
            None
        }

        fn readable(&self) -> &Notify {
            self.0.readable()
        }

        fn status(&self) -> QueueStatus {
            self.0.status()
        }
    }

    /// The audits' frontier is the least of all feeds.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_panic_of_the_self_test_holds_up_no_audit() {
        let auditor = Arc::new(Auditor::new(AuditOrigin::fixture(clock::now_ns())));
        let selftest = SelfTest::new(SelfTestParts {
            edge: "e1".to_owned(),
            region: "r1".to_owned(),
            settings: SelfTestSettings { enabled: true, rate: 10 },
            form: WireForm::Json,
            auditor: Arc::clone(&auditor),
            queue: Arc::new(BrokenQueue::default()),
            lane: QueueLane::of_feed(0),
            coverage: Arc::new(Coverage::default()),
            metrics: Metrics::new().unwrap(),
        })
        .unwrap();
        assert_ne!(auditor.frontier_ns(), i64::MAX);
        selftest.run(CancellationToken::new()).await;
        assert_eq!(auditor.frontier_ns(), i64::MAX);
    }
}
