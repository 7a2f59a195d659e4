//! The owner of one part of a feed: starts it (instruments, plan, records, sockets), restarts it after errors, stops it in order.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use futures_util::FutureExt as _;
use marketprism_adapter_host::contract::{Feed, Instrument, Plan, Venue};
use marketprism_adapter_host::{Adapter, AdapterSupervisor, FaultPolicy, InstrumentIndex};
use marketprism_schema::{Capability, DataType, DataTypeMap, StreamId};
use marketprism_service::{Backoff, clock, error_text, start_thread};
use marketprism_socket::{FeedSockets, InputBounds, InputReceiver, SocketCounter, input_queue};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::block_in_place;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::context::{FeedContext, FeedSetup, socket_options};
use super::pipeline::{Pipeline, PipelineParts};
use super::positions::FeedPositions;
use super::progress::PipelineProgress;
use super::remark_log::FEED_START;
use super::sources::SourceMap;
use super::status::{FeedPhase, InstrumentEnd, planned_delays_ms};
use crate::audit::{StreamTable, SubscribedStream};
use crate::config::FeedConfig;
use crate::gaps::{Backfill, GapMonitor};
use crate::limits::{
    FEED_INPUT_BYTES_MAX, FEED_INPUTS_MAX, HANGING_PIPELINES_MAX, SOCKETS_STOP, START_BACKOFF,
};
use crate::records::{EventEncoder, EventOrigin, RecordBuilder, RecordOptions, Subscription};
use crate::telemetry::{ANY, CoverageIndex, LossAtStop};

/// Label of pipelines that were restarted because they made no progress.
pub const PIPELINE: &str = "pipeline";

/// Runs one part of a feed until it is stopped; a panic is a failure of the part, which starts again. `instruments`: of its first start, else
/// the venue's lists are read.
pub async fn run_part(context: &FeedContext, mut instruments: Option<Vec<Instrument>>) {
    let mut backoff = Backoff::new(START_BACKOFF.0, START_BACKOFF.1);
    while !context.stop.is_cancelled() {
        let running = AssertUnwindSafe(run_until_stop(context, instruments.take()));
        if running.catch_unwind().await.is_ok() {
            return;
        }
        tracing::error!(
            exchange = context.status.exchange,
            part = context.status.part,
            "the feed panicked, starting it again"
        );
        // Its pipeline ends with them.
        stop_sockets(context).await;
        fail(context, "its task panicked".to_owned());
        tokio::select! {
            () = sleep(backoff.pause()) => {}
            () = context.stop.cancelled() => {}
        }
    }
    end(context);
}

fn fail(context: &FeedContext, error: String) {
    let labels = [context.status.exchange.as_str(), ANY, FEED_START];
    context.edge.metrics.collector_errors.with_label_values(&labels).inc();
    context.edge.auditor.feed_ended(context.audit_feed, Some(&error));
    context.status.set_phase(FeedPhase::Starting(error));
}

fn end(context: &FeedContext) {
    context.edge.auditor.feed_ended(context.audit_feed, None);
    context.status.set_phase(FeedPhase::Stopped);
}

async fn run_until_stop(context: &FeedContext, mut instruments: Option<Vec<Instrument>>) {
    let mut backoff = Backoff::new(START_BACKOFF.0, START_BACKOFF.1);
    while !context.stop.is_cancelled() {
        let listing = async {
            match instruments.take() {
                Some(instruments) => Ok((context.setup(), instruments)),
                None => listed(context).await,
            }
        };
        let listed = tokio::select! {
            listed = listing => listed,
            () = context.stop.cancelled() => break,
        };
        if listed.as_ref().is_ok_and(|(_, instruments)| instruments.is_empty()) {
            rest(context).await;
            break;
        }
        let started =
            listed.and_then(|(setup, instruments)| Ok((start(context, &setup, instruments)?, setup)));
        let ended = match started {
            Ok((feed, setup)) => {
                backoff.reset();
                collect(context, feed, &setup).await
            }
            Err(error) => Err(error),
        };
        let Err(error) = ended else { break };
        let error = error_text(error.as_ref());
        tracing::error!(exchange = context.status.exchange, error, "the feed failed, starting it again");
        fail(context, error);
        tokio::select! {
            () = sleep(backoff.pause()) => {}
            () = context.stop.cancelled() => break,
        }
    }
    end(context);
}

