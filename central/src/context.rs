//! Connections and state of the process, shared by every task.

use std::sync::Arc;

use crate::broker::Broker;
use crate::config::Config;
use crate::copy_marks::MarksOfCold;
use crate::coverage::Coverage;
use crate::fleet::EdgeFleet;
use crate::lease::Leases;
use crate::metrics::Metrics;
use crate::server_clock::ServerClock;
use crate::status::Status;
use crate::storage::Storage;

pub struct CentralContext {
    pub config: Config,
    pub broker: Broker,
    pub storage: Storage,
    pub cold: Storage,
    pub hot_clock: ServerClock,
    pub cold_clock: ServerClock,
    pub marks_of_cold: MarksOfCold,
    pub leases: Leases,
    pub metrics: Metrics,
    pub status: Status,
    pub coverage: Coverage,
    pub fleet: Arc<EdgeFleet>,
}
