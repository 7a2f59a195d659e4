//! State that the handlers share.

use std::sync::Arc;

use marketprism_config::Secret;
use marketprism_service::CertificateFiles;

use super::documents::{self, Overview};
use super::instruments::{self, InstrumentFilters, InstrumentTable};
use crate::clock;
use crate::context::CentralContext;
use crate::limits;
use crate::repair::RepairJobs;
use crate::report::document::Report;
use crate::report::sources::Answer;
use crate::report::sources::selftest::{self, SelfTests};
use crate::report::{
    AnswerError, Fleet, ReportQuery, ReportScope, ResponseCache, SchemaCache, Sources, compute, fleet,
};

pub struct App {
    pub shared: Arc<CentralContext>,
    pub sources: Sources,
    pub repair: RepairJobs,
    reports: ResponseCache<Report>,
    overviews: ResponseCache<Overview>,
    selftests: ResponseCache<Answer<SelfTests>>,
    instruments: ResponseCache<Answer<InstrumentTable>>,
    fleets: ResponseCache<Fleet>,
    schemas: SchemaCache,
    pub certificates: CertificateFiles,
}

impl App {
    pub fn new(shared: Arc<CentralContext>) -> Self {
        Self {
            sources: Sources::of(&shared, limits::REPORT_PATIENCE),
            certificates: shared.config.certificates(),
            shared,
            repair: RepairJobs::default(),
            reports: ResponseCache::default(),
            overviews: ResponseCache::default(),
            selftests: ResponseCache::fresh_for(limits::SELFTEST_FRESH),
            instruments: ResponseCache::default(),
            fleets: ResponseCache::default(),
            schemas: SchemaCache::default(),
        }
    }

    pub fn token(&self) -> Option<&Secret> {
        self.shared.config.http.token.as_ref()
    }

    /// At most a second old; equal queries share a report.
    pub async fn report(
        self: &Arc<Self>,
        query: &ReportQuery,
        scope: ReportScope,
    ) -> Result<Arc<Report>, AnswerError> {
        let app = Arc::clone(self);
        let report = async move {
            app.shared.metrics.reports_computed.inc();
            compute(&app.sources, scope, &app.schemas, None).await
        };
        self.reports.get(&query.question(), report).await
    }

    /// At most a second old.
    pub async fn instruments(
        self: &Arc<Self>,
        question: &str,
        filters: InstrumentFilters,
        at_ms: i64,
    ) -> Result<Arc<Answer<InstrumentTable>>, AnswerError> {
        let app = Arc::clone(self);
        let table = async move { instruments::instruments(&app.sources, filters, at_ms).await };
        self.instruments.get(question, table).await
    }

    /// At most a second old.
    pub async fn overview(self: &Arc<Self>) -> Result<Arc<Overview>, AnswerError> {
        let app = Arc::clone(self);
        let overview = async move { documents::overview(&app.shared, &app.sources, app.selftests()).await };
        self.overviews.get("", overview).await
    }

    /// At most [`limits::SELFTEST_FRESH`] old: it reads a day of rows.
    async fn selftests(self: &Arc<Self>) -> Answer<SelfTests> {
        let app = Arc::clone(self);
        let read = async move { selftest::read(&app.sources, clock::now_ns() / 1_000_000).await };
        let read = self.selftests.get("", read).await.map_err(|error| error.to_string())?;
        (*read).clone()
    }

    /// At most a second old.
    pub async fn fleet(self: &Arc<Self>) -> Result<Arc<Fleet>, AnswerError> {
        let app = Arc::clone(self);
        self.fleets.get("", async move { fleet(&app.sources).await }).await
    }
}