/// Runs the pipeline until the feed is stopped; any other end is an error.
async fn collect(
    context: &FeedContext,
    feed: StartedFeed,
    listed_for: &Arc<FeedSetup>,
) -> anyhow::Result<()> {
    let sockets = Arc::downgrade(&feed.sockets);
    let (stats, adapter) = (Arc::clone(feed.adapter.stats()), &feed.adapter);
    let (version, progress) = (adapter.adapter().clone(), Arc::new(PipelineProgress::default()));
    let instruments = adapter.instruments();
    context.status.set_running(version, instruments, feed.sockets, Arc::clone(&stats), adapter.plan());
    // Ended while the part started.
    let setup = context.setup();
    if context.status.part == 0 && !Arc::ptr_eq(&setup, listed_for) {
        context.relist.notify_one();
    }
    let times = context.edge.pipeline_times.with_call(setup.config.sandbox.call_deadline);
    let lost = context.parts.lost(context.status.part, adapter.instruments(), setup.reader.selection());
    for (reason, keys) in lost {
        context.status.end_instruments(&keys, InstrumentEnd::Downtime(reason));
    }
    let abort = CancellationToken::new();
    let pipeline = Pipeline::new(PipelineParts {
        inputs: feed.inputs,
        adapter: feed.adapter,
        builder: feed.builder,
        sources: feed.sources,
        sockets,
        queue: Arc::clone(&context.edge.queue),
        lane: context.lane,
        status: Arc::clone(&context.status),
        metrics: context.edge.metrics.clone(),
        gaps: feed.gaps,
        backfill: feed.backfill,
        positions: feed.positions,
        observer: context.observer.clone(),
        abort: abort.clone(),
        progress: Arc::clone(&progress),
    });
    let (ended, mut end) = oneshot::channel::<()>();
    let runtime = Handle::current();
    let builder = std::thread::Builder::new().name(format!("feed-{}", context.status.exchange));
    let thread = start_thread(builder, move || {
        pipeline.run(&runtime);
        // Wakes the receiver, if it is still there.
        drop(ended);
    })
    .context("the pipeline's thread cannot start")?;
    let (was_stopped, is_stuck) = tokio::select! {
        _ = &mut end => (false, false),
        () = context.stop.cancelled() => (true, false),
        () = progress.until_stuck(&stats, context.edge.queue.as_ref(), times) => (false, true),
    };
    let drain = async |end: &mut oneshot::Receiver<()>| timeout(times.drain, end).await.is_ok();
    stop_sockets(context).await;
    let mut has_ended = !(was_stopped || is_stuck) || (was_stopped && drain(&mut end).await);
    if !has_ended {
        let (exchange, limit) = (&context.status.exchange, times.drain);
        tracing::warn!(exchange, ?limit, "the pipeline did not drain in time, frames may be lost");
        abort.cancel();
        has_ended = drain(&mut end).await;
    }
    if !has_ended {
        give_up(context, &progress, thread);
        if was_stopped {
            // One for the frames that nobody can count.
            context.edge.metrics.lost_at_stop(LossAtStop::Unprocessed, 1);
            context.edge.auditor.feed_ended(context.audit_feed, Some("the pipeline hung at the stop"));
        }
    } else {
        let joined = tokio::task::block_in_place(|| thread.join());
        ensure!(joined.is_ok(), "the pipeline panicked");
    }
    if is_stuck {
        let labels = [context.status.exchange.as_str(), PIPELINE];
        context.edge.metrics.stuck_restarts.with_label_values(&labels).inc();
        bail!("the pipeline made no progress for {:?}", times.check_every.saturating_mul(times.checks));
    }
    ensure!(was_stopped, "the pipeline ended without a stop");
    Ok(())
}

