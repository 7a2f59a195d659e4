//! Settings outside the feeds that a reload changes while the edge runs.

use std::sync::Arc;

use marketprism_service::{CertificateFiles, error_text, set_log_filter};
use tokio::sync::watch;

use crate::config::{Config, MirrorSettings, PublisherLimits, SelfCareLimits, SwapSettings};
use crate::http::AccessToken;
use crate::journal::{Journal, JournalLimits};
use crate::limits::JOURNAL_CATCH_UP_PART;
use crate::queue::{MemoryQueue, QueueLimits};
use crate::reload::ApplySettings;

/// Where the parts of the edge read their settings.
pub(super) struct LiveSettings {
    pub(super) access: Arc<AccessToken>,
    pub(super) publisher: watch::Sender<PublisherLimits>,
    pub(super) mirror: watch::Sender<MirrorSettings>,
    pub(super) selfcare: watch::Sender<SelfCareLimits>,
    pub(super) adapters: watch::Sender<SwapSettings>,
    pub(super) certificates: Arc<CertificateFiles>,
    queue: Arc<MemoryQueue>,
    journal: Option<Arc<Journal>>,
}

impl LiveSettings {
    pub(super) fn new(config: &Config, queue: &Arc<MemoryQueue>, journal: Option<&Arc<Journal>>) -> Self {
        Self {
            access: Arc::default(),
            publisher: watch::Sender::new(config.publisher),
            mirror: watch::Sender::new(config.mirror_to_core.clone()),
            selfcare: watch::Sender::new(config.selfcare),
            adapters: watch::Sender::new(config.adapters.clone()),
            certificates: Arc::default(),
            queue: Arc::clone(queue),
            journal: journal.cloned(),
        }
    }

    /// At the start and at each reload.
    pub(super) fn into_apply(self) -> ApplySettings {
        Box::new(move |config| self.apply(config))
    }

    pub(super) fn apply(&self, config: &Config) {
        self.access.set(config.http.token.clone());
        self.certificates.set(config.certificates());
        if let Err(error) = set_log_filter(config.log.filter.as_deref()) {
            tracing::warn!(error = error_text(error.as_ref()), "log.filter not applied");
        }
        let [queue, catch_up] = queue_limits(&config.publisher);
        self.queue.set_limits(queue, catch_up);
        if let Some(journal) = &self.journal {
            journal.set_limits(JournalLimits {
                bytes: config.journal.max_bytes,
                age: config.journal.max_age,
                keep_confirmed: config.journal.keep_confirmed,
                sync_every: config.journal.sync_interval,
            });
        }
        changed(&self.publisher, &config.publisher);
        changed(&self.mirror, &config.mirror_to_core);
        changed(&self.selfcare, &config.selfcare);
        changed(&self.adapters, &config.adapters);
    }
}

fn changed<T: Clone + PartialEq>(sender: &watch::Sender<T>, new: &T) {
    sender.send_if_modified(|current| {
        let is_other = current != new;
        if is_other {
            *current = new.clone();
        }
        is_other
    });
}

/// Bounds of the queue, and of the journal's records in it: they leave room in flight.
pub(super) fn queue_limits(limits: &PublisherLimits) -> [QueueLimits; 2] {
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    let part = |number: usize| (count(number) / JOURNAL_CATCH_UP_PART).max(1);
    [
        QueueLimits { messages: count(limits.queue_messages), bytes: count(limits.queue_bytes) },
        QueueLimits { messages: part(limits.in_flight_messages), bytes: part(limits.in_flight_bytes) },
    ]
}
