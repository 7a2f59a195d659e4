//! The owner of one feed: starts it (instruments, plan, records, sockets), restarts it after errors, stops it in order.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use marketprism_adapter_host::contract::{self, Answer, Feed, Instrument, Plan, Venue};
use marketprism_adapter_host::{
    AdapterSupervisor, FaultPolicy, InstrumentIndex, InstrumentRounds, Sandbox, Stats,
};
use marketprism_config::MaskedUrl;
use marketprism_schema::{Capability, DataTypeMap, MarketType, StreamId};
use marketprism_service::{Backoff, clock, error_text, mask};
use marketprism_socket::{
    BackoffOptions, FeedSockets, InputBounds, InputReceiver, SocketCounter, SocketOptions, http_client,
    input_queue,
};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::block_in_place;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::context::FeedContext;
use super::pipeline::{Pipeline, PipelineParts};
use super::sources::SourceMap;
use super::status::{FeedPhase, planned_delays_ms};
use crate::audit::{StreamTable, SubscribedStream};
use crate::config::{FeedConfig, book_depth};
use crate::gaps::GapMonitor;
use crate::limits::{FEED_INPUT_BYTES_MAX, FEED_INPUTS_MAX, PIPELINES_DRAIN, SOCKETS_STOP, START_BACKOFF};
use crate::records::{EventEncoder, EventOrigin, RecordBuilder, RecordOptions, Subscription};
use crate::telemetry::{CoverageIndex, LossAtStop};

/// Runs one feed until the edge stops its feeds.
pub async fn run_feed(context: FeedContext, config: FeedConfig) {
    let mut backoff = Backoff::new(START_BACKOFF.0, START_BACKOFF.1);
    while !context.edge.stop.is_cancelled() {
        let started = tokio::select! {
            started = start(&context, &config) => started,
            () = context.edge.stop.cancelled() => break,
        };
        let ended = match started {
            Ok(feed) => {
                backoff.reset();
                collect(&context, feed).await
            }
            Err(error) => Err(error),
        };
        let Err(error) = ended else { break };
        let error = error_text(error.as_ref());
        tracing::error!(exchange = config.exchange, error, "the feed failed, starting it again");
        let labels = [config.exchange.as_str(), "any", "feed_start"];
        context.edge.metrics.collector_errors.with_label_values(&labels).inc();
        context.edge.auditor.feed_ended(context.audit_feed, Some(&error));
        context.status.set_phase(FeedPhase::Starting(error));
        tokio::select! {
            () = sleep(backoff.pause()) => {}
            () = context.edge.stop.cancelled() => break,
        }
    }
    context.edge.auditor.feed_ended(context.audit_feed, None);
    context.status.set_phase(FeedPhase::Stopped);
}

/// Runs the pipeline until the feed is stopped; any other end is an error.
async fn collect(context: &FeedContext, feed: StartedFeed) -> anyhow::Result<()> {
    let sockets = Arc::downgrade(&feed.sockets);
    let (stats, adapter) = (Arc::clone(feed.adapter.stats()), &feed.adapter);
    context.status.set_running(adapter.instruments(), feed.sockets, stats, adapter.plan());
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
        observer: context.observer.clone(),
        abort: abort.clone(),
    });
    let (ended, mut end) = oneshot::channel::<()>();
    let runtime = Handle::current();
    let thread = std::thread::Builder::new()
        .name(format!("feed-{}", context.status.exchange))
        .spawn(move || {
            pipeline.run(&runtime);
            // Wakes the receiver, if it is still there.
            drop(ended);
        })
        .context("the pipeline's thread cannot start")?;
    let was_stopped = tokio::select! {
        _ = &mut end => false,
        () = context.edge.stop.cancelled() => true,
    };
    stop_sockets(context).await;
    if was_stopped && timeout(PIPELINES_DRAIN, &mut end).await.is_err() {
        let (exchange, limit) = (&context.status.exchange, PIPELINES_DRAIN);
        tracing::warn!(exchange, ?limit, "the pipeline did not drain in time, frames may be lost");
        abort.cancel();
        let _ = timeout(PIPELINES_DRAIN, &mut end).await;
    }
    if thread.is_finished() || was_stopped {
        let joined = tokio::task::block_in_place(|| thread.join());
        ensure!(joined.is_ok(), "the pipeline panicked");
    }
    ensure!(was_stopped, "the pipeline ended without a stop");
    Ok(())
}

