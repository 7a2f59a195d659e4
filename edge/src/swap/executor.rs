//! Works the requested changes of adapters off, one after the other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use marketprism_adapter_host::{Adapter, DifferenceKind, Differences, Engine, Limits, venue_difference};
use marketprism_service::error_text;
use marketprism_traces::{OperationSpan, tracer};
use tokio::sync::mpsc::Receiver;
use tokio::sync::watch;
use tokio::task::block_in_place;
use tokio::time::sleep;

use super::checks::{ComponentChecks, SwapFailure, check_instruments};
use super::parts::{PartSwap, running_parts, totals};
use super::record::{RETURNED, SwapOutcome, SwapRecord, SwapStep};
use super::store::AdapterStore;
use super::swaps::{AdapterSwaps, SwapAction, SwapRequest};
use super::trial::SwapTrial;
use super::watch::watch_folder;
use crate::config::{Adapters, Config, SwapSettings};
use crate::feed::{EdgeContext, FeedRoster};
use crate::limits::{SHADOW_WAIT_MAX, TRIAL_LOOK_EVERY, VERSIONS_LOOK_EVERY};

pub struct SwapExecutor {
    context: Arc<EdgeContext>,
    roster: Arc<FeedRoster>,
    settings: watch::Receiver<SwapSettings>,
    limits: Limits,
    engine: Option<Engine>,
    swaps: Arc<AdapterSwaps>,
    requests: Receiver<SwapRequest>,
    store: AdapterStore,
    /// Version before the running one, by name of the adapter.
    previous: BTreeMap<String, Adapter>,
    /// Of the change that runs.
    span: OperationSpan,
}

impl SwapExecutor {
    pub fn new(
        context: &Arc<EdgeContext>,
        (config, settings): (&Config, watch::Receiver<SwapSettings>),
        adapters: &Adapters,
        roster: &Arc<FeedRoster>,
    ) -> Self {
        let mut store = AdapterStore::open(&config.data_dir);
        let (swaps, requests) = AdapterSwaps::with_history(store.history());
        // Again: the run before may have been killed before the broker had them.
        context.auditor.note_changes(store.history().iter().map(SwapRecord::change));
        let mut previous = BTreeMap::new();
        for (configured, running) in adapters.resumed() {
            store.set_running(configured.digest(), running.digest());
            let name = configured.description().name.clone();
            let known = adapters.engine().map(|engine| store.previous(configured, &config.adapters, engine));
            match known.transpose().map(Option::flatten) {
                Ok(before) => previous.extend(before.map(|before| (name, before))),
                Err(error) => {
                    let (adapter, error) = (running.id(), error_text(error.as_ref()));
                    tracing::error!(
                        adapter,
                        error,
                        "earlier version not usable: there is none to roll back to"
                    );
                }
            }
        }
        swaps.set_previous(digests(&previous));
        Self {
            context: Arc::clone(context),
            roster: Arc::clone(roster),
            settings,
            limits: config.sandbox.limits(),
            engine: adapters.engine().cloned(),
            swaps: Arc::new(swaps),
            requests,
            store,
            previous,
            span: OperationSpan::default(),
        }
    }

    pub fn swaps(&self) -> Arc<AdapterSwaps> {
        Arc::clone(&self.swaps)
    }

    /// Runs until the edge stops.
    pub async fn run(mut self) {
        let (stop, swaps) = (self.context.stop.clone(), Arc::clone(&self.swaps));
        let (folder, watched) = (self.settings.borrow().watch_dir.clone(), self.store.watched());
        let watch = async {
            if let Some(folder) = &folder {
                watch_folder(folder, watched, &swaps, &stop).await;
            }
        };
        let work = async {
            loop {
                let request = tokio::select! {
                    request = self.requests.recv() => request,
                    () = sleep(VERSIONS_LOOK_EVERY) => {
                        self.settle().await;
                        continue;
                    }
                    () = stop.cancelled() => None,
                };
                let Some(request) = request else { return };
                self.work(request).await;
            }
        };
        tokio::join!(watch, work);
    }

    async fn work(&mut self, request: SwapRequest) {
        let number = request.number;
        self.span = tracer().operation("change adapter");
        match request.action {
            SwapAction::Load { component, accepted } => {
                let mut trial = SwapTrial::new(accepted);
                let (stop, cancel) = (self.context.stop.clone(), request.cancel);
                let swaps = Arc::clone(&self.swaps);
                let failed = |reason: &str| Err(SwapFailure::new(swaps.step(), reason));
                let loaded = tokio::select! {
                    loaded = self.load(&component, &mut trial) => loaded,
                    () = cancel.cancelled() => failed("rolled back by request"),
                    () = stop.cancelled() => failed("the edge stopped"),
                };
                match loaded {
                    Ok(()) => self.promote(trial, &component).await,
                    Err(failure) => self.take_back(trial, failure).await,
                }
            }
            SwapAction::RollBack { adapter } => match self.roll_back(&adapter).await {
                Ok(()) => self.end(SwapOutcome::RolledBack, Some(RETURNED.to_owned())),
                Err(failure) => self.end_failed(SwapOutcome::Refused, failure),
            },
        }
        tracing::debug!(number, "change of an adapter worked off");
    }

