//! `integrity --verify`: counts and digests the rows of a period in hot and cold, and compares them with each other and with the audits.
//!
//! Read-only, one table and one range after the other, each query on few server threads: ingest comes first.

mod audits;
mod findings;
mod hot_cold;
mod meter;

use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;

use super::document::Verification;
use super::inputs::Verified;
use super::sources::Sources;
use super::{ReportScope, Time};
use crate::clock;
use crate::context::CentralContext;
use crate::coverage::Coverage;
use crate::failing_views::FailingViews;
use crate::metrics::Metrics;
use crate::recorded_losses::RecordedLosses;
use crate::replicator::CopyContext;
use crate::server_clock::ServerClock;
use crate::shared_answer::SharedAnswer;
use crate::status::Status;

pub use findings::findings;
use meter::ProgressMeter;
pub use meter::VerifyProgress;

/// Fails when a server does not answer at all; later failures are part of the result.
pub async fn verify(
    sources: &Sources,
    scope: &ReportScope,
    on_progress: &(dyn Fn(&VerifyProgress) + Sync),
) -> anyhow::Result<Verified> {
    let (started, started_at) = (Instant::now(), Time(clock::now_ns() / 1_000_000));
    let shared = Arc::new(context(sources)?);
    let mut meter = ProgressMeter::new(on_progress);
    meter.begin("counting rows");
    let copying = CopyContext {
        config: &shared.config,
        lease: None,
        metrics: &shared.metrics.replication,
        status: None,
        holder: shared.leases.own_name(),
    };
    let comparison = hot_cold::TableComparison::plan(copying, scope).await?;
    // The audits' comparison reads the rows of hot once more.
    meter.expect(comparison.rows().saturating_add(comparison.hot_rows()));
    let audit_rows = comparison.hot_rows();
    let hot_cold::ComparedTables { tables, copies, worst } = comparison.run(copying, scope, &mut meter).await;
    let (audits, audits_worst, audits_failed) =
        match audits::compare(Arc::clone(&shared), scope, audit_rows, &mut meter).await {
            Ok((audits, worst)) => (Some(audits), worst, None),
            Err(error) => (None, Vec::new(), Some(format!("{error:#}"))),
        };
    let took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let document = Verification { started_at, took_ms, tables, audits };
    Ok(Verified { document, copies, copies_worst: worst, audits_worst, audits_failed })
}

/// Of a process that only reads.
fn context(sources: &Sources) -> anyhow::Result<CentralContext> {
    Ok(CentralContext {
        config: sources.config.clone(),
        broker: sources.broker.clone(),
        storage: sources.hot.clone(),
        cold: sources.cold.clone(),
        hot_clock: ServerClock::default(),
        cold_clock: ServerClock::default(),
        marks_of_cold: SharedAnswer::default(),
        losses: RecordedLosses::default(),
        failing_views: FailingViews::default(),
        leases: sources.leases.clone(),
        metrics: Metrics::new().context("cannot register the metrics")?,
        status: Status::starting([]),
        fleet: Arc::default(),
        coverage: Coverage::default(),
    })
}
