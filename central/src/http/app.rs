//! State that the handlers share.

use std::sync::Arc;

use marketprism_config::Secret;

use super::documents::{self, Overview};
use crate::context::CentralContext;
use crate::limits;
use crate::repair::RepairJobs;
use crate::report::document::Report;
use crate::report::{
    ReportQuery, ReportScope, ResponseCache, SchemaCache, Sources, TooManyRequests, compute,
};

pub struct App {
    pub shared: Arc<CentralContext>,
    pub sources: Sources,
    pub repair: RepairJobs,
    reports: ResponseCache<Report>,
    overviews: ResponseCache<Overview>,
    schemas: SchemaCache,
}

impl App {
    pub fn new(shared: Arc<CentralContext>) -> Self {
        Self {
            sources: Sources::of(&shared, limits::REPORT_PATIENCE),
            shared,
            repair: RepairJobs::default(),
            reports: ResponseCache::default(),
            overviews: ResponseCache::default(),
            schemas: SchemaCache::default(),
        }
    }

    pub fn token(&self) -> Option<&Secret> {
        self.shared.config.http.token.as_ref()
    }

    /// At most a second old; equal queries share a report.
    pub async fn report(
        &self,
        query: &ReportQuery,
        scope: ReportScope,
    ) -> Result<Arc<Report>, TooManyRequests> {
        self.reports.get(&format!("{query:?}"), compute(&self.sources, scope, &self.schemas)).await
    }

    /// At most a second old.
    pub async fn overview(&self) -> Result<Arc<Overview>, TooManyRequests> {
        self.overviews.get("", documents::overview(&self.shared, &self.sources)).await
    }
}