    fn step(&self, step: SwapStep) {
        self.swaps.update(|record| record.step = step);
        if step != SwapStep::Done {
            self.span.step(step.as_str());
        }
    }

    /// Checks, shadow, switch and probation of a new version.
    async fn load(&mut self, component: &Bytes, trial: &mut SwapTrial) -> Result<(), SwapFailure> {
        let adapter = block_in_place(|| self.check_component(component))?;
        self.step(SwapStep::Feeds);
        trial.parts = self.parts(&adapter)?;
        self.step(SwapStep::Instruments);
        self.check_lists(&adapter, &trial.parts).await?;
        self.step(SwapStep::Plan);
        trial.to = Some(adapter.clone());
        for part in &mut trial.parts {
            part.begin_shadow(&adapter, &trial.accepted).await?;
        }
        self.step(SwapStep::Shadow);
        tracing::info!(
            adapter = adapter.id(),
            feeds = trial.parts.len(),
            "new adapter gets the live frames in parallel with the running one"
        );
        self.shadow(trial).await?;
        self.step(SwapStep::Switch);
        trial.is_switched = true;
        trial.parts.retain(|part| part.is_in(&self.roster));
        self.switch(&adapter, trial).await?;
        self.step(SwapStep::Probation);
        // Its events are published from here on: a kill must not hide that.
        if let Some(record) = self.swaps.running() {
            self.record(&record);
        }
        self.probation(trial).await
    }

    fn check_component(&self, component: &[u8]) -> Result<Adapter, SwapFailure> {
        let settings = self.settings.borrow().clone();
        let checks = ComponentChecks {
            engine: self.engine.as_ref(),
            limits: &self.limits,
            settings: &settings,
            allow_unsigned: settings.allow_unsigned
                && !self.swaps.running().is_some_and(|record| record.is_of_wish()),
            scratch: self.store.scratch(),
        };
        let adapter = checks.run(component, |step| self.step(step))?;
        self.swaps.update(|record| {
            record.to = Some(adapter.id().to_owned());
            record.adapter = Some(adapter.description().name.clone());
        });
        self.swaps.set_cancellable(&adapter.description().name);
        Ok(adapter)
    }

    /// The running parts whose adapter this one replaces. It must describe their exchanges as the running one does: books go on.
    fn parts(&self, adapter: &Adapter) -> Result<Vec<PartSwap>, SwapFailure> {
        let failed = |reason: String| Err(SwapFailure::new(SwapStep::Feeds, reason));
        let name = &adapter.description().name;
        let parts = running_parts(&self.roster, name);
        let Some(first) = parts.first() else {
            let running: BTreeSet<String> =
                self.roster.list().iter().map(|feed| feed.adapter().description().name.clone()).collect();
            let running = running.into_iter().collect::<Vec<_>>().join(", ");
            return failed(format!("no running feed has an adapter named {name:?} (allowed: {running})"));
        };
        self.swaps.update(|record| record.from = Some(first.from.id().to_owned()));
        if parts.iter().all(|part| part.from.digest() == adapter.digest()) {
            return failed(format!("{} runs already", adapter.id()));
        }
        // Feeds that do not run at the moment start with the new version too.
        for status in self.roster.list() {
            let (exchange, from) = (&status.exchange, status.adapter());
            if from.description().name != *name {
                continue;
            }
            let (running, new) = (from.venue(exchange), adapter.venue(exchange));
            if let Some(difference) = venue_difference(running, new) {
                return failed(format!("describes {exchange} otherwise: {difference}"));
            }
        }
        Ok(parts)
    }

    async fn check_lists(&self, adapter: &Adapter, parts: &[PartSwap]) -> Result<(), SwapFailure> {
        let exchanges: BTreeSet<&String> = parts.iter().map(|part| &part.status.exchange).collect();
        for exchange in exchanges {
            let mut running = Vec::new();
            for part in parts.iter().filter(|part| part.status.exchange == *exchange) {
                running.append(&mut part.instruments().await?);
            }
            if let Some(reader) = self.context.readers.get(exchange) {
                check_instruments(&reader, adapter, &running).await?;
            }
        }
        Ok(())
    }

