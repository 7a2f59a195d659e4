//! The parts that the HTTP pages read.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::audit::Auditor;
use crate::broker::BrokerLink;
use crate::feed::FeedStatus;
use crate::queue::EventQueue;
use crate::telemetry::{Coverage, Metrics};

pub struct EdgeState {
    /// Name of the edge.
    pub edge: String,
    pub region: String,
    pub started: Instant,
    /// Time after the start in which the edge counts as healthy.
    pub grace: Duration,
    pub feeds: Vec<Arc<FeedStatus>>,
    pub coverage: Arc<Coverage>,
    pub queue: Arc<dyn EventQueue>,
    pub auditor: Arc<Auditor>,
    pub link: Arc<BrokerLink>,
    pub metrics: Metrics,
}
