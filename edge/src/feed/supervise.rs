//! The owner of one part of a feed: starts it (instruments, plan, records, sockets), restarts it after errors, stops it in order.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use futures_util::FutureExt as _;
use marketprism_adapter_host::contract::{Feed, Instrument, Plan, Venue};
use marketprism_adapter_host::{Adapter, InstrumentIndex};
use marketprism_schema::{Capability, DataType, DataTypeMap, StreamId};
use marketprism_service::{Backoff, clock, error_text, start_thread};
use marketprism_socket::{FeedSockets, SocketCounter};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::context::{FeedContext, FeedSetup};
use super::observer::FrameObserver;
use super::opened::{OpenedPart, PartStart};
use super::parts::{BegunPart, memory_key};
use super::pipeline::{Pipeline, PipelineParts};
use super::positions::FeedPositions;
use super::progress::PipelineProgress;
use super::remark_log::FEED_START;
use super::sources::SourceMap;
use super::status::{FeedPhase, InstrumentEnd, planned_delays_ms};
use crate::audit::{StreamTable, SubscribedStream};
use crate::config::FeedConfig;
use crate::gaps::{Backfill, GapMonitor};
use crate::limits::{FEED_INPUTS_MAX, HANGING_PIPELINES_MAX, SOCKETS_STOP, START_BACKOFF};
use crate::records::{EventEncoder, EventOrigin, RecordBuilder, RecordOptions, Subscription};
use crate::telemetry::{ANY, CoverageIndex, LossAtStop};

/// Label of pipelines that were restarted because they made no progress.
pub const PIPELINE: &str = "pipeline";

