//! `integrity --verify`: counts and digests the rows of a period in hot and cold, and compares them with each other and with the audits.
//!
//! Read-only, one table and one range after the other, each query on few server threads: ingest comes first.

mod audits;
mod findings;
mod hot_cold;

use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;

use super::document::{Verification, WorstWindow};
use super::sources::Sources;
use super::sources::tables::ReplicationBucket;
use super::{ReportScope, Time};
use crate::clock;
use crate::context::CentralContext;
use crate::coverage::Coverage;
use crate::metrics::Metrics;
use crate::replicator::CopyContext;
use crate::status::Status;

pub use findings::findings;

/// Work done and to do, in rows read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyProgress {
    pub doing: String,
    pub done: u64,
    pub total: u64,
}

/// What was found now; takes the place of window log and stored verdicts in the report.
#[derive(Debug)]
pub struct Verified {
    pub document: Verification,
    pub copies: Vec<ReplicationBucket>,
    /// Windows that differ or failed.
    pub copies_worst: Vec<WorstWindow>,
    /// Windows whose stored verdict was better than what was found.
    pub audits_worst: Vec<WorstWindow>,
    /// Reason why hot was not compared with the audits.
    pub audits_failed: Option<String>,
}

pub struct ProgressMeter<'a> {
    tell: &'a (dyn Fn(&VerifyProgress) + Sync),
    state: VerifyProgress,
}

impl ProgressMeter<'_> {
    fn begin(&mut self, doing: impl Into<String>) {
        self.state.doing = doing.into();
        (self.tell)(&self.state);
    }

    fn add(&mut self, rows: u64) {
        self.state.done = self.state.done.saturating_add(rows).min(self.state.total);
        (self.tell)(&self.state);
    }
}

/// Fails when a server does not answer at all; later failures are part of the result.
pub async fn verify(
    sources: &Sources,
    scope: &ReportScope,
    tell: &(dyn Fn(&VerifyProgress) + Sync),
) -> anyhow::Result<Verified> {
    let (started, started_at) = (Instant::now(), Time(clock::now_ns() / 1_000_000));
    let shared = Arc::new(context(sources)?);
    let state = VerifyProgress { doing: "counting rows".to_owned(), done: 0, total: 0 };
    let mut meter = ProgressMeter { tell, state };
    meter.begin("counting rows");
    let copying = CopyContext {
        config: &shared.config,
        lease: None,
        metrics: &shared.metrics.replication,
        holder: shared.leases.own_name(),
    };
    let comparison = hot_cold::TableComparison::plan(copying, scope).await?;
    // The audits' comparison reads the rows of hot once more.
    meter.state.total = comparison.rows().saturating_add(comparison.hot_rows()).max(1);
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
        leases: sources.leases.clone(),
        metrics: Metrics::new().context("cannot register the metrics")?,
        status: Status::starting([]),
        coverage: Coverage::default(),
    })
}
