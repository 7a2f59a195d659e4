//! The feeds of a running edge, and their change to those of another configuration. Feeds that are equal in both are not touched: their
//! connections, books and epochs stay. Everything that may fail is done before the first feed is changed.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Context, ensure};
use futures_util::future::join_all;
use marketprism_schema::DowntimeReason;
use marketprism_service::{clock, error_text};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::context::{EdgeContext, FeedContext, FeedSetup, FrameObserver};
use super::follow::{PartSet, named, run_feed};
use super::listing::FeedListing;
use super::parts::{FeedRoster, InstrumentParts};
use super::status::FeedPhase;
use crate::audit::AuditFeed;
use crate::config::{Adapters, ChangedFeed, Config, CurrentAdapter, FeedConfig, FeedsDifference};
use crate::limits::RELOAD_LISTING;
use crate::queue::QueueLane;

/// Feeds in the order of the configuration.
pub struct FeedSet {
    edge: Arc<EdgeContext>,
    roster: Arc<FeedRoster>,
    feeds: Vec<RunningFeed>,
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
}

/// Instruments that a change of the selection added to a feed, and those that it removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SelectedChange {
    /// Position in the new configuration.
    pub feed: usize,
    pub added: Vec<String>,
    pub removed: Vec<String>,
}

impl FeedSet {
    /// `observer` gives the observer of a feed by its position in the configuration.
    pub fn start(
        edge: &Arc<EdgeContext>,
        config: &Config,
        adapters: &Adapters,
        observer: impl Fn(usize) -> Option<Arc<dyn FrameObserver>>,
    ) -> anyhow::Result<Self> {
        let mut set = Self { edge: Arc::clone(edge), roster: Arc::default(), feeds: Vec::new() };
        for (index, feed) in config.feeds.iter().enumerate() {
            let adapter = adapters.current(&feed.adapter).context("the adapter is not loaded")?.clone();
            let observer = observer(index);
            let setup = FeedSetup::new(edge, feed, &adapter, observer.is_some())?;
            let place = (edge.auditor.feed(&feed.exchange), QueueLane::of_feed(index));
            let context = FeedContext::new(edge, setup, place, adapter, observer);
            set.feeds.push(RunningFeed::start(context, &set.roster, None));
        }
        Ok(set)
    }

    pub fn roster(&self) -> Arc<FeedRoster> {
        Arc::clone(&self.roster)
    }

