//! Connections and state of the process, shared by every task.

use crate::broker::Broker;
use crate::config::Config;
use crate::coverage::Coverage;
use crate::lease::Leases;
use crate::metrics::Metrics;
use crate::status::Status;
use crate::storage::Storage;

pub struct CentralContext {
    pub config: Config,
    pub broker: Broker,
    pub storage: Storage,
    pub cold: Storage,
    pub leases: Leases,
    pub metrics: Metrics,
    pub status: Status,
    pub coverage: Coverage,
}
