//! The parts of the edge that its feeds share, and those of one feed.

use std::path::PathBuf;
use std::sync::Arc;

use marketprism_adapter_host::Quarantine;
use marketprism_adapter_host::contract::{Decimal, Instrument};
use marketprism_schema::{DataType, InstrumentTerms, StreamId};
use marketprism_service::clock;
use marketprism_socket::{BackoffOptions, Budgets, SocketOptions};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::listing::{FeedListing, ListingReader, ListingReaders};
use super::observer::FrameObserver;
use super::parts::{InstrumentKey, InstrumentParts, PartNumber, ResizedInstrument, named};
use super::progress::{HangingPipelines, PipelineTimes};
use super::raw_tap::RawTap;
use super::remark_log::LISTING;
use super::status::FeedStatus;
use crate::audit::{AuditFeed, Auditor};
use crate::clocks::VenueClocks;
use crate::config::{Config, CurrentAdapter, FeedConfig};
use crate::gaps::TradePositions;
use crate::journal::{DiskFiles, Journal};
use crate::limits::QUARANTINE_BYTES_MAX;
use crate::queue::{EventQueue, QueueLane};
use crate::raw::RawStores;
use crate::telemetry::{ANY, Coverage, Metrics};

/// Folder of quarantined frames inside the data folder.
const QUARANTINE: &str = "quarantine";

pub struct EdgeContext {
    pub name: String,
    pub region: String,
    pub data_dir: PathBuf,
    pub quarantine: Arc<Quarantine>,
    /// Rate limits, shared by all feeds.
    pub budgets: Budgets,
    pub readers: ListingReaders,
    pub queue: Arc<dyn EventQueue>,
    /// `None`: nothing is kept on disk.
    pub journal: Option<Arc<Journal>>,
    pub coverage: Arc<Coverage>,
    pub auditor: Arc<Auditor>,
    pub metrics: Metrics,
    pub pipeline_times: PipelineTimes,
    pub hanging: HangingPipelines,
    pub positions: Arc<TradePositions>,
    pub clocks: Arc<VenueClocks>,
    /// The synthetic stream, if it is on.
    pub selftest: Option<StreamId>,
    pub raw: RawStores,
    pub stop: CancellationToken,
}

impl EdgeContext {
    pub fn new(config: &Config, queue: Arc<dyn EventQueue>, auditor: Arc<Auditor>) -> anyhow::Result<Self> {
        // All TLS libraries in use share one provider; one that was installed before stays.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let dir = config.data_dir.join(QUARANTINE);
        let quarantine = Quarantine::open(&dir, config.sandbox.quarantine_files, QUARANTINE_BYTES_MAX)?;
        let metrics = Metrics::new()?;
        Ok(Self {
            name: config.name.clone(),
            region: config.region.clone(),
            data_dir: config.data_dir.clone(),
            quarantine: Arc::new(quarantine),
            budgets: Budgets::kept_in(blocks_file(config)),
            readers: ListingReaders::default(),
            queue,
            journal: None,
            coverage: Arc::new(Coverage::default()),
            auditor,
            clocks: Arc::new(VenueClocks::new(config.clock, metrics.clone())),
            selftest: config.selftest_stream(),
            metrics,
            pipeline_times: PipelineTimes::default(),
            hanging: HangingPipelines::default(),
            positions: Arc::new(TradePositions::open(&config.data_dir, &config.name)),
            raw: RawStores::new(&config.data_dir, Arc::new(DiskFiles)),
            stop: CancellationToken::new(),
        })
    }

    /// Keeps the raw frames of a pipeline of this feed, if the feed wants that.
    pub fn raw_tap(&self, config: &FeedConfig) -> Option<Arc<dyn FrameObserver>> {
        let tap = config.raw.enabled.then(|| RawTap::new(&self.raw, &self.data_dir, config));
        tap.map(|tap| Arc::new(tap) as Arc<dyn FrameObserver>)
    }
}

