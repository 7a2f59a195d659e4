//! Feeds and their streams in the audits: starts, ends, delistings.

use std::collections::{BTreeMap, BTreeSet};

use marketprism_schema::{
    DataTypeMap, DowntimeReason, Gap, GapCause, GapKind, InstrumentListing, InstrumentTerms, MarketType,
    StreamId,
};

use super::auditor::{AuditState, Auditor};
use super::origin::AuditOrigin;
use super::run_journal::LastingDowntime;
use super::streams::{AuditFeed, AuditStream, AuditedFeed, StreamTable, SubscribedStream};
use crate::limits::{LASTING_DOWNTIMES_MAX, STARTS_MAX, SYMBOLS_NAMED_MAX};

impl Auditor {
    /// Registers a feed that does not run yet.
    pub fn feed(&self, exchange: &str) -> AuditFeed {
        let mut state = self.lock();
        state.feeds.push(AuditedFeed::new(exchange));
        AuditFeed(state.feeds.len() - 1)
    }

    /// Registers a feed of an exchange that runs already: its streams are audited from its start.
    pub fn added_feed(&self, exchange: &str, now_ns: i64) -> AuditFeed {
        let mut state = self.lock();
        let feed = AuditedFeed { last_ns: now_ns, not_running: None, ..AuditedFeed::new(exchange) };
        let free = state.feeds.iter().position(|feed| feed.is_released && feed.exchange == exchange);
        match free.and_then(|free| state.feeds.get_mut(free).map(|slot| (free, slot))) {
            Some((free, slot)) => {
                *slot = feed;
                AuditFeed(free)
            }
            None => {
                state.feeds.push(feed);
                AuditFeed(state.feeds.len() - 1)
            }
        }
    }

    /// A feed has ended for good: the streams that it still has end too, for this reason.
    pub fn release(&self, feed: AuditFeed, now_ns: i64, reason: DowntimeReason) {
        let mut state = self.lock();
        let Some((exchange, streams)) = state.release(feed) else { return };
        let Some(origin) = &self.origin else { return };
        state.end_streams(origin, streams, now_ns, reason);
        state.note_removed(origin, &exchange);
    }

    /// These streams end: the venue does not list their instrument any more, or it is no longer configured. All that was received of them
    /// is in the queue.
    pub fn end_streams(
        &self,
        AuditFeed(feed): AuditFeed,
        streams: Vec<AuditStream>,
        at_ns: i64,
        reason: DowntimeReason,
    ) {
        let Some(origin) = &self.origin else { return };
        let mut state = self.lock();
        let Some(feed) = state.feeds.get_mut(feed) else { return };
        feed.subscribed.retain(|stream| !streams.contains(stream));
        feed.ended.extend(&streams);
        state.end_streams(origin, streams, at_ns, reason);
    }

    /// Ends the streams of a feed that the configuration does not select any more.
    pub fn end_unselected(&self, of: AuditFeed, is_selected: &dyn Fn(&StreamId) -> bool, at_ns: i64) {
        let unselected = {
            let state = self.lock();
            let Some(feed) = state.feeds.get(of.0) else { return };
            let is_out =
                |stream: &&AuditStream| state.streams.id(**stream).is_some_and(|id| !is_selected(id));
            feed.subscribed.iter().filter(is_out).copied().collect()
        };
        self.end_streams(of, unselected, at_ns, DowntimeReason::Removed);
    }

    /// Another feed goes on with these streams, which have a gap of the venue's from `at_ns` until it has a frame of them.
    pub fn move_streams(
        &self,
        (from, to): (AuditFeed, AuditFeed),
        is_moved: &dyn Fn(&StreamId) -> bool,
        at_ns: i64,
        why: &str,
    ) {
        let mut state = self.lock();
        let Some(feed) = state.feeds.get(from.0) else { return };
        let moved = |stream: &&AuditStream| state.streams.id(**stream).is_some_and(is_moved);
        let moved: Vec<AuditStream> = feed.subscribed.iter().filter(moved).copied().collect();
        if let Some(feed) = state.feeds.get_mut(from.0) {
            feed.subscribed.retain(|stream| !moved.contains(stream));
            feed.ended.extend(&moved);
        }
        state.note_start(at_ns, GapCause::Venue);
        let gap = Gap::open(GapKind::Start, GapCause::Venue, at_ns, why.to_owned());
        for stream in &moved {
            state.begin_gap(*stream, gap.clone());
        }
        if let Some(feed) = state.feeds.get_mut(to.0) {
            feed.subscribed.extend(moved);
        }
    }