/// Leaves a thread that does not end to itself.
fn give_up(context: &FeedContext, progress: &PipelineProgress, thread: JoinHandle<()>) {
    progress.give_up();
    context.edge.hanging.add(thread);
    let (exchange, hanging) = (&context.status.exchange, context.edge.hanging.count());
    tracing::error!(
        exchange,
        hanging,
        "the pipeline's thread hangs: it is given up with the frames that it has"
    );
}

/// Waits until nobody reads the sockets, then stops them.
async fn stop_sockets(context: &FeedContext) {
    let Some(mut sockets) = context.status.take_sockets() else { return };
    let deadline = Instant::now() + SOCKETS_STOP;
    loop {
        match Arc::<FeedSockets>::try_unwrap(sockets) {
            Ok(owned) => {
                let counters = owned.stop(SOCKETS_STOP).await;
                let discarded =
                    [SocketCounter::DiscardedFrameStopping, SocketCounter::DiscardedAnswerStopping];
                let discarded = discarded.into_iter().map(|what| counters[what]).sum();
                return context.edge.metrics.lost_at_stop(LossAtStop::Unprocessed, discarded);
            }
            // A pipeline that hangs holds them; its end stops them.
            Err(_shared) if Instant::now() >= deadline => return,
            Err(shared) => {
                sockets = shared;
                sleep(Duration::from_millis(2)).await;
            }
        }
    }
}

/// A feed whose sockets collect and whose pipeline does not run yet.
struct StartedFeed {
    adapter: AdapterSupervisor,
    sources: SourceMap,
    builder: RecordBuilder,
    gaps: GapMonitor,
    backfill: Option<Backfill>,
    positions: Option<FeedPositions>,
    sockets: Arc<FeedSockets>,
    inputs: InputReceiver,
}

/// The part's instruments that the venue lists at the moment.
async fn listed(context: &FeedContext) -> anyhow::Result<(Arc<FeedSetup>, Vec<Instrument>)> {
    let is_first = context.status.part == 0;
    loop {
        let setup = context.setup();
        // A part that starts again needs what it had, whether it trades or not.
        let listing = setup.reader.read(&context.parts.symbols(), context.observer.as_deref()).await?;
        let instruments = context.parts.begin(context.status.part, &listing.instruments);
        let newest = context.setup();
        if !Arc::ptr_eq(&setup, &newest) {
            // A reload came meanwhile.
            context.parts.deselect(newest.reader.selection());
            continue;
        }
        if is_first {
            context.publish_not_listed(&listing);
        }
        context.tell_terms(&listing);
        let others = is_first && !context.parts.symbols().is_empty();
        ensure!(others || !instruments.is_empty(), "the venue lists no instrument of this part any more");
        return Ok((setup, instruments));
    }
}

/// Nothing of the first part is listed any more, but other parts run.
async fn rest(context: &FeedContext) {
    let (auditor, feed) = (&context.edge.auditor, context.audit_feed);
    auditor.subscribe(feed, &[], clock::now_ns());
    auditor.feed_ended(feed, None);
    context.status.set_resting();
    context.stop.cancelled().await;
}