    /// Waits for the end of all feeds, after the edge's stop.
    pub async fn join(self) {
        for feed in self.feeds {
            feed.join().await;
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
        if errors.is_empty() { Ok(PreparedFeeds { difference, setups }) } else { Err(errors) }
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
        let Some(running) = running else { return Ok(PreparedFeed { setup, adapter, listing: None }) };
        let selection = setup.reader.selection();
        let collected: BTreeSet<String> =
            running.first.parts.symbols().into_iter().filter(|symbol| selection.includes(symbol)).collect();
        let read = timeout(RELOAD_LISTING, setup.reader.read(&collected, None)).await;
        let listing =
            read.with_context(|| format!("the venue gave no lists within {RELOAD_LISTING:?}"))??;
        ensure!(!listing.instruments.is_empty(), "the venue lists no instrument of the feed");
        setup.reader.plan(&listing.instruments).context("plan of the changed feed")?;
        Ok(PreparedFeed { setup, adapter, listing: Some(listing) })
    }

    /// Makes the change. What ends ends before anything begins, so that no stream is collected by two feeds.
    pub async fn change(&mut self, prepared: PreparedFeeds, new: &[FeedConfig]) -> Vec<SelectedChange> {
        self.edge.auditor.select(|stream| new.iter().any(|feed| feed.selects(stream)));
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
        let (mut selected, mut grow, mut restart) = (Vec::new(), Vec::new(), Vec::new());
        for change in &difference.changed {
            let feed = old.get_mut(change.old).and_then(Option::take);
            let prepared = setups.get_mut(change.new).and_then(Option::take);
            let Some((feed, prepared)) = feed.zip(prepared) else { continue };
            if !change.in_place {
                restart.push((change, feed, prepared));
                continue;
            }
            let removed = feed.parts.lock().await.select(Arc::new(prepared.setup)).await;
            if prepared.listing.is_none() && feed.first.status.phase() == FeedPhase::Running {
                // It started meanwhile, by the selection before.
                feed.first.relist.notify_one();
            }
            grow.extend(prepared.listing.map(|listing| (selected.len(), Arc::clone(&feed.parts), listing)));
            selected.push(SelectedChange { feed: change.new, added: Vec::new(), removed });
            place(change.new, Some(feed));
        }
        for (change, feed, prepared) in restart {
            place(change.new, Some(self.restart(change, feed, prepared).await));
        }
        for (index, parts, listing) in grow {
            let listed = parts.lock().await.apply(listing).await.listed;
            if let Some(change) = selected.get_mut(index) {
                change.added = listed;
            }
        }
        for position in difference.added {
            let Some(prepared) = setups.get_mut(position).and_then(Option::take) else { continue };
            let lane = free_lane(old.iter().chain(&*new).flatten());
            let exchange = prepared.setup.config.exchange.as_str();
            let audit_feed = self.edge.auditor.added_feed(exchange, clock::now_ns());
            if let Some(free) = new.get_mut(position) {
                *free = Some(self.begin(prepared, (audit_feed, lane), Arc::default()));
            }
        }
        self.feeds = new.into_iter().flatten().collect();
        self.retire_coverage();
        selected
    }

    fn begin(
        &self,
        PreparedFeed { setup, adapter, listing }: PreparedFeed,
        place: (AuditFeed, QueueLane),
        parts: Arc<InstrumentParts>,
    ) -> RunningFeed {
        let context = FeedContext::new(&self.edge, setup, place, adapter, None);
        let context = FeedContext { parts, ..context };
        let instruments = listing.map(|listing| {
            context.publish_not_listed(&listing);
            context.tell_terms(&listing);
            context.parts.begin(0, &listing.instruments)
        });
        RunningFeed::start(context, &self.roster, instruments)
    }

    /// Stops a feed and starts it with another configuration. The streams that it keeps have a gap of the operator's.
    async fn restart(&self, change: &ChangedFeed, feed: RunningFeed, prepared: PreparedFeed) -> RunningFeed {
        let (audit_feed, lane) = (feed.first.audit_feed, feed.first.lane);
        let keys: Vec<&str> = change.keys.iter().map(|change| change.key.as_str()).collect();
        let why = format!("the feed started again with a changed configuration: {}", keys.join(", "));
        let (collected, before) = (Arc::clone(&feed.first.parts), feed.first.setup());
        let audit_feeds = feed.stop().await;
        let parts: Vec<AuditFeed> = audit_feeds.into_iter().filter(|part| *part != audit_feed).collect();
        let auditor = &self.edge.auditor;
        auditor.restarts(audit_feed, &parts, &why);
        let config = prepared.setup.config.clone();
        auditor.end_unselected(audit_feed, &|stream| config.selects(stream), clock::now_ns());
        collected.restart(|(symbol, market)| {
            config.selection().includes(symbol) && config.keeps_market(&before.config, *market)
        });
        self.begin(prepared, (audit_feed, lane), collected)
    }

    async fn remove(&self, feed: RunningFeed) {
        feed.parts.lock().await.end_all().await;
        for audit_feed in feed.stop().await {
            self.edge.auditor.release(audit_feed, clock::now_ns(), DowntimeReason::Removed);
        }
    }

    /// Takes out the data types that no feed collects any more.
    fn retire_coverage(&self) {
        let setups: Vec<Arc<FeedSetup>> = self.feeds.iter().map(|feed| feed.first.setup()).collect();
        self.edge.coverage.retain(|exchange, kind| {
            let collects =
                |config: &FeedConfig| config.exchange == exchange && config.data_types.contains(&kind);
            setups.iter().any(|setup| collects(&setup.config))
        });
    }
}

impl RunningFeed {
    fn start(
        first: FeedContext,
        roster: &Arc<FeedRoster>,
        instruments: Option<Vec<marketprism_adapter_host::contract::Instrument>>,
    ) -> Self {
        let parts = PartSet::new(first, Arc::clone(roster));
        let first = Arc::clone(&parts.first);
        let parts = Arc::new(Mutex::new(parts));
        let task = tokio::spawn(run_feed(Arc::clone(&parts), instruments));
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

fn free_lane<'a>(running: impl Iterator<Item = &'a RunningFeed>) -> QueueLane {
    let taken: Vec<QueueLane> = running.map(|feed| feed.first.lane).collect();
    (0..=taken.len()).map(QueueLane::of_feed).find(|lane| !taken.contains(lane)).unwrap_or_default()
}

impl SelectedChange {
    /// Symbols for a line of the log or the answer.
    pub fn text(symbols: &[String]) -> String {
        named(symbols.iter().map(String::as_str))
    }
}