    /// Quantities that were received up to `to_ns` may be wrong: this counts as a gap of the streams for which `since_ns` gives its begin.
    pub fn doubt_streams(
        &self,
        of: AuditFeed,
        since_ns: &dyn Fn(&StreamId) -> Option<i64>,
        to_ns: i64,
        why: &str,
    ) {
        let mut state = self.lock();
        let Some(feed) = state.feeds.get(of.0) else { return };
        let since = |stream: &AuditStream| Some((*stream, since_ns(state.streams.id(*stream)?)?));
        let doubtful: Vec<(AuditStream, i64)> = feed.subscribed.iter().filter_map(since).collect();
        for (stream, from_ns) in doubtful {
            let gap = Gap::open(GapKind::AdapterFault, GapCause::Venue, from_ns, why);
            state.tally(stream, to_ns, |tally| tally.gap(Gap { to: to_ns, ..gap }));
        }
    }

    /// A feed that was stopped starts again, with all that its parts collected; `why` is the evidence of the gap until then.
    pub fn restarts(&self, into: AuditFeed, parts: &[AuditFeed], why: &str) {
        let mut state = self.lock();
        let of_parts: Vec<AuditStream> =
            parts.iter().filter_map(|part| state.release(*part)).flat_map(|(_, streams)| streams).collect();
        if let Some(feed) = state.feeds.get_mut(into.0) {
            feed.subscribed.extend(of_parts);
            feed.restart = Some(why.to_owned());
        }
    }

    /// The instruments of a feed, as the venue's list has them: central gets what is new or has changed.
    pub fn list_instruments(&self, exchange: &str, instruments: Vec<InstrumentTerms>, at_ns: i64) {
        if let Some(origin) = &self.origin {
            self.lock().terms.list(&origin.edge, exchange, instruments, at_ns);
        }
    }

    /// Listings since the last call.
    pub fn take_listings(&self) -> Vec<InstrumentListing> {
        self.lock().terms.take()
    }

    /// Symbols of a feed that the venue does not list; an audit names the first ones.
    pub fn set_not_listed(&self, AuditFeed(feed): AuditFeed, symbols: &[String]) {
        let mut state = self.lock();
        state.are_streams_changed = true;
        if let Some(feed) = state.feeds.get_mut(feed) {
            feed.not_listed = symbols.iter().take(SYMBOLS_NAMED_MAX).cloned().collect();
        }
    }

    /// Instruments of a feed that its ranking leaves out: their streams are not delisted.
    /// `None`: the ranking cannot be read.
    pub fn set_outranked(
        &self,
        AuditFeed(feed): AuditFeed,
        outranked: Option<&BTreeSet<(String, MarketType)>>,
    ) {
        let mut state = self.lock();
        let Some(feed) = state.feeds.get_mut(feed) else { return };
        let before = std::mem::replace(&mut feed.outranked, outranked.cloned());
        let (exchange, has_started) = (feed.exchange.clone(), feed.last_ns != 0);
        if let Some(origin) = &self.origin
            && before.is_none()
            && has_started
        {
            state.note_outranked(origin, &exchange);
        }
    }

    /// Downtimes that last, for the journal of the run.
    pub fn lasting_downtimes(&self) -> Vec<LastingDowntime> {
        let lasting = |(stream, (from_ns, reason)): (&StreamId, &(i64, DowntimeReason))| LastingDowntime {
            stream: stream.to_string(),
            from_ns: *from_ns,
            reason: *reason,
        };
        self.lock().lasting.iter().map(lasting).collect()
    }

    /// A feed starts with these streams, per instrument and data type.
    pub fn subscribe(
        &self,
        AuditFeed(feed): AuditFeed,
        streams: &[DataTypeMap<Option<SubscribedStream>>],
        now_ns: i64,
    ) -> StreamTable {
        let Some(origin) = &self.origin else { return vec![DataTypeMap::default(); streams.len()] };
        let mut state = self.lock();
        state.are_streams_changed = true;
        let table: StreamTable = streams.iter().map(|ids| state.numbers(ids)).collect();
        let subscribed: BTreeSet<AuditStream> =
            table.iter().flat_map(|row| row.values().copied().flatten()).collect();
        let Some(feed) = state.feeds.get_mut(feed) else { return table };
        let exchange = feed.exchange.clone();
        feed.since_ns = if feed.last_ns == 0 { origin.run_ns } else { now_ns };
        (feed.not_running, feed.frontier_ns, feed.last_ns) = (None, now_ns, now_ns);
        feed.ended.clear();
        let before = std::mem::replace(&mut feed.subscribed, subscribed.iter().copied().collect());
        let restart = feed.restart.take();
        if restart.is_some() {
            state.note_start(now_ns, GapCause::Operator);
        }
        for stream in &before {
            // The monitor that began them has ended.
            for kind in
                [GapKind::AdapterFault, GapKind::Connection, GapKind::BookSequence, GapKind::BookChecksum]
            {
                state.end_gap(*stream, kind, now_ns, None);
            }
            state.end_restart_gap(*stream, now_ns, restart.as_deref());
        }
        // Those that are not selected any more have ended.
        let removed = before.into_iter().filter(|stream| !subscribed.contains(stream));
        let (outranked, delisted): (Vec<_>, Vec<_>) =
            removed.partition(|stream| state.streams.id(*stream).is_some_and(|id| state.is_outranked(id)));
        state.end_streams(origin, delisted, now_ns, DowntimeReason::Delisted);
        state.end_streams(origin, outranked, now_ns, DowntimeReason::Outranked);
        state.resume_streams(origin, &subscribed, now_ns);
        for (stream, _) in streams.iter().flat_map(DataTypeMap::values).flatten() {
            state.resumed.remove(stream);
            state.inherited.remove(stream);
        }
        state.note_removed(origin, &exchange);
        table
    }