    /// Waits until the new version has seen enough; differences that are not accepted refuse it.
    async fn shadow(&self, trial: &mut SwapTrial) -> Result<(), SwapFailure> {
        let failed = |reason: String| Err(SwapFailure::new(SwapStep::Shadow, reason));
        let SwapSettings { shadow_frames: wanted, shadow, .. } = self.settings.borrow().clone();
        let began = Instant::now();
        let differences = loop {
            sleep(TRIAL_LOOK_EVERY).await;
            trial.join(&self.roster, &self.context.readers).await?;
            let totals = totals(&trial.parts, &self.roster);
            let (frames, passed) = (totals.frames, began.elapsed());
            self.swaps.update(|record| {
                (record.parts, record.shadow_frames) = (trial.parts.len(), frames);
                record.set_differences(&totals.differences);
            });
            if let Some(failure) = totals.failure {
                return failed(failure);
            }
            if frames >= wanted && passed >= shadow {
                break totals.differences;
            }
            if passed > shadow + SHADOW_WAIT_MAX {
                return failed(format!("{frames} frames came in {passed:?}, needed are {wanted}"));
            }
        };
        match unaccepted(&differences, &trial.accepted) {
            Some(reason) => failed(reason),
            None => Ok(()),
        }
    }

    async fn switch(&self, adapter: &Adapter, trial: &mut SwapTrial) -> Result<(), SwapFailure> {
        trial.begin_with(adapter, &self.roster);
        for part in &mut trial.parts {
            let pause = part.switch().await?;
            let exchange = part.status.exchange.as_str();
            tracing::info!(
                exchange,
                adapter = adapter.id(),
                ?pause,
                "the new adapter runs, the earlier one in parallel"
            );
            self.context
                .metrics
                .adapter_swap_pause
                .with_label_values(&[exchange])
                .observe(pause.as_secs_f64());
            let micros = u64::try_from(pause.as_micros()).unwrap_or(u64::MAX);
            self.swaps.update(|record| record.pauses_us.push(micros));
        }
        Ok(())
    }

    /// Changes the version of every part that runs another one than its feed starts with: it was starting while a change ended.
    async fn settle(&self) {
        for status in self.roster.list() {
            let current = status.current.get();
            for part in running_parts(&self.roster, &current.description().name) {
                if !Arc::ptr_eq(&part.status, &status) || part.runs(&current) {
                    continue;
                }
                if let Err(SwapFailure { reason, .. }) = part.replace(&current).await {
                    let adapter = current.id();
                    tracing::warn!(
                        adapter,
                        reason,
                        "a part runs another version than its feed, trying again"
                    );
                }
            }
        }
    }

    async fn probation(&self, trial: &mut SwapTrial) -> Result<(), SwapFailure> {
        let began = Instant::now();
        loop {
            sleep(TRIAL_LOOK_EVERY).await;
            trial.join(&self.roster, &self.context.readers).await?;
            let totals = totals(&trial.parts, &self.roster);
            self.swaps.update(|record| {
                (record.parts, record.probation_frames) = (trial.parts.len(), totals.frames);
            });
            if let Some(failure) = totals.failure {
                self.swaps.update(|record| record.set_differences(&totals.differences));
                return Err(SwapFailure::new(SwapStep::Probation, failure));
            }
            if began.elapsed() >= self.settings.borrow().probation {
                return Ok(());
            }
        }
    }

    async fn promote(&mut self, trial: SwapTrial, component: &[u8]) {
        if !self.swaps.keep() {
            let failure = SwapFailure::new(self.swaps.step(), "rolled back by request");
            return self.take_back(trial, failure).await;
        }
        for part in &trial.parts {
            if let Err(SwapFailure { reason, .. }) = part.end_trial().await {
                tracing::warn!(reason, "a feed did not get the end of the probation");
            }
        }
        // A pipeline may have fallen back since the last look.
        if let Some(failure) = totals(&trial.parts, &self.roster).failure {
            return self.take_back(trial, SwapFailure::new(SwapStep::Probation, failure)).await;
        }
        let Some(to) = &trial.to else { return };
        self.remember(trial.replaced(), to, Some(component));
        if let Some(from) = trial.replaced().find(|from| from.digest() != to.digest()) {
            self.previous.insert(to.description().name.clone(), from.clone());
            self.swaps.set_previous(digests(&self.previous));
        }
        self.step(SwapStep::Done);
        self.end(SwapOutcome::Promoted, None);
    }