/// Waits until no HTTP page reads the sockets, then stops them.
async fn stop_sockets(context: &FeedContext) {
    let Some(mut sockets) = context.status.take_sockets() else { return };
    loop {
        match Arc::<FeedSockets>::try_unwrap(sockets) {
            Ok(owned) => {
                let counters = owned.stop(SOCKETS_STOP).await;
                let discarded =
                    [SocketCounter::DiscardedFrameStopping, SocketCounter::DiscardedAnswerStopping];
                let discarded = discarded.into_iter().map(|what| counters[what]).sum();
                return context.edge.metrics.lost_at_stop(LossAtStop::Unprocessed, discarded);
            }
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
    sockets: Arc<FeedSockets>,
    inputs: InputReceiver,
}

/// The configured feed as the adapter contract has it.
fn contract_feed(config: &FeedConfig, venue: &contract::Venue) -> Feed {
    let endpoint = |(name, url): (&String, &MaskedUrl)| contract::Endpoint {
        name: name.clone(),
        default_url: url.reveal().to_owned(),
    };
    Feed {
        exchange: config.exchange.clone(),
        symbols: config.symbols.clone(),
        market_types: config.market_types.iter().copied().map(Into::into).collect(),
        data_types: config.data_types.iter().copied().map(Into::into).collect(),
        depth: book_depth(config.depth, venue),
        endpoints: config.endpoints.iter().map(endpoint).collect(),
    }
}

async fn start(context: &FeedContext, config: &FeedConfig) -> anyhow::Result<StartedFeed> {
    let venue =
        context.status.adapter.venue(&config.exchange).context("the adapter does not serve the exchange")?;
    let feed = contract_feed(config, venue);
    let options = socket_options(context, config);
    let (adapter, limits) = (&context.status.adapter, Arc::new(context.edge.sandbox.limits()));
    let mut first = Sandbox::new(adapter, &limits, &Arc::new(Stats::default()))?;
    let answers = instrument_answers(context, &mut first, &feed, &options).await?;
    // Calls into an adapter may compute for seconds.
    let supervisor = block_in_place(|| {
        let instruments = listed_instruments(&mut first, &feed, &answers)?;
        let quarantine = Some(Arc::clone(&context.edge.quarantine));
        let (policy, feed) = (FaultPolicy::default(), feed.clone());
        anyhow::Ok(AdapterSupervisor::start(adapter, &limits, policy, feed, instruments, quarantine)?)
    })?;
    drop((first, answers));
    let (plan, instruments) = (supervisor.plan(), supervisor.instruments());
    let sources = SourceMap::new(plan, instruments.len());
    let (builder, streams) = record_builder(context, config, &feed, instruments, plan)?;
    let since_ns = context.edge.auditor.since_ns(context.audit_feed).unwrap_or_else(clock::now_ns);
    let gaps =
        GapMonitor::new(Arc::clone(&context.edge.auditor), context.audit_feed, streams, plan, since_ns);
    let (sender, inputs) = input_queue(InputBounds { events: FEED_INPUTS_MAX, bytes: FEED_INPUT_BYTES_MAX });
    let sockets = Arc::new(FeedSockets::start(plan, options, context.edge.budgets.clone(), sender)?);
    tracing::info!(
        exchange = config.exchange,
        instruments = instruments.len(),
        connections = plan.connections.len(),
        polls = plan.polls.len(),
        "feed started"
    );
    Ok(StartedFeed { adapter: supervisor, sources, builder, gaps, sockets, inputs })
}

fn socket_options(context: &FeedContext, config: &FeedConfig) -> SocketOptions {
    let defaults = SocketOptions::default();
    SocketOptions {
        ca_files: config.ca_file.iter().cloned().collect(),
        proxy: config.egress.proxy.clone(),
        local_address: config.egress.local_address,
        report_sent: context.observer.is_some(),
        backoff: BackoffOptions { cap: config.reconnect_wait_max, ..defaults.backoff },
        ..defaults
    }
}

async fn instrument_answers(
    context: &FeedContext,
    adapter: &mut Sandbox,
    feed: &Feed,
    options: &SocketOptions,
) -> anyhow::Result<Vec<Answer>> {
    let client = http_client(options)?;
    let mut rounds = InstrumentRounds::new(&context.edge.sandbox.limits());
    loop {
        let requests = block_in_place(|| rounds.next(adapter, feed))?;
        if requests.is_empty() {
            return Ok(rounds.into_answers());
        }
        for (position, request) in requests.iter().enumerate() {
            let fetched = client.fetch(&context.edge.budgets, request).await;
            let body: Bytes = fetched.with_context(|| format!("instrument list {}", mask(&request.url)))?;
            if let Some(observer) = &context.observer {
                observer.answer(&request.url, &body, clock::now_ns());
            }
            rounds.answer(position, body.into())?;
        }
    }
}

/// The instruments of a feed, each of them once.
pub fn listed_instruments(
    adapter: &mut Sandbox,
    feed: &Feed,
    answers: &[Answer],
) -> anyhow::Result<Vec<Instrument>> {
    let instruments = adapter.instruments(feed, answers)?;
    if instruments.is_empty() {
        bail!(
            "the venue lists no instrument for symbols {:?}: check `symbols` and `market_types`",
            feed.symbols
        );
    }
    let mut seen = BTreeSet::new();
    for instrument in &instruments {
        if !seen.insert((instrument.venue_symbol.as_str(), MarketType::from(instrument.market_type))) {
            bail!("the adapter lists instrument {:?} twice", instrument.venue_symbol);
        }
    }
    Ok(instruments)
}

fn record_builder(
    context: &FeedContext,
    config: &FeedConfig,
    feed: &Feed,
    instruments: &[Instrument],
    plan: &Plan,
) -> anyhow::Result<(RecordBuilder, StreamTable)> {
    let adapter = &context.status.adapter;
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
    let encoder = encoder.with_coverage(coverage).with_forms(context.edge.wire).with_streams(&streams);
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