    /// Number of streams that the feeds of an exchange collect.
    pub fn subscribed_streams(&self, exchange: &str) -> u64 {
        let state = self.lock();
        let feeds = state.feeds.iter().filter(|feed| feed.exchange == exchange);
        u64::try_from(feeds.map(|feed| feed.subscribed.len()).sum::<usize>()).unwrap_or(u64::MAX)
    }

    /// Start of the time for which a feed's streams are audited: the run's start, or that of the feed if it ran before.
    pub fn since_ns(&self, AuditFeed(feed): AuditFeed) -> Option<i64> {
        self.lock().feeds.get(feed).map(|feed| feed.since_ns)
    }

    /// A feed ended or could not start; `error` if it was not stopped on request.
    pub fn feed_ended(&self, AuditFeed(feed): AuditFeed, error: Option<&str>) {
        let mut state = self.lock();
        state.are_streams_changed = true;
        let Some(feed) = state.feeds.get_mut(feed) else { return };
        let ran = feed.frontier_ns != i64::MAX;
        feed.frontier_ns = i64::MAX;
        let Some(error) = error else { return };
        feed.not_running = Some(error.to_owned());
        if !ran {
            return;
        }
        let evidence = format!("the feed ended: {error}");
        let gap = Gap::open(GapKind::AdapterFault, GapCause::Ours, feed.last_ns, evidence);
        for stream in feed.subscribed.clone() {
            state.begin_gap(stream, gap.clone());
        }
    }
}

impl AuditState {
    /// The exchange of a feed that has ended, and the streams that it still has.
    fn release(&mut self, AuditFeed(feed): AuditFeed) -> Option<(String, Vec<AuditStream>)> {
        let released = self.feeds.get_mut(feed)?;
        // Also of a feed that panicked: it must not hold up the windows of all others.
        (released.is_released, released.frontier_ns) = (true, i64::MAX);
        self.are_streams_changed = true;
        Some((released.exchange.clone(), std::mem::take(&mut released.subscribed)))
    }

    /// A short start gap from this time on has this cause.
    fn note_start(&mut self, at_ns: i64, cause: GapCause) {
        self.starts.insert(at_ns, cause);
        self.are_streams_changed = true;
        if self.starts.len() > STARTS_MAX {
            self.starts.pop_first();
        }
    }

    /// Once all feeds of an exchange have started: streams of the run before that none of them has are delisted, or no longer configured.
    fn note_removed(&mut self, origin: &AuditOrigin, exchange: &str) {
        let waits = |feed: &AuditedFeed| feed.exchange == exchange && feed.last_ns == 0 && !feed.is_released;
        if self.feeds.iter().any(waits) {
            return;
        }
        let (removed, kept): (BTreeSet<_>, BTreeSet<_>) =
            std::mem::take(&mut self.resumed).into_iter().partition(|stream| stream.exchange == exchange);
        self.resumed = kept;
        // Since when these are missing is not known: this run does not report them as killed.
        self.inherited.retain(|stream| stream.exchange != exchange);
        self.are_streams_changed = true;
        let (selected, removed): (Vec<_>, Vec<_>) =
            removed.into_iter().partition(|stream| self.selected.contains(stream));
        let (outranked, mut delisted): (Vec<_>, Vec<_>) =
            selected.into_iter().partition(|stream| self.is_outranked(stream));
        if self.feeds.iter().any(|feed| feed.exchange == exchange && feed.outranked.is_none()) {
            self.resumed.append(&mut delisted.drain(..).collect());
        }
        for (reason, streams) in [
            (DowntimeReason::Delisted, delisted),
            (DowntimeReason::Outranked, outranked),
            (DowntimeReason::Removed, removed),
        ] {
            self.begin_downtime(origin, origin.run_ns, reason, streams);
        }
    }