pub struct FeedContext {
    pub edge: Arc<EdgeContext>,
    pub audit_feed: AuditFeed,
    pub lane: QueueLane,
    pub status: Arc<FeedStatus>,
    /// Set by `record`, which keeps the instruments of its start.
    pub recorder: Option<Arc<dyn FrameObserver>>,
    /// Shared by the parts of a feed.
    pub parts: Arc<InstrumentParts>,
    /// Shared by the parts of a feed; a reload replaces it.
    pub setup: Arc<watch::Sender<Arc<FeedSetup>>>,
    /// The feed runs by lists that were read for another setup.
    pub relist: Arc<Notify>,
    pub stop: CancellationToken,
}

/// A feed as it is configured, with the reader of its venue's lists.
#[derive(Debug, Clone)]
pub struct FeedSetup {
    pub config: FeedConfig,
    pub reader: ListingReader,
}

impl FeedSetup {
    pub fn new(
        edge: &EdgeContext,
        config: &FeedConfig,
        adapter: &CurrentAdapter,
        report_sent: bool,
    ) -> anyhow::Result<Self> {
        let options = socket_options(config, report_sent);
        let reader =
            ListingReader::new(adapter, config.sandbox.limits(), edge.budgets.clone(), options, config)?;
        Ok(Self { config: config.clone(), reader })
    }
}

impl FeedContext {
    /// The first part of a feed.
    pub fn new(
        edge: &Arc<EdgeContext>,
        setup: FeedSetup,
        (audit_feed, lane): (AuditFeed, QueueLane),
        adapter: CurrentAdapter,
        recorder: Option<Arc<dyn FrameObserver>>,
    ) -> Self {
        let FeedConfig { exchange, data_types, .. } = &setup.config;
        Self {
            edge: Arc::clone(edge),
            audit_feed,
            lane,
            status: Arc::new(FeedStatus::new(exchange, data_types, adapter)),
            recorder,
            parts: Arc::default(),
            setup: Arc::new(watch::Sender::new(Arc::new(setup))),
            relist: Arc::default(),
            stop: edge.stop.child_token(),
        }
    }

    /// Another part of the feed.
    pub fn part(&self, number: PartNumber, audit_feed: AuditFeed) -> Self {
        let FeedStatus { exchange, data_types, current, .. } = &*self.status;
        Self {
            edge: Arc::clone(&self.edge),
            audit_feed,
            lane: self.lane,
            status: Arc::new(FeedStatus::new(exchange, data_types, current.clone()).with_part(number)),
            recorder: None,
            parts: Arc::clone(&self.parts),
            setup: Arc::clone(&self.setup),
            relist: Arc::clone(&self.relist),
            stop: self.stop.child_token(),
        }
    }

    pub fn is_observed(&self, config: &FeedConfig) -> bool {
        self.recorder.is_some() || config.raw.enabled
    }

    /// Sees the frames of a pipeline that runs. Raw frames have the bounds of this configuration from now on.
    pub fn observer(&self, config: &FeedConfig) -> Option<Arc<dyn FrameObserver>> {
        self.recorder.clone().or_else(|| self.edge.raw_tap(config))
    }

    pub fn setup(&self) -> Arc<FeedSetup> {
        Arc::clone(&self.setup.borrow())
    }

    /// Tells central the terms of the listed instruments, where they are new or have changed. Those of another contract are not the terms of
    /// the one that is collected under its symbol.
    pub fn report_terms(&self, listing: &FeedListing) {
        let collected = listing.instruments.iter().filter(|one| !self.parts.is_other_contract(one));
        let terms = collected.map(terms_of).collect();
        self.edge.auditor.list_instruments(&self.status.exchange, terms, clock::now_ns());
    }

    /// These instruments of the part have had another contract size for some part of the time since the list before, and their quantities were
    /// calculated by the earlier one.
    pub fn doubt_quantities(&self, resized: &[ResizedInstrument], to_ns: i64) {
        let is_of = |stream: &StreamId, (symbol, market): &InstrumentKey| {
            *symbol == stream.symbol && *market == stream.market_type
        };
        let since_ns = |stream: &StreamId| {
            let mut of_stream = resized.iter().filter(|one| is_of(stream, &one.key));
            of_stream.next().filter(|_| has_quantities(stream.data_type)).map(|one| one.since_ns)
        };
        let why = "the venue changed the contract's size between two of its lists: quantities of this time may be by the earlier one";
        self.edge.auditor.doubt_streams(self.audit_feed, &since_ns, to_ns, why);
    }

