//! Self-care: compares memory, CPU time and uptime of this process with their limits, and watches that the publisher makes progress. It
//! asks for a restart of the process; it ends nothing itself.

mod monitor;
mod publishing;
mod restarts;

pub use monitor::{ResourceMonitor, RestartRequest};
pub use publishing::{ProgressSample, PublishingWatch, StuckPublishing};
pub use restarts::{RestartLog, start_again};

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::Client;
use marketprism_service::{ProcessUsage, ServiceState, tell_service_manager};
use tokio::sync::{mpsc, watch};
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::broker::BrokerLink;
use crate::config::SelfCareLimits;
use crate::feed::EdgeContext;
use crate::limits::{PROGRESS_EVERY, RECONNECT_ANSWER};
use crate::publisher::PUBLISHER;
use crate::telemetry::{ANY, CareLimit, RestartCause};

pub struct SelfCare {
    pub limits: watch::Receiver<SelfCareLimits>,
    pub context: Arc<EdgeContext>,
    pub client: Client,
    pub link: Arc<BrokerLink>,
}

impl SelfCare {
    /// Watches until `stop`. `requests`: for restarts of the process, with room for one.
    pub async fn run(mut self, requests: mpsc::Sender<RestartRequest>, stop: CancellationToken) {
        let mut limits = *self.limits.borrow_and_update();
        let (mut checks, mut progress) = (ticks(limits.monitor_interval), ticks(PROGRESS_EVERY));
        let mut monitor = ResourceMonitor::new(limits, Instant::now());
        let mut publishing = PublishingWatch::default();
        loop {
            let request = tokio::select! {
                () = stop.cancelled() => return,
                Ok(()) = self.limits.changed() => {
                    limits = *self.limits.borrow_and_update();
                    checks = ticks(limits.monitor_interval);
                    monitor.set_limits(limits);
                    None
                }
                _ = checks.tick() => self.check(&mut monitor),
                _ = progress.tick() => {
                    let request = self.check_publishing(&mut publishing, &monitor).await;
                    if !publishing.is_standing() && !self.context.hanging.is_full() {
                        tell_service_manager(ServiceState::Alive);
                    }
                    request.or_else(|| self.check_pipelines(&monitor))
                }
            };
            if let Some(request) = request {
                tracing::warn!(
                    cause = request.cause.as_str(),
                    detail = request.detail,
                    "self-care restarts the edge"
                );
                // Full: a restart has been asked for already.
                let _ = requests.try_send(request);
            }
        }
    }

    fn check(&self, monitor: &mut ResourceMonitor) -> Option<RestartRequest> {
        let usage = match ProcessUsage::now() {
            Ok(usage) => usage,
            Err(error) => {
                tracing::warn!(%error, "memory and CPU time of this process cannot be read: they are not watched now");
                return None;
            }
        };
        let request = monitor.observe(usage, Instant::now());
        for limit in CareLimit::ALL {
            let is_exceeded = monitor.exceeded(limit).is_some();
            self.context
                .metrics
                .selfcare_exceeded
                .with_label_values(&[limit.as_str()])
                .set(i64::from(is_exceeded));
        }
        request
    }

    /// Feeds whose pipelines hang wait for this restart.
    fn check_pipelines(&self, monitor: &ResourceMonitor) -> Option<RestartRequest> {
        let hanging = &self.context.hanging;
        let detail = || format!("{} pipelines hang", hanging.count());
        hanging.is_full().then(|| monitor.request(RestartCause::Stuck, detail(), Instant::now())).flatten()
    }

    async fn check_publishing(
        &self,
        watch: &mut PublishingWatch,
        monitor: &ResourceMonitor,
    ) -> Option<RestartRequest> {
        let sample = ProgressSample {
            is_connected: self.link.may_publish(),
            waiting: self.context.queue.status().messages > 0,
            turns: self.link.progress().turns(),
            replies: self.link.progress().replies(),
            connects: self.link.connects(),
        };
        match watch.observe(sample)? {
            StuckPublishing::NoReply { seconds } => {
                self.context.metrics.stuck_restarts.with_label_values(&[ANY, PUBLISHER]).inc();
                tracing::warn!(seconds, "the broker is connected and answers no publish: connecting again");
                let reconnected = timeout(RECONNECT_ANSWER, self.client.force_reconnect()).await;
                if !matches!(reconnected, Ok(Ok(()))) {
                    tracing::warn!("the client does not take the request to connect again");
                }
                None
            }
            StuckPublishing::NoTurn { seconds } => {
                let detail = format!("the publisher made no progress for {seconds} s");
                let request = monitor.request(RestartCause::Stuck, detail.clone(), Instant::now());
                if request.is_none() {
                    tracing::error!(detail, "events wait in the queue and the journal; restart the edge");
                }
                request
            }
        }
    }
}

fn ticks(every: Duration) -> Interval {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
