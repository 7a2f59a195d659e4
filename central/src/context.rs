//! Connections and state of the process, shared by every task.

use std::sync::Arc;

use crate::broker::Broker;
use crate::config::Config;
use crate::copy_marks::CopyMarks;
use crate::coverage::Coverage;
use crate::failing_views::FailingViews;
use crate::fleet::EdgeFleet;
use crate::lease::Leases;
use crate::metrics::Metrics;
use crate::recorded_losses::RecordedLosses;
use crate::server_clock::ServerClock;
use crate::shared_answer::SharedAnswer;
use crate::status::Status;
use crate::storage::{Storage, StorageError};

pub struct CentralContext {
    pub config: Config,
    pub broker: Broker,
    pub storage: Storage,
    pub cold: Storage,
    pub hot_clock: ServerClock,
    pub cold_clock: ServerClock,
    /// An older answer is right too: hot has each later mark before cold.
    pub marks_of_cold: SharedAnswer<CopyMarks, StorageError>,
    pub losses: RecordedLosses,
    pub failing_views: FailingViews,
    pub leases: Leases,
    pub metrics: Metrics,
    pub status: Status,
    pub coverage: Coverage,
    pub fleet: Arc<EdgeFleet>,
}