    /// Names what the venue does not list: in `/coverage`, `/health`, the metrics, the audits and, when it changes, the log.
    pub fn publish_not_listed(&self, FeedListing { not_listed, hint, .. }: &FeedListing) {
        let exchange = self.status.exchange.as_str();
        if *self.status.not_listed() != **not_listed {
            let symbols = not_listed.join(", ");
            match not_listed.is_empty() {
                true => tracing::info!(exchange, "every symbol of the feed is listed now"),
                false => tracing::warn!(
                    exchange,
                    symbols,
                    allowed = hint,
                    "the venue does not list these symbols: the others are collected, these are looked for again"
                ),
            }
        }
        self.edge.auditor.set_not_listed(self.audit_feed, not_listed);
        self.status.set_not_listed(not_listed);
    }

    /// Shows the ranks in `/coverage`, and notes for the audits which streams end by them. While the ranking cannot be read the earlier one stays.
    pub fn publish_ranking(&self, listing: &FeedListing) {
        self.publish_ranking_problem(listing.ranking_problem.as_deref());
        self.edge.auditor.set_outranked(self.audit_feed, listing.outranked());
        if listing.ranking_problem.is_some() {
            return;
        }
        let ranking = listing.ranking.clone().unwrap_or_default();
        if !ranking.unranked.is_empty() && *self.status.unranked() != *ranking.unranked {
            let symbols = named(ranking.unranked.iter().map(String::as_str));
            tracing::warn!(
                exchange = self.status.exchange,
                symbols,
                currency = ranking.currency,
                "markets with their volume in another currency than the ranking are not collected: use a feed or a name for them"
            );
        }
        self.status.set_ranked(&ranking.chosen, &ranking.unranked);
    }

    /// In the pages of the first part, which asks for the lists again.
    fn publish_ranking_problem(&self, problem: Option<&str>) {
        let exchange = self.status.exchange.as_str();
        if self.status.part != 0 {
            return;
        }
        let before = self.status.set_ranking_problem(problem);
        match problem {
            None if before.is_none() => {}
            None => tracing::info!(exchange, "the venue's ranking is read again"),
            Some(problem) => {
                self.edge.metrics.collector_errors.with_label_values(&[exchange, ANY, LISTING]).inc();
                if before.as_deref() != Some(problem) {
                    tracing::warn!(
                        exchange,
                        problem,
                        "the venue's ranking cannot be read: named symbols and those that are collected stay, no other is added; it is \
                         asked again"
                    );
                }
            }
        }
    }
}

const fn has_quantities(kind: DataType) -> bool {
    matches!(
        kind.subscribed(),
        DataType::Trade | DataType::OrderBook | DataType::OpenInterest | DataType::Liquidation
    )
}

fn terms_of(instrument: &Instrument) -> InstrumentTerms {
    let decimal =
        |number: Option<Decimal>| number.map(|number| marketprism_schema::Decimal::from(number).normalized());
    InstrumentTerms {
        symbol: instrument.symbol.clone(),
        venue_symbol: instrument.venue_symbol.clone(),
        market_type: instrument.market_type.into(),
        base: instrument.base.clone(),
        quote: instrument.quote.clone(),
        contract_size: decimal(instrument.contract_size),
        contract_value: decimal(instrument.contract_value),
        price_scale: instrument.price_scale,
        quantity_scale: instrument.quantity_scale,
        tick_size: decimal(instrument.tick_size),
        step_size: decimal(instrument.step_size),
        trading: instrument.trading,
    }
}

/// Budgets that venues blocked, for the next start.
pub fn blocks_file(config: &Config) -> PathBuf {
    config.data_dir.join("runs").join(format!("{}.budgets", config.name))
}

pub fn socket_options(config: &FeedConfig, report_sent: bool) -> SocketOptions {
    let defaults = SocketOptions::default();
    SocketOptions {
        ca_files: config.ca_file.iter().cloned().collect(),
        proxy: config.egress.proxy.clone(),
        local_address: config.egress.local_address,
        report_sent,
        backoff: BackoffOptions { cap: config.reconnect_wait_max, ..defaults.backoff },
        ..defaults
    }
}
