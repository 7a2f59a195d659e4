//! Owns the running configuration, the loaded adapters and the feeds; one reload at a time.

use std::path::Path;
use std::sync::Arc;

use marketprism_config::ConfigError;
use marketprism_service::{ReloadSignal, clock};
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::handle::{ReloadHandle, ReloadRequests};
use super::report::{ReloadReport, ReloadResult};
use super::watch::ConfigWatch;
use crate::audit::Auditor;
use crate::config::{Adapters, Config, ConfigDifference};
use crate::feed::FeedSet;
use crate::limits::CONFIG_WATCH_EVERY;
use crate::telemetry::Metrics;

/// Applies what concerns no feed.
pub type ApplySettings = Box<dyn Fn(&Config) + Send>;

pub struct Reloader {
    pub watch: ConfigWatch,
    pub config: Config,
    pub adapters: Adapters,
    pub feeds: FeedSet,
    pub handle: Arc<ReloadHandle>,
    pub requests: ReloadRequests,
    pub signal: ReloadSignal,
    pub apply: ApplySettings,
    pub metrics: Metrics,
    pub auditor: Arc<Auditor>,
}

/// Causes of a reload, in the log.
const SIGNAL: &str = "SIGHUP";
const REQUEST: &str = "POST /reload";
const FILE: &str = "the file changed";

impl Reloader {
    /// Reloads on request until the stop; a reload that runs is finished. Gives the feeds back.
    pub async fn run(mut self, stop: CancellationToken) -> FeedSet {
        let mut look = interval(CONFIG_WATCH_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let (cause, answer): (_, Option<oneshot::Sender<ReloadReport>>) = tokio::select! {
                biased;
                () = stop.cancelled() => return self.feeds,
                () = self.signal.next() => (SIGNAL, None),
                Some(answer) = self.requests.recv() => (REQUEST, Some(answer)),
                _ = look.tick() => match self.config.watch_config && self.watch.has_changed() {
                    true => (FILE, None),
                    false => continue,
                },
            };
            self.watch.read();
            let report = self.reload(&stop).await;
            // Also what a refused file named: it may be another file by the next time.
            self.adapters.retain(|path| self.config.feeds.iter().any(|feed| feed.adapter == path));
            report.log(cause);
            self.auditor.note_changes(report.changes(cause, clock::now_ns()));
            self.metrics.reloads.with_label_values(&[report.result.as_str()]).inc();
            self.handle.note(&report);
            // The requester may have closed its connection.
            let _ = answer.map(|answer| answer.send(report));
        }
    }

    async fn reload(&mut self, stop: &CancellationToken) -> ReloadReport {
        let new = match self.read().await {
            Ok(config) => config,
            Err(errors) => return ReloadReport::refused(ReloadResult::Refused, errors),
        };
        let difference = ConfigDifference::new(&self.config, &new);
        let prepared = tokio::select! {
            prepared = self.feeds.prepare(difference.feeds.clone(), &new.feeds, &self.adapters) => prepared,
            () = stop.cancelled() => Err(vec!["the edge stops".to_owned()]),
        };
        let prepared = match prepared {
            Ok(prepared) => prepared,
            Err(errors) => return ReloadReport::refused(ReloadResult::Failed, errors),
        };
        let updated = self.config.updated_to(new);
        let old = std::mem::replace(&mut self.config, updated);
        (self.apply)(&self.config);
        let selected = self.feeds.change(prepared, &self.config.feeds).await;
        ReloadReport::applied(difference, (&old, &self.config), &selected)
    }

    /// Reads and validates the file as a start does. Adapters that run are not loaded again.
    async fn read(&mut self) -> Result<Config, Vec<String>> {
        let (path, mut adapters) = (self.watch.path().to_owned(), std::mem::take(&mut self.adapters));
        let read = spawn_blocking(move || {
            adapters.forget_errors();
            let read = read(&path, &mut adapters);
            (adapters, read)
        });
        match read.await {
            Ok((adapters, read)) => {
                self.adapters = adapters;
                read
            }
            Err(error) => Err(vec![format!("the configuration cannot be read: {error}")]),
        }
    }
}

fn read(path: &Path, adapters: &mut Adapters) -> Result<Config, Vec<String>> {
    let read = Config::load(path, adapters);
    if let Some(limit) = adapters.host_limit() {
        return Err(vec![limit.to_owned()]);
    }
    read.map_err(|error| match error {
        ConfigError::Invalid { problems, .. } => problems.iter().map(ToString::to_string).collect(),
        other => vec![other.to_string()],
    })
}
