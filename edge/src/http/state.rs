//! What the HTTP listeners read.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::audit::Auditor;
use crate::broker::BrokerLink;
use crate::feed::FeedStatus;
use crate::queue::EventQueue;
use crate::telemetry::{Coverage, Metrics};

/// What the HTTP listeners read. Nothing here is written by them.
pub struct EdgeState {
    /// Name of the edge.
    pub edge: String,
    /// Region of the edge.
    pub region: String,
    /// When it started.
    pub started: Instant,
    /// Time after the start in which trouble is forgiven.
    pub grace: Duration,
    /// Every feed.
    pub feeds: Vec<Arc<FeedStatus>>,
    /// What the broker confirmed.
    pub coverage: Arc<Coverage>,
    /// The queue.
    pub journal: Arc<dyn EventQueue>,
    /// What is reported of the windows.
    pub auditor: Arc<Auditor>,
    /// The broker.
    pub link: Arc<BrokerLink>,
    /// Every metric.
    pub metrics: Metrics,
}