    /// Streams of the run before, once a ranking can be read: those that it leaves out. The others start, or are found delisted then.
    fn note_outranked(&mut self, origin: &AuditOrigin, exchange: &str) {
        let resumed = std::mem::take(&mut self.resumed);
        let (outranked, kept): (BTreeSet<_>, BTreeSet<_>) =
            resumed.into_iter().partition(|stream| stream.exchange == exchange && self.is_outranked(stream));
        self.resumed = kept;
        self.begin_downtime(
            origin,
            origin.run_ns,
            DowntimeReason::Outranked,
            outranked.into_iter().collect(),
        );
    }

    fn is_outranked(&self, stream: &StreamId) -> bool {
        let key = (stream.symbol.clone(), stream.market_type);
        let is_of =
            |feed: &AuditedFeed| feed.outranked.as_ref().is_some_and(|outranked| outranked.contains(&key));
        self.feeds.iter().any(|feed| feed.exchange == stream.exchange && is_of(feed))
    }

    /// The numbers of streams. Those of ended streams whose windows are all closed are free: instruments may come and go for months.
    fn numbers(&mut self, ids: &DataTypeMap<Option<SubscribedStream>>) -> DataTypeMap<Option<AuditStream>> {
        let (registry, ended, open_ns) = (&mut self.streams, &mut self.ended, self.status.open_since_ns);
        let mut free = || {
            let stream = *ended.iter().find(|(_, end_ns)| **end_ns < open_ns)?.0;
            ended.remove(&stream).map(|_| stream)
        };
        DataTypeMap::from_fn(|kind| registry.number(ids[kind].as_ref()?, &mut free))
    }

    /// Ends streams, with their gaps. One that another feed has goes on.
    fn end_streams(
        &mut self,
        origin: &AuditOrigin,
        streams: Vec<AuditStream>,
        at_ns: i64,
        reason: DowntimeReason,
    ) {
        if streams.is_empty() {
            return;
        }
        let others: BTreeSet<AuditStream> =
            self.feeds.iter().flat_map(|feed| feed.subscribed.iter().copied()).collect();
        let mut ids = Vec::new();
        self.are_streams_changed = true;
        for stream in streams.into_iter().filter(|stream| !others.contains(stream)) {
            for kind in GapKind::ALL {
                self.end_gap(stream, *kind, at_ns, None);
            }
            if self.ended.insert(stream, at_ns).is_none() {
                ids.extend(self.streams.id(stream).cloned());
            }
        }
        self.begin_downtime(origin, at_ns, reason, ids);
    }

    /// A downtime of streams, until they are subscribed again.
    fn begin_downtime(
        &mut self,
        origin: &AuditOrigin,
        at_ns: i64,
        reason: DowntimeReason,
        streams: Vec<StreamId>,
    ) {
        if streams.is_empty() {
            return;
        }
        self.terms.forget(&streams);
        for stream in &streams {
            self.lasting.insert(stream.clone(), (at_ns, reason));
        }
        if let Some(most) = self.lasting.len().checked_sub(LASTING_DOWNTIMES_MAX + 1) {
            let mut begins: Vec<i64> = self.lasting.values().map(|(at_ns, _)| *at_ns).collect();
            let (_, newest_forgotten, _) = begins.select_nth_unstable(most);
            let newest_forgotten = *newest_forgotten;
            self.lasting.retain(|_, (at_ns, _)| *at_ns > newest_forgotten);
        }
        self.downtimes.push(origin.downtime(at_ns, None, reason, streams));
    }

    /// Ends the gap of a stop that was no stop of the edge: the feed started again as an operator changed it, or with other instruments.
    fn end_restart_gap(&mut self, stream: AuditStream, now_ns: i64, change: Option<&str>) {
        if let Some(gap) = self.open_gaps.get_mut(&(stream, GapKind::Stop)) {
            let cause = if change.is_some() { GapCause::Operator } else { GapCause::Ours };
            let why = change.unwrap_or("the connections started again with newly listed instruments");
            gap.explain(cause, why.to_owned());
        }
        self.end_gap(stream, GapKind::Stop, now_ns, None);
    }

    /// Streams that are listed again.
    fn resume_streams(&mut self, origin: &AuditOrigin, subscribed: &BTreeSet<AuditStream>, now_ns: i64) {
        let mut resumed: BTreeMap<(i64, DowntimeReason), Vec<StreamId>> = BTreeMap::new();
        for stream in subscribed {
            self.ended.remove(stream);
            let Some(id) = self.streams.id(*stream) else { continue };
            if let Some(begin) = self.lasting.remove(id) {
                resumed.entry(begin).or_default().push(id.clone());
            }
        }
        for ((from_ns, reason), ids) in resumed {
            let to_ns = now_ns.max(from_ns.saturating_add(1));
            self.downtimes.push(origin.downtime(from_ns, Some(to_ns), reason, ids));
        }
    }
}