    /// Notes the version that a restart begins with.
    fn remember<'a>(
        &mut self,
        replaced: impl Iterator<Item = &'a Adapter>,
        to: &Adapter,
        component: Option<&[u8]>,
    ) {
        let replaced = replaced.map(Adapter::digest).collect();
        if let Err(error) = self.store.replace(&replaced, to.digest(), component) {
            let adapter = to.id();
            tracing::error!(adapter, %error, "change of the adapter not stored: a restart begins with the earlier one");
        }
    }

    /// Goes back to the versions from before the change, in every part.
    async fn take_back(&mut self, mut trial: SwapTrial, failure: SwapFailure) {
        trial.begin_as_before();
        for part in &trial.parts {
            // A part that has ended starts with the version from before.
            let _ = part.roll_back().await;
        }
        let outcome = if trial.is_switched { SwapOutcome::RolledBack } else { SwapOutcome::Refused };
        if trial.is_switched {
            self.settle().await;
        }
        self.end_failed(outcome, failure);
    }

    /// Goes back to the version before the running one, without a shadow: it has run before.
    async fn roll_back(&mut self, name: &str) -> Result<(), SwapFailure> {
        self.step(SwapStep::Feeds);
        let failed = |reason: String| SwapFailure::new(SwapStep::Feeds, reason);
        let to = self.previous.get(name).cloned();
        let to =
            to.ok_or_else(|| failed(format!("no earlier version of an adapter named {name:?} is known")))?;
        self.swaps.update(|record| record.to = Some(to.id().to_owned()));
        let parts = running_parts(&self.roster, name);
        let first =
            parts.first().ok_or_else(|| failed(format!("no running feed has an adapter named {name:?}")))?;
        self.swaps.update(|record| record.from = Some(first.from.id().to_owned()));
        self.step(SwapStep::Switch);
        let mut trial = SwapTrial::new(BTreeSet::new());
        trial.begin_with(&to, &self.roster);
        for part in &parts {
            if let Err(failure) = part.replace(&to).await {
                trial.begin_as_before();
                self.settle().await;
                return Err(failure);
            }
        }
        trial.parts = parts;
        self.remember(trial.replaced(), &to, None);
        self.previous.remove(name);
        self.swaps.set_previous(digests(&self.previous));
        Ok(())
    }

    fn end_failed(&mut self, outcome: SwapOutcome, SwapFailure { step, reason }: SwapFailure) {
        // Parts that end with the edge fail the change in their own ways.
        let outcome = if self.context.stop.is_cancelled() { SwapOutcome::Stopped } else { outcome };
        self.step(step);
        self.end(outcome, Some(reason));
    }

    fn end(&mut self, outcome: SwapOutcome, reason: Option<String>) {
        let Some(record) = self.swaps.ended(outcome, reason) else { return };
        self.context.metrics.adapter_swaps.with_label_values(&[outcome.as_str()]).inc();
        self.end_span(&record, outcome);
        let adapter = record.to.as_deref().unwrap_or(&record.digest);
        let (from, step, outcome) = (record.from.as_deref(), record.step.as_str(), outcome.as_str());
        match &record.reason {
            Some(reason) => {
                tracing::warn!(adapter, from, step, outcome, reason, "change of the adapter ended")
            }
            None => tracing::info!(adapter, from, outcome, "change of the adapter ended"),
        }
        self.record(&record);
        self.swaps.end(record);
    }

    fn end_span(&mut self, record: &SwapRecord, outcome: SwapOutcome) {
        let span = std::mem::take(&mut self.span);
        span.text("marketprism.adapter", record.to.as_deref().unwrap_or(&record.digest));
        span.text("marketprism.adapter.before", record.from.as_deref().unwrap_or_default());
        span.text("marketprism.source", &record.source).text("marketprism.outcome", outcome.as_str());
        span.number("marketprism.feeds", record.parts).number("marketprism.frames", record.shadow_frames);
        let failed = record.reason.as_ref().filter(|reason| *reason != RETURNED);
        span.end(&failed.map_or(Ok(()), Err));
    }

    /// On disk, and in the audits.
    fn record(&mut self, record: &SwapRecord) {
        if let Err(error) = self.store.set_history(self.swaps.history_with(record)) {
            tracing::warn!(%error, "history of changes of adapters not stored");
        }
        self.context.auditor.note_changes([record.change()]);
    }
}

fn digests(versions: &BTreeMap<String, Adapter>) -> BTreeMap<String, String> {
    versions.iter().map(|(name, adapter)| (name.clone(), adapter.digest().to_owned())).collect()
}

fn unaccepted(differences: &Differences, accepted: &BTreeSet<DifferenceKind>) -> Option<String> {
    let others = differences.iter().filter(|(kind, _)| !accepted.contains(kind));
    let texts: Vec<String> = others
        .map(|(kind, found)| {
            let example = found.examples.first();
            let example = example.map(|one| {
                format!(", such as `{}`: {}, the running version gave {}", one.frame, one.new, one.running)
            });
            format!("{kind} in {} frames{}", found.frames, example.unwrap_or_default())
        })
        .collect();
    (!texts.is_empty()).then(|| format!("differences that are not accepted: {}", texts.join("; ")))
}
