//! The feeds of a running edge, and their change to those of another configuration. Feeds that are equal in both are not touched: their
//! connections, books and epochs stay. Everything that may fail is done before the first feed is changed.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use futures_util::future::join_all;
use marketprism_adapter_host::contract::Instrument;
use marketprism_schema::{DataType, DowntimeReason, SELFTEST_EXCHANGE};
use marketprism_service::{clock, error_text};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::context::{EdgeContext, FeedContext, FeedSetup};
use super::follow::{PartSet, run_feed};
use super::listing::FeedListing;
use super::observer::{FrameObserver, HeldAnswers};
use super::opened::{OpenedPart, PartStart};
use super::parts::{BegunPart, FeedRoster, InstrumentKey, InstrumentParts, ResizedInstrument, named};
use super::status::FeedPhase;
use crate::audit::AuditFeed;
use crate::config::{Adapters, ChangedFeed, Config, CurrentAdapter, FeedConfig, FeedsDifference};
use crate::limits::{OVERLAP_INPUTS_MAX, RELOAD_LISTING};
use crate::queue::QueueLane;
use crate::selftest::{SelfTest, SelfTestParts};

/// Feeds in the order of the configuration.
pub struct FeedSet {
    edge: Arc<EdgeContext>,
    roster: Arc<FeedRoster>,
    feeds: Vec<RunningFeed>,
    selftest: Option<JoinHandle<()>>,
}

struct RunningFeed {
    first: Arc<FeedContext>,
    parts: Arc<Mutex<PartSet>>,
    task: JoinHandle<()>,
}

/// A change of feeds that nothing stands against.
pub struct PreparedFeeds {
    difference: FeedsDifference,
    /// By position in the new configuration; none for those that are kept.
    setups: Vec<Option<PreparedFeed>>,
}

struct PreparedFeed {
    setup: FeedSetup,
    adapter: CurrentAdapter,
    /// `None`: the feed does not run at the moment, or is new; it reads the lists at its next start.
    listing: Option<FeedListing>,
    /// For the raw frames.
    answers: HeldAnswers,
    /// Of a feed that starts again.
    opened: Option<OpenedFeed>,
}

/// A feed that takes the place of a running one, with its connections open.
struct OpenedFeed {
    context: FeedContext,
    part: OpenedPart,
    /// Connections that are not subscribed yet.
    late: Option<String>,
    /// Instruments of the running feed at that time.
    listed_before: Vec<Instrument>,
    /// The running feed calculates by their earlier sizes.
    resized: Vec<ResizedInstrument>,
}

/// Consequences of a change for a feed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AppliedChange {
    /// Position in the new configuration.
    pub feed: usize,
    /// Symbols that a change of the selection added.
    pub added: Vec<String>,
    pub removed: Vec<String>,
    /// Why connections of a feed that started again did not overlap.
    pub closed_first: Option<String>,
}

impl FeedSet {
    /// `recorder` gives the recorder of a feed by its position in the configuration.
    pub fn start(
        edge: &Arc<EdgeContext>,
        config: &Config,
        adapters: &Adapters,
        recorder: impl Fn(usize) -> Option<Arc<dyn FrameObserver>>,
    ) -> anyhow::Result<Self> {
        let mut set =
            Self { edge: Arc::clone(edge), roster: Arc::default(), feeds: Vec::new(), selftest: None };
        for (index, feed) in config.feeds.iter().enumerate() {
            let adapter = adapters.current(&feed.adapter).context("the adapter is not loaded")?.clone();
            let recorder = recorder(index);
            let setup = FeedSetup::new(edge, feed, &adapter, recorder.is_some())?;
            let place = (edge.auditor.feed(&feed.exchange), QueueLane::of_feed(index));
            let context = FeedContext::new(edge, setup, place, adapter, recorder);
            set.feeds.push(RunningFeed::start(context, &set.roster, PartStart::Lists));
        }
        Ok(set)
    }

