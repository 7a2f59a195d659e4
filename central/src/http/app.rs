//! What the handlers share.

use std::sync::Arc;

use marketprism_config::Secret;

use super::overview::Overview;
use crate::context::CentralContext;
use crate::limits;
use crate::repair::Desk;
use crate::report::document::Report;
use crate::report::sources::schema;
use crate::report::{Busy, Flights, Scope, Sources, Wish, compute};

/// What the handlers share.
pub struct App {
    /// The running central.
    pub shared: Arc<CentralContext>,
    /// What reports are made from.
    pub sources: Sources,
    /// Repairs, one at a time.
    pub repair: Desk,
    reports: Flights<Report>,
    overviews: Flights<Overview>,
    schemas: schema::Cache,
}

impl App {
    /// For one central.
    pub fn new(shared: Arc<CentralContext>) -> Self {
        Self {
            sources: Sources::of(&shared, limits::REPORT_PATIENCE),
            shared,
            repair: Desk::default(),
            reports: Flights::default(),
            overviews: Flights::default(),
            schemas: schema::Cache::default(),
        }
    }

    /// The token that state-changing requests must carry.
    pub fn token(&self) -> Option<&Secret> {
        self.shared.config.http.token.as_ref()
    }

    /// A report, at most a second old. `wish` is what led to the scope: equal wishes share a report.
    pub async fn report(&self, wish: &Wish, scope: Scope) -> Result<Arc<Report>, Busy> {
        self.reports.get(&format!("{wish:?}"), compute(&self.sources, scope, &self.schemas)).await
    }

    /// The overview, at most a second old.
    pub async fn overview(&self) -> Result<Arc<Overview>, Busy> {
        self.overviews.get("", super::overview::compute(&self.shared, &self.sources)).await
    }
}
