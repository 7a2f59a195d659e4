//! From a configured feed to one that collects: instruments, plan, sockets, pipeline.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Context, bail};
use bytes::Bytes;
use marketprism_adapter_host::contract::{self, Answer, Capability, Feed, Instrument, Plan};
use marketprism_adapter_host::{
    Adapter, AdapterSupervisor, FaultPolicy, InstrumentIndex, InstrumentRounds, Sandbox, Stats,
};
use marketprism_schema::{DataType, StreamId};
use marketprism_socket::{BackoffOptions, FeedSockets, SocketEvent, SocketOptions, http_client};
use tokio::sync::mpsc::{Receiver, channel};

use super::sources::SourceMap;
use super::status::InstrumentName;
use super::supervise::FeedContext;
use crate::audit::StreamTable;
use crate::books::BooksPlan;
use crate::clock;
use crate::config::FeedConfig;
use crate::contract::{contract_data_type, contract_market_type, data_type, market_type};
use crate::gaps::GapMonitor;
use crate::limits::FEED_INPUTS_MAX;
use crate::records::{EventEncoder, Origin, RecordBuilder, RecordOptions, Subscription};

/// A feed that collects; its pipeline does not run yet.
pub struct StartedFeed {
    /// The loaded adapter.
    pub adapter: AdapterSupervisor,
    /// What it collects.
    pub instruments: Vec<Instrument>,
    /// What the source numbers stand for.
    pub sources: SourceMap,
    /// Makes its records.
    pub router: RecordBuilder,
    /// Notices for the audits what events do not tell.
    pub watch: GapMonitor,
    /// Its connections.
    pub sockets: Arc<FeedSockets>,
    /// What they give.
    pub inputs: Receiver<SocketEvent>,
}

/// The feed in the contract's words.
#[must_use]
pub fn contract_feed(config: &FeedConfig) -> Feed {
    let endpoint =
        |(name, url): (&String, &String)| contract::Endpoint { name: name.clone(), default_url: url.clone() };
    Feed {
        exchange: config.exchange.clone(),
        symbols: config.symbols.clone(),
        market_types: config.market_types.iter().copied().map(contract_market_type).collect(),
        data_types: config.data_types.iter().copied().map(contract_data_type).collect(),
        depth: config.depth,
        endpoints: config.endpoints.iter().map(endpoint).collect(),
    }
}

/// What the adapter says about a data type at an exchange.
#[must_use]
pub fn capability<'a>(adapter: &'a Adapter, exchange: &str, kind: DataType) -> Option<&'a Capability> {
    adapter.venue(exchange)?.capabilities.iter().find(|capability| data_type(capability.data_type) == kind)
}

/// One try to start a feed.
pub(super) async fn start(context: &FeedContext, config: &FeedConfig) -> anyhow::Result<StartedFeed> {
    let feed = contract_feed(config);
    let options = socket_options(context, config);
    let (adapter, limits) = (&context.status.adapter, Arc::new(context.sandbox.limits()));
    let mut first = Sandbox::new(adapter, &limits, &Arc::new(Stats::default()))?;
    let answers = instrument_answers(context, &mut first, &feed, &options).await?;
    let supervised = blocking(|| {
        let instruments = listed_instruments(&mut first, &feed, &answers)?;
        let quarantine = Some(Arc::clone(&context.quarantine));
        let policy = FaultPolicy::default();
        Ok::<_, anyhow::Error>(AdapterSupervisor::start(
            adapter,
            &limits,
            policy,
            feed,
            instruments,
            quarantine,
        )?)
    })?;
    drop((first, answers));
    let (plan, instruments) = (supervised.plan(), supervised.instruments().to_vec());
    let sources = SourceMap::new(plan, instruments.len());
    let (router, streams) = router(context, config, &instruments, plan)?;
    let since_ns = context.auditor.since_ns(context.audited).unwrap_or_else(clock::now_ns);
    let watch = GapMonitor::new(Arc::clone(&context.auditor), context.audited, streams, plan, since_ns);
    let (sender, inputs) = channel(FEED_INPUTS_MAX);
    let sockets = FeedSockets::start(plan, options, context.budgets.clone(), sender)?;
    tracing::info!(
        exchange = config.exchange,
        instruments = instruments.len(),
        connections = plan.connections.len(),
        polls = plan.polls.len(),
        "the feed starts"
    );
    let sockets = Arc::new(sockets);
    Ok(StartedFeed { adapter: supervised, instruments, sources, router, watch, sockets, inputs })
}