    /// Starts the synthetic stream too, if it is on.
    pub fn with_selftest(mut self, config: &Config) -> anyhow::Result<Self> {
        if config.selftest.enabled {
            let edge = &self.edge;
            let selftest = SelfTest::new(SelfTestParts {
                edge: edge.name.clone(),
                region: edge.region.clone(),
                settings: config.selftest,
                form: config.wire[DataType::Trade],
                auditor: Arc::clone(&edge.auditor),
                queue: Arc::clone(&edge.queue),
                lane: QueueLane::of_feed(self.feeds.len()),
                coverage: Arc::clone(&edge.coverage),
                metrics: edge.metrics.clone(),
            })?;
            self.selftest = Some(tokio::spawn(selftest.run(edge.stop.clone())));
        }
        Ok(self)
    }

    pub fn roster(&self) -> Arc<FeedRoster> {
        Arc::clone(&self.roster)
    }

    /// Waits for the end of all feeds, after the edge's stop.
    pub async fn join(self) {
        for feed in self.feeds {
            feed.join().await;
        }
        if let Some(selftest) = self.selftest
            && selftest.await.is_err()
        {
            tracing::error!("the task of the self-test was aborted");
        }
    }

    /// Builds what the change needs, and asks the venues of changed feeds for their lists and the adapters for the plan.
    ///
    /// # Errors
    /// Every feed that cannot be changed, with the reason. Nothing has been changed.
    pub async fn prepare(
        &self,
        difference: FeedsDifference,
        new: &[FeedConfig],
        adapters: &Adapters,
    ) -> Result<PreparedFeeds, Vec<String>> {
        let changed = difference.changed.iter().map(|change| (change.new, self.feeds.get(change.old)));
        let wanted = changed.chain(difference.added.iter().map(|added| (*added, None)));
        let prepared = join_all(wanted.map(|(position, running)| async move {
            let config = new.get(position).context("no such feed");
            let prepared = async { self.prepare_feed(config?, running, adapters).await }.await;
            (position, prepared)
        }));
        let (mut setups, mut errors): (Vec<Option<PreparedFeed>>, Vec<String>) = (Vec::new(), Vec::new());
        setups.resize_with(new.len(), || None);
        for (position, prepared) in prepared.await {
            match prepared {
                Ok(prepared) => {
                    if let Some(setup) = setups.get_mut(position) {
                        *setup = Some(prepared);
                    }
                }
                Err(error) => {
                    let exchange = new.get(position).map(|feed| feed.exchange.as_str()).unwrap_or_default();
                    errors.push(format!("feed[{position}] {exchange}: {}", error_text(error.as_ref())));
                }
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        self.open(&difference, &mut setups, new).await?;
        Ok(PreparedFeeds { difference, setups })
    }

    /// Opens the connections of the feeds that start again, while the others run. If one cannot be opened, all are closed: the running feeds stay.
    async fn open(
        &self,
        difference: &FeedsDifference,
        setups: &mut [Option<PreparedFeed>],
        new: &[FeedConfig],
    ) -> Result<(), Vec<String>> {
        let mut errors = Vec::new();
        for change in difference.changed.iter().filter(|change| !change.in_place) {
            let running = self.feeds.get(change.old);
            let prepared = setups.get_mut(change.new).and_then(Option::take);
            let Some((running, prepared)) = running.zip(prepared) else { continue };
            let opened = self.open_feed(running, prepared);
            match (opened, setups.get_mut(change.new)) {
                (Ok(prepared), Some(setup)) => *setup = Some(prepared),
                (Ok(_), None) => {}
                (Err(error), _) => {
                    let exchange = new.get(change.new).map(|feed| feed.exchange.as_str()).unwrap_or_default();
                    let error = error_text(error.as_ref());
                    errors.push(format!("feed[{}] {exchange}: cannot start: {error}", change.new));
                }
            }
        }
        let opened = setups.iter_mut().flatten();
        if errors.is_empty() {
            join_all(opened.filter_map(|prepared| prepared.opened.as_mut()).map(|opened| async {
                opened.late = opened.part.wait_until_subscribed(&opened.context).await;
            }))
            .await;
            return Ok(());
        }
        join_all(opened.filter_map(|prepared| prepared.opened.take()).map(|opened| opened.part.close()))
            .await;
        Err(errors)
    }

    fn open_feed(&self, running: &RunningFeed, mut prepared: PreparedFeed) -> anyhow::Result<PreparedFeed> {
        let PreparedFeed { setup, adapter, listing, .. } = &prepared;
        let Some(listed) = listing else { return Ok(prepared) };
        let (old, before) = (&running.first, running.first.setup());
        let config = setup.config.clone();
        let place = (old.audit_feed, old.lane);
        let context = FeedContext::new(&self.edge, setup.clone(), place, adapter.clone(), None);
        let listed_before = old.parts.instruments();
        let parts = successor(&old.parts, &config, &before);
        let context = FeedContext { parts: Arc::new(parts), ..context };
        if let Some(outranked) = listed.outranked() {
            context.parts.outrank(outranked, None);
        }
        let BegunPart { instruments, resized } = context.parts.begin(0, &listed.instruments, listed.asked_ns);
        let part = OpenedPart::open(&context, &context.setup(), instruments, OVERLAP_INPUTS_MAX)?;
        prepared.opened = Some(OpenedFeed { context, part, late: None, listed_before, resized });
        Ok(prepared)
    }

    async fn prepare_feed(
        &self,
        config: &FeedConfig,
        running: Option<&RunningFeed>,
        adapters: &Adapters,
    ) -> anyhow::Result<PreparedFeed> {
        let adapter = adapters.current(&config.adapter).context("the adapter is not loaded")?.clone();
        let setup = FeedSetup::new(&self.edge, config, &adapter, false)?;
        let running = running.filter(|feed| feed.first.status.phase() == FeedPhase::Running);
        let answers = HeldAnswers::default();
        let Some(running) = running else {
            return Ok(PreparedFeed { setup, adapter, listing: None, answers, opened: None });
        };
        let selection = setup.reader.selection();
        let collected: BTreeSet<InstrumentKey> =
            running.first.parts.keys().into_iter().filter(|(symbol, _)| selection.includes(symbol)).collect();
        let observer = config.raw.enabled.then_some(&answers as &dyn FrameObserver);
        let read = timeout(RELOAD_LISTING, setup.reader.read(&collected, observer)).await;
        let listing =
            read.with_context(|| format!("the venue gave no lists within {RELOAD_LISTING:?}"))??;
        ensure!(!listing.instruments.is_empty(), "the venue lists no instrument of the feed");
        if let Some(problem) = &listing.ranking_problem {
            bail!("the venue's ranking cannot be read: {problem}");
        }
        setup.reader.plan(&listing.instruments).context("plan of the changed feed")?;
        Ok(PreparedFeed { setup, adapter, listing: Some(listing), answers, opened: None })
    }

    /// Makes the change. What ends ends before anything is published of what begins, so that no stream is published by two feeds.
    pub async fn change(&mut self, prepared: PreparedFeeds, new: &[FeedConfig]) -> Vec<AppliedChange> {
        let selftest = &self.edge.selftest;
        self.edge.auditor.select(|stream| {
            selftest.as_ref() == Some(stream) || new.iter().any(|feed| feed.selects(stream))
        });
        let PreparedFeeds { difference, mut setups } = prepared;
        let mut old: Vec<Option<RunningFeed>> =
            std::mem::take(&mut self.feeds).into_iter().map(Some).collect();
        let mut new: Vec<Option<RunningFeed>> = Vec::new();
        new.resize_with(setups.len(), || None);
        let mut place = |position: usize, feed: Option<RunningFeed>| {
            if let Some(free) = new.get_mut(position) {
                *free = feed;
            }
        };
        for position in &difference.removed {
            if let Some(feed) = old.get_mut(*position).and_then(Option::take) {
                self.remove(feed).await;
            }
        }
        for (from, to) in &difference.kept {
            place(*to, old.get_mut(*from).and_then(Option::take));
        }
        let (mut applied, mut grow, mut restart) = (Vec::new(), Vec::new(), Vec::new());
        for change in &difference.changed {
            let feed = old.get_mut(change.old).and_then(Option::take);
            let prepared = setups.get_mut(change.new).and_then(Option::take);
            let Some((feed, prepared)) = feed.zip(prepared) else { continue };
            if !change.in_place {
                restart.push((change, feed, prepared));
                continue;
            }
            if let Some(observer) = feed.first.observer(&prepared.setup.config) {
                prepared.answers.give(&*observer);
            }
            let removed = feed.parts.lock().await.select(Arc::new(prepared.setup)).await;
            if prepared.listing.is_none() && feed.first.status.phase() == FeedPhase::Running {
                // It started meanwhile, by the selection before.
                feed.first.relist.notify_one();
            }
            grow.extend(prepared.listing.map(|listing| (applied.len(), Arc::clone(&feed.parts), listing)));
            applied.push(AppliedChange { feed: change.new, removed, ..AppliedChange::default() });
            place(change.new, Some(feed));
        }
        for (change, feed, prepared) in restart {
            let closed_first = prepared.opened.as_ref().and_then(|opened| opened.late.clone());
            applied.push(AppliedChange { feed: change.new, closed_first, ..AppliedChange::default() });
            place(change.new, Some(self.restart(change, feed, prepared).await));
        }
        for (index, parts, listing) in grow {
            let listed = parts.lock().await.apply(listing).await;
            if let Some(change) = applied.get_mut(index) {
                change.added = [listed.listed, listed.ranked].concat();
                change.removed.extend(listed.outranked);
            }
        }
        for position in difference.added {
            let Some(prepared) = setups.get_mut(position).and_then(Option::take) else { continue };
            let lane = free_lane(old.iter().chain(&*new).flatten());
            let exchange = prepared.setup.config.exchange.as_str();
            let audit_feed = self.edge.auditor.added_feed(exchange, clock::now_ns());
            if let Some(free) = new.get_mut(position) {
                *free = Some(self.begin(prepared, (audit_feed, lane), InstrumentParts::default()));
            }
        }
        self.feeds = new.into_iter().flatten().collect();
        self.retire_removed();
        applied
    }

    fn begin(
        &self,
        PreparedFeed { setup, adapter, .. }: PreparedFeed,
        place: (AuditFeed, QueueLane),
        parts: InstrumentParts,
    ) -> RunningFeed {
        let context = FeedContext::new(&self.edge, setup, place, adapter, None);
        let context = FeedContext { parts: Arc::new(parts), ..context };
        RunningFeed::start(context, &self.roster, PartStart::Lists)
    }

    /// Stops a feed and lets another one with the changed configuration go on with its streams, which have a gap of the operator's until then. What the
    /// new connections have brought meanwhile follows, without what the old ones have brought too.
    async fn restart(&self, change: &ChangedFeed, feed: RunningFeed, prepared: PreparedFeed) -> RunningFeed {
        let (audit_feed, lane) = (feed.first.audit_feed, feed.first.lane);
        let keys: Vec<&str> = change.keys.iter().map(|change| change.key.as_str()).collect();
        let why = format!("the feed started again with a changed configuration: {}", keys.join(", "));
        let (before, selected_before) = (Arc::clone(&feed.first.parts), feed.first.setup());
        if prepared.opened.is_some() {
            before.expect_memories();
        }
        let audit_feeds = feed.stop().await;
        let parts: Vec<AuditFeed> = audit_feeds.into_iter().filter(|part| *part != audit_feed).collect();
        let auditor = &self.edge.auditor;
        auditor.restarts(audit_feed, &parts, &why);
        if let Some(OpenedFeed { context, resized, .. }) = &prepared.opened {
            // The streams of all parts are this feed's from here on.
            context.doubt_quantities(resized, clock::now_ns());
        }
        let config = prepared.setup.config.clone();
        auditor.end_unselected(audit_feed, &|stream| config.selects(stream), clock::now_ns());
        let PreparedFeed { listing: Some(listing), opened: Some(opened), answers, .. } = prepared else {
            let parts = successor(&before, &config, &selected_before);
            return self.begin(prepared, (audit_feed, lane), parts);
        };
        let OpenedFeed { context, mut part, listed_before, .. } = opened;
        if let Some(observer) = context.observer(&config) {
            answers.give(&*observer);
        }
        context.publish_not_listed(&listing);
        context.publish_ranking(&listing);
        context.report_terms(&listing);
        part.memories = before.take_memories();
        if before.instruments() != listed_before {
            // A list came meanwhile: the new feed knows nothing of it.
            context.relist.notify_one();
        }
        RunningFeed::start(context, &self.roster, PartStart::Opened(Box::new(part)))
    }

    async fn remove(&self, feed: RunningFeed) {
        feed.parts.lock().await.end_all().await;
        for audit_feed in feed.stop().await {
            self.edge.auditor.release(audit_feed, clock::now_ns(), DowntimeReason::Removed);
        }
    }

    /// Takes out the data types and clocks that no feed collects any more.
    fn retire_removed(&self) {
        let setups: Vec<Arc<FeedSetup>> = self.feeds.iter().map(|feed| feed.first.setup()).collect();
        self.edge.coverage.retain(|exchange, kind| {
            let collects =
                |config: &FeedConfig| config.exchange == exchange && config.data_types.contains(&kind);
            let is_selftest = exchange == SELFTEST_EXCHANGE && self.edge.selftest.is_some();
            is_selftest || setups.iter().any(|setup| collects(&setup.config))
        });
        self.edge.clocks.retain(|exchange| setups.iter().any(|setup| setup.config.exchange == exchange));
    }
}

impl RunningFeed {
    fn start(first: FeedContext, roster: &Arc<FeedRoster>, start: PartStart) -> Self {
        first.edge.readers.set(&first.status.exchange, &first.setup().reader);
        let parts = PartSet::new(first, Arc::clone(roster));
        let first = Arc::clone(&parts.first);
        let parts = Arc::new(Mutex::new(parts));
        let task = tokio::spawn(run_feed(Arc::clone(&parts), start));
        Self { first, parts, task }
    }

    /// Stops all parts. Gives their feeds in the audits.
    async fn stop(self) -> Vec<AuditFeed> {
        let audit_feeds = {
            let parts = self.parts.lock().await;
            parts.leave_roster();
            parts.audit_feeds()
        };
        self.first.stop.cancel();
        self.join().await;
        audit_feeds
    }

    async fn join(self) {
        if self.task.await.is_err() {
            tracing::error!(exchange = self.first.status.exchange, "the task of a feed panicked");
        }
    }
}

/// Of the feed with another configuration: what it still selects.
fn successor(parts: &InstrumentParts, config: &FeedConfig, before: &FeedSetup) -> InstrumentParts {
    let selection = config.selection();
    let is_selected = |(symbol, market): &InstrumentKey| {
        selection.includes(symbol) && config.keeps_market(&before.config, *market)
    };
    parts.successor(is_selected)
}

fn free_lane<'a>(running: impl Iterator<Item = &'a RunningFeed>) -> QueueLane {
    let taken: Vec<QueueLane> = running.map(|feed| feed.first.lane).collect();
    (0..=taken.len()).map(QueueLane::of_feed).find(|lane| !taken.contains(lane)).unwrap_or_default()
}

impl AppliedChange {
    /// Symbols for a line of the log or the answer.
    pub fn text(symbols: &[String]) -> String {
        named(symbols.iter().map(String::as_str))
    }
}