fn start(
    context: &FeedContext,
    FeedSetup { config, reader }: &FeedSetup,
    instruments: Vec<Instrument>,
) -> anyhow::Result<StartedFeed> {
    ensure!(
        !context.edge.hanging.is_full(),
        "{HANGING_PIPELINES_MAX} pipelines hang, and no other may: restart the edge"
    );
    let feed = reader.feed(&instruments);
    let options = socket_options(config, context.observer.is_some());
    let (adapter, limits) = (context.status.current.get(), Arc::new(config.sandbox.limits()));
    let quarantine = Some(Arc::clone(&context.edge.quarantine));
    // Calls into an adapter may compute for seconds.
    let supervisor = block_in_place(|| {
        AdapterSupervisor::start(
            &adapter,
            &limits,
            FaultPolicy::default(),
            feed.clone(),
            instruments,
            quarantine,
        )
    })?;
    let (plan, instruments) = (supervisor.plan(), supervisor.instruments());
    let sources = SourceMap::new(plan, instruments.len());
    let (mut builder, streams) = record_builder(context, config, (&feed, &adapter), instruments, plan)?;
    let is_backfilled = config.backfill && context.observer.is_none() && offers_backfill(&adapter, config);
    let backfill = is_backfilled.then(|| Backfill::new(&context.edge.metrics, &config.exchange));
    let positions = is_backfilled
        .then(|| FeedPositions::new(Arc::clone(&context.edge.positions), &config.exchange, instruments));
    if let Some(positions) = &positions {
        positions.resume(&mut builder);
    }
    let since_ns = context.edge.auditor.since_ns(context.audit_feed).unwrap_or_else(clock::now_ns);
    let gaps =
        GapMonitor::new(Arc::clone(&context.edge.auditor), context.audit_feed, streams, plan, since_ns);
    let (sender, inputs) = input_queue(InputBounds { events: FEED_INPUTS_MAX, bytes: FEED_INPUT_BYTES_MAX });
    let sockets = Arc::new(FeedSockets::start(plan, options, context.edge.budgets.clone(), sender)?);
    tracing::info!(
        exchange = config.exchange,
        part = context.status.part,
        instruments = instruments.len(),
        connections = plan.connections.len(),
        polls = plan.polls.len(),
        "feed started"
    );
    Ok(StartedFeed { adapter: supervisor, sources, builder, gaps, backfill, positions, sockets, inputs })
}

fn offers_backfill(adapter: &Adapter, config: &FeedConfig) -> bool {
    let venue = adapter.venue(&config.exchange);
    let trades = venue.and_then(|venue| venue.capability(DataType::Trade));
    config.data_types.contains(&DataType::Trade) && trades.is_some_and(|trades| trades.backfill)
}

fn record_builder(
    context: &FeedContext,
    config: &FeedConfig,
    (feed, adapter): (&Feed, &Adapter),
    instruments: &[Instrument],
    plan: &Plan,
) -> anyhow::Result<(RecordBuilder, StreamTable)> {
    let venue = adapter.venue(&config.exchange).context("the adapter does not serve the exchange")?;
    let options = RecordOptions::new(venue, feed, instruments, plan, config.publish_interval);
    let origin = EventOrigin {
        edge: context.edge.name.clone(),
        region: context.edge.region.clone(),
        adapter: adapter.id().to_owned(),
        exchange: config.exchange.clone(),
    };
    let encoder = EventEncoder::new(origin, instruments).context("symbols of the adapter")?;
    let coverage = DataTypeMap::from_fn(|kind| match config.data_types.contains(&kind) {
        true => context.edge.coverage.row(&config.exchange, kind),
        false => CoverageIndex::NONE,
    });
    let capabilities = stream_capabilities(venue, plan);
    let ids = audited_streams(config, &options.subscription, instruments, &capabilities);
    let streams = context.edge.auditor.subscribe(context.audit_feed, &ids, clock::now_ns());
    let encoder = encoder.with_coverage(coverage).with_forms(config.wire).with_streams(&streams);
    Ok((RecordBuilder::new(options, encoder, instruments.len()), streams))
}

/// A data type that the description does not list is never claimed to be more than stored = received.
fn stream_capabilities(venue: &Venue, plan: &Plan) -> DataTypeMap<Capability> {
    let delays_ms = planned_delays_ms(plan);
    DataTypeMap::from_fn(|kind| {
        let described =
            venue.capability(kind).map_or(Capability::UNNUMBERED, |described| described.audited());
        Capability { delay_seconds: delays_ms[kind].div_ceil(1_000), ..described }
    })
}

fn audited_streams(
    config: &FeedConfig,
    subscription: &Subscription,
    instruments: &[Instrument],
    capabilities: &DataTypeMap<Capability>,
) -> Vec<DataTypeMap<Option<SubscribedStream>>> {
    let ids = |(index, instrument): (InstrumentIndex, &Instrument)| {
        DataTypeMap::from_fn(|kind| {
            // The encoder has checked the symbols.
            let id = StreamId::new(kind, &config.exchange, instrument.market_type.into(), &instrument.symbol);
            let id = id.ok().filter(|_| subscription.includes(kind, index));
            id.map(|id| (id, capabilities[kind]))
        })
    };
    InstrumentIndex::enumerate(instruments).map(ids).collect()
}