fn socket_options(context: &FeedContext, config: &FeedConfig) -> SocketOptions {
    let usual = SocketOptions::default();
    SocketOptions {
        ca_files: config.ca_file.iter().cloned().collect(),
        report_sent: context.tap.is_some(),
        backoff: BackoffOptions { cap: config.reconnect_wait_max, ..usual.backoff },
        ..usual
    }
}

async fn instrument_answers(
    context: &FeedContext,
    adapter: &mut Sandbox,
    feed: &Feed,
    options: &SocketOptions,
) -> anyhow::Result<Vec<Answer>> {
    let client = http_client(options)?;
    let mut rounds = InstrumentRounds::new(&context.sandbox.limits());
    loop {
        let requests = blocking(|| rounds.next(adapter, feed))?;
        if requests.is_empty() {
            return Ok(rounds.into_answers());
        }
        for (position, request) in requests.iter().enumerate() {
            let fetched = client.fetch(&context.budgets, request).await;
            let body: Bytes = fetched.with_context(|| format!("the instruments of {}", request.url))?;
            if let Some(tap) = &context.tap {
                tap.answer(&request.url, &body, clock::now_ns());
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
        bail!("the venue has no instrument for symbols {:?}", feed.symbols);
    }
    let mut seen = BTreeSet::new();
    for instrument in &instruments {
        if !seen.insert((instrument.venue_symbol.as_str(), market_type(instrument.market_type))) {
            bail!("the adapter names instrument {:?} twice", instrument.venue_symbol);
        }
    }
    Ok(instruments)
}

fn router(
    context: &FeedContext,
    config: &FeedConfig,
    instruments: &[Instrument],
    plan: &Plan,
) -> anyhow::Result<(RecordBuilder, StreamTable)> {
    let adapter = &context.status.adapter;
    let of = |kind| capability(adapter, &config.exchange, kind);
    let books = of(DataType::OrderBook).filter(|_| config.data_types.contains(&DataType::OrderBook));
    let plan = RecordOptions {
        books: books.map(|capability| {
            BooksPlan::new(capability, instruments, plan, config.depth, config.publish_interval)
        }),
        asked: Subscription::new(
            adapter.venue(&config.exchange),
            &config.data_types,
            &config.market_types,
            instruments,
        ),
        depth: config.depth,
        contiguous_trade_ids: of(DataType::Trade).is_some_and(|trade| trade.contiguous_trade_ids),
        deduplicate: true,
        every_update: false,
    };
    let origin = Origin {
        edge: context.edge.clone(),
        region: context.region.clone(),
        adapter: adapter.id().to_owned(),
        exchange: config.exchange.clone(),
    };
    let mut rows = [u16::MAX; 8];
    for (row, kind) in rows.iter_mut().zip(DataType::ALL) {
        if config.data_types.contains(kind) {
            *row = context.coverage.row(&config.exchange, *kind);
        }
    }
    let envelope = EventEncoder::new(origin, instruments, rows).context("the adapter's symbols")?;
    let subjects = audited_subjects(config, &plan.asked, instruments);
    let streams = context.auditor.subscribe(context.audited, &subjects, clock::now_ns());
    let envelope = envelope.with_forms(context.wire).with_streams(&streams);
    Ok((RecordBuilder::new(plan, envelope, instruments.len()), streams))
}

/// The streams that a feed asks for, per instrument and data type.
fn audited_subjects(
    config: &FeedConfig,
    asked: &Subscription,
    instruments: &[Instrument],
) -> Vec<[Option<StreamId>; 8]> {
    let subjects = |(number, instrument): (InstrumentIndex, &Instrument)| {
        std::array::from_fn(|position| {
            let kind = DataType::ALL.get(position).filter(|kind| asked.includes(**kind, number))?;
            let market = market_type(instrument.market_type);
            // Checked with the envelope: the symbols are legal.
            StreamId::new(*kind, &config.exchange, market, &instrument.symbol).ok()
        })
    };
    InstrumentIndex::enumerate(instruments).map(subjects).collect()
}

/// The instruments as `/coverage` names them.
pub(super) fn instrument_names(instruments: &[Instrument]) -> Vec<InstrumentName> {
    let name = |instrument: &Instrument| InstrumentName {
        symbol: instrument.symbol.clone(),
        venue_symbol: instrument.venue_symbol.clone(),
        market_type: market_type(instrument.market_type),
    };
    instruments.iter().map(name).collect()
}

/// Calls into an adapter: up to seconds of computing, which must not hold up other tasks.
fn blocking<T>(work: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(work)
}
