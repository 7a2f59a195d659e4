//! The parts that the pages read, and values that several pages show.

use std::sync::Arc;
use std::time::{Duration, Instant};

use marketprism_adapter_host::{FaultCause, Stats};
use marketprism_book::BookState;
use marketprism_service::CertificateFiles;
use serde_json::{Value, json};

use super::access::AccessToken;
use crate::broker::BrokerLink;
use crate::feed::{EdgeContext, FeedPhase, FeedRoster};
use crate::reload::ReloadHandle;
use crate::swap::AdapterSwaps;

pub struct EdgeState {
    pub context: Arc<EdgeContext>,
    pub started: Instant,
    /// Time of the start, and name of the host.
    pub started_ns: i64,
    pub host: String,
    /// Time after the start in which the edge counts as healthy.
    pub grace: Duration,
    pub feeds: Arc<FeedRoster>,
    pub link: Arc<BrokerLink>,
    pub access: Arc<AccessToken>,
    pub reload: Arc<ReloadHandle>,
    pub swaps: Arc<AdapterSwaps>,
    pub certificates: Arc<CertificateFiles>,
}

pub(super) const fn state_text(state: BookState) -> &'static str {
    match state {
        BookState::WaitSnapshot => "WAIT_SNAPSHOT",
        BookState::Syncing => "SYNCING",
        BookState::Live => "LIVE",
    }
}

pub(super) fn phase_text(phase: &FeedPhase) -> String {
    match phase {
        FeedPhase::Starting(reason) => format!("starting: {reason}"),
        FeedPhase::Running => "running".to_owned(),
        FeedPhase::Stopped => "stopped".to_owned(),
    }
}

pub(super) fn faults_json(stats: &Stats) -> Value {
    let stats = stats.snapshot();
    let mut causes = serde_json::Map::new();
    for (cause, count) in stats.faults.into_iter().filter(|(cause, _)| *cause != FaultCause::HostLimit) {
        causes.insert(cause.as_str().to_owned(), json!(count));
    }
    json!({
        "total": stats.all_faults(),
        "by_cause": causes,
        "host_limits": stats.host_limits,
        "restarts": stats.restarts,
        "frames_quarantined": stats.frames_faulted + stats.frames_unseen,
        "memory_high_water_bytes": stats.memory_high_water_bytes,
    })
}