/// Runs one part of a feed until it is stopped; a panic is a failure of the part, which starts again.
pub async fn run_part(context: &FeedContext, mut start: PartStart) {
    let mut backoff = Backoff::new(START_BACKOFF.0, START_BACKOFF.1);
    while !context.stop.is_cancelled() {
        let running = AssertUnwindSafe(run_until_stop(context, std::mem::take(&mut start)));
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

async fn run_until_stop(context: &FeedContext, mut start: PartStart) {
    let mut backoff = Backoff::new(START_BACKOFF.0, START_BACKOFF.1);
    while !context.stop.is_cancelled() {
        let opened = tokio::select! {
            biased;
            opened = open(context, std::mem::take(&mut start)) => opened,
            () = context.stop.cancelled() => break,
        };
        let ended = match opened {
            Ok(Some(mut opened)) => match begin(context, &mut opened) {
                Ok(feed) => {
                    backoff.reset();
                    collect(context, opened, feed).await
                }
                Err(error) => {
                    opened.close().await;
                    Err(error)
                }
            },
            Ok(None) => {
                rest(context).await;
                break;
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
async fn collect(context: &FeedContext, opened: OpenedPart, feed: StartedFeed) -> anyhow::Result<()> {
    let OpenedPart { setup: listed_for, adapter, sockets: owned, inputs, .. } = opened;
    let (sockets, stats) = (Arc::downgrade(&owned), Arc::clone(adapter.stats()));
    let (version, progress) = (adapter.adapter().clone(), Arc::new(PipelineProgress::default()));
    let observer = observe(context, &listed_for.config, &version);
    context.status.set_running(version, adapter.instruments(), owned, Arc::clone(&stats), adapter.plan());
    // Ended while the part started.
    let setup = context.setup();
    if context.status.part == 0 && !Arc::ptr_eq(&setup, &listed_for) {
        context.relist.notify_one();
    }
    let times = context.edge.pipeline_times.with_call(setup.config.sandbox.call_deadline);
    let lost = context.parts.lost(context.status.part, adapter.instruments(), setup.reader.selection());
    for (reason, keys) in lost {
        context.status.end_instruments(&keys, InstrumentEnd::Downtime(reason));
    }
    let abort = CancellationToken::new();
    let pipeline = Pipeline::new(PipelineParts {
        inputs,
        adapter,
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
        observer,
        abort: abort.clone(),
        progress: Arc::clone(&progress),
    });
    let (ended, mut end) = oneshot::channel::<()>();
    let builder = std::thread::Builder::new().name(format!("feed-{}", context.status.exchange));
    let (runtime, parts) = (Handle::current(), Arc::clone(&context.parts));
    let thread = start_thread(builder, move || {
        parts.remember(pipeline.run(&runtime));
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

/// A part that does not run leaves the raw frames as they are.
fn observe(context: &FeedContext, config: &FeedConfig, version: &Adapter) -> Option<Arc<dyn FrameObserver>> {
    let observer = context.observer(config)?;
    observer.adapter(version, clock::now_ns());
    Some(observer)
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

/// The pipeline's other parts.
struct StartedFeed {
    sources: SourceMap,
    builder: RecordBuilder,
    gaps: GapMonitor,
    backfill: Option<Backfill>,
    positions: Option<FeedPositions>,
}

/// `None`: nothing of the part is listed any more, but other parts run.
async fn open(context: &FeedContext, start: PartStart) -> anyhow::Result<Option<OpenedPart>> {
    let (setup, instruments) = match start {
        PartStart::Opened(opened) => return Ok(Some(*opened)),
        PartStart::Instruments(instruments) => (context.setup(), instruments),
        PartStart::Lists => listed(context).await?,
    };
    if instruments.is_empty() {
        return Ok(None);
    }
    ensure!(
        !context.edge.hanging.is_full(),
        "{HANGING_PIPELINES_MAX} pipelines hang, and no other may: restart the edge"
    );
    OpenedPart::open(context, &setup, instruments, FEED_INPUTS_MAX).map(Some)
}

/// The part's instruments that the venue lists at the moment.
async fn listed(context: &FeedContext) -> anyhow::Result<(Arc<FeedSetup>, Vec<Instrument>)> {
    let is_first = context.status.part == 0;
    loop {
        let setup = context.setup();
        // A part that starts again needs what it had, whether it trades or not.
        let observer = context.observer(&setup.config);
        let listing = setup.reader.read(&context.parts.keys(), observer.as_deref()).await?;
        if let Some(outranked) = listing.outranked() {
            context.parts.outrank(outranked, Some(context.status.part));
        }
        let BegunPart { instruments, resized } =
            context.parts.begin(context.status.part, &listing.instruments, listing.asked_ns);
        context.doubt_quantities(&resized, clock::now_ns());
        let newest = context.setup();
        if !Arc::ptr_eq(&setup, &newest) {
            // A reload came meanwhile.
            context.parts.deselect(newest.reader.selection());
            continue;
        }
        if is_first {
            context.publish_not_listed(&listing);
        }
        context.publish_ranking(&listing);
        context.report_terms(&listing);
        let others = is_first && !context.parts.keys().is_empty();
        ensure!(others || !instruments.is_empty(), "the venue lists no instrument of this part any more");
        return Ok((setup, instruments));
    }
}

async fn rest(context: &FeedContext) {
    let (auditor, feed) = (&context.edge.auditor, context.audit_feed);
    auditor.subscribe(feed, &[], clock::now_ns());
    auditor.feed_ended(feed, None);
    context.status.set_resting();
    context.stop.cancelled().await;
}

/// From here on the part's streams are audited.
fn begin(context: &FeedContext, opened: &mut OpenedPart) -> anyhow::Result<StartedFeed> {
    let mut memories = std::mem::take(&mut opened.memories);
    let (OpenedPart { feed, adapter: supervisor, .. }, config) = (&*opened, &opened.setup.config);
    let (plan, instruments, adapter) = (supervisor.plan(), supervisor.instruments(), supervisor.adapter());
    let sources = SourceMap::new(plan, instruments.len());
    let (mut builder, streams) = record_builder(context, config, (feed, adapter), instruments, plan)?;
    let is_backfilled = config.backfill && context.recorder.is_none() && offers_backfill(adapter, config);
    let backfill = is_backfilled.then(|| Backfill::new(&context.edge.metrics, &config.exchange));
    let positions = is_backfilled
        .then(|| FeedPositions::new(Arc::clone(&context.edge.positions), &config.exchange, instruments));
    if let Some(positions) = &positions {
        positions.resume(&mut builder);
    }
    for (index, instrument) in InstrumentIndex::enumerate(instruments) {
        if let Some(memory) = memories.remove(&memory_key(instrument)) {
            builder.recall(index, memory);
        }
    }
    let since_ns = context.edge.auditor.since_ns(context.audit_feed).unwrap_or_else(clock::now_ns);
    let gaps =
        GapMonitor::new(Arc::clone(&context.edge.auditor), context.audit_feed, streams, plan, since_ns);
    tracing::info!(
        exchange = config.exchange,
        part = context.status.part,
        instruments = instruments.len(),
        connections = plan.connections.len(),
        polls = plan.polls.len(),
        "feed started"
    );
    Ok(StartedFeed { sources, builder, gaps, backfill, positions })
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
    let options =
        RecordOptions::new(venue, feed, instruments, plan, &config.data_types, config.book_interval());
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
