//! A part whose sockets collect before its pipeline runs. A part that takes another one's place opens its connections first: their frames wait
//! in its queue of inputs until the other one has ended, and what both have is published once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use marketprism_adapter_host::contract::{Feed, Instrument};
use marketprism_adapter_host::{AdapterSupervisor, FaultPolicy};
use marketprism_socket::{
    ConnectionStatus, FeedSockets, InputBounds, InputReceiver, SocketOptions, SubscriptionPhase, input_queue,
};
use tokio::task::block_in_place;
use tokio::time::sleep;

use super::context::{FeedContext, FeedSetup, socket_options};
use super::parts::StreamMemories;
use super::remark_log::OVERLAP;
use crate::limits::{FEED_INPUT_BYTES_MAX, OVERLAP_LOOK, OVERLAP_WAIT, SOCKETS_STOP, SYMBOLS_NAMED_MAX};
use crate::telemetry::ANY;

/// First start of a part.
#[derive(Default)]
pub enum PartStart {
    /// It reads the venue's lists.
    #[default]
    Lists,
    Instruments(Vec<Instrument>),
    Opened(Box<OpenedPart>),
}

pub struct OpenedPart {
    pub setup: Arc<FeedSetup>,
    pub feed: Feed,
    pub adapter: AdapterSupervisor,
    pub sockets: Arc<FeedSockets>,
    pub inputs: InputReceiver,
    /// Of the pipelines whose place it takes.
    pub memories: StreamMemories,
}

impl OpenedPart {
    /// Opens the connections of these instruments, with a queue for so many inputs.
    pub fn open(
        context: &FeedContext,
        setup: &Arc<FeedSetup>,
        instruments: Vec<Instrument>,
        inputs_max: usize,
    ) -> anyhow::Result<Self> {
        let FeedSetup { config, reader } = &**setup;
        let feed = reader.feed(&instruments);
        // The other parts have the same venue.
        let is_measured = context.status.part == 0 && context.recorder.is_none();
        let clock = if is_measured { context.edge.clocks.options(&config.exchange) } else { None };
        let options = SocketOptions { clock, ..socket_options(config, context.is_observed(config)) };
        let (adapter, limits) = (context.status.current.get(), Arc::new(config.sandbox.limits()));
        let quarantine = Some(Arc::clone(&context.edge.quarantine));
        // Calls into an adapter may compute for seconds.
        let adapter = block_in_place(|| {
            let policy = FaultPolicy::default();
            AdapterSupervisor::start(&adapter, &limits, policy, feed.clone(), instruments, quarantine)
        })?;
        let bounds = InputBounds { events: inputs_max, bytes: FEED_INPUT_BYTES_MAX };
        let (sender, inputs) = input_queue(bounds);
        let sockets = FeedSockets::start(adapter.plan(), options, context.edge.budgets.clone(), sender)?;
        let (setup, sockets) = (Arc::clone(setup), Arc::new(sockets));
        Ok(Self { setup, feed, adapter, sockets, inputs, memories: StreamMemories::new() })
    }

    /// Waits until each connection is subscribed, has brought something since, and has settled, as a connection that replaces another one. `Some`:
    /// connections that were not subscribed in time, as when the venue's budget of connections has no room for both; those that are only silent
    /// are not waited for any longer.
    pub async fn wait_until_subscribed(&self, context: &FeedContext) -> Option<String> {
        let settle = self.sockets.settle_time();
        let (began, limit) = (Instant::now(), OVERLAP_WAIT + self.sockets.opening_time() + settle);
        loop {
            let status = self.sockets.status();
            if status.iter().all(|connection| has_settled(connection, settle)) {
                return None;
            }
            if began.elapsed() >= limit {
                return late(&status, limit).inspect(|_| {
                    let labels = [context.status.exchange.as_str(), ANY, OVERLAP];
                    context.edge.metrics.collector_errors.with_label_values(&labels).inc();
                });
            }
            tokio::select! {
                () = sleep(OVERLAP_LOOK) => {}
                () = context.stop.cancelled() => return None,
            }
        }
    }

    /// Closes the connections: the part does not start.
    pub async fn close(self) {
        let Self { sockets, inputs, .. } = self;
        // Nobody else has them, and nothing of them is waited for.
        drop(inputs);
        if let Some(sockets) = Arc::into_inner(sockets) {
            sockets.stop(SOCKETS_STOP).await;
        }
    }
}

fn has_settled(connection: &ConnectionStatus, settle: Duration) -> bool {
    matches!(connection.subscription, SubscriptionPhase::Answered(at) if at.elapsed() >= settle)
}

/// Names the connections that are not subscribed.
fn late(status: &[ConnectionStatus], limit: Duration) -> Option<String> {
    let late = status.iter().filter(|connection| connection.subscription == SubscriptionPhase::Pending);
    let late: Vec<&str> = late.map(|connection| connection.name.as_str()).collect();
    let named = late.get(..SYMBOLS_NAMED_MAX).unwrap_or(&late).join(", ");
    (!late.is_empty()).then(|| {
        format!(
            "{} of {} new connections were not subscribed within {limit:?} ({named}): the old ones were closed first",
            late.len(),
            status.len()
        )
    })
}
