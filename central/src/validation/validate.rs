//! `validate`: health, streams, consumers, counts, throughput, doubles and lag, in one verdict.

use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::figures::{self, StreamFigures};
use super::sample::{Sample, Sampler};
use super::{rules, throughput};
use crate::clock;
use crate::diagnose::{Check, CheckStatus, CheckVerdict, diagnose};
use crate::limits;
use crate::report::document::{FindingCode, TableReport, Unanswered};
use crate::report::{SchemaCache, Sources, Time, VerifyProgress, status};

#[derive(Debug, Clone, Serialize)]
pub struct Validation {
    pub version: u32,
    pub generated_at: Time,
    pub verdict: CheckVerdict,
    /// Time over which the throughput was measured.
    pub seconds: f64,
    /// In the order of the data flow.
    pub checks: Vec<Check>,
    pub streams: Vec<StreamFigures>,
    /// Rows of hot and cold, in all and recent ones.
    pub tables: Vec<TableReport>,
}

/// Measures for `length`, and then waits for the rows of what arrived at most [`limits::STORED_WAIT`].
pub async fn validate(
    sources: &Sources,
    length: Duration,
    on_progress: &(dyn Fn(&VerifyProgress) + Sync),
) -> Validation {
    let schemas = SchemaCache::default();
    let (measured, diagnosis, report) =
        tokio::join!(measure(sources, length, on_progress), diagnose(sources), status(sources, &schemas));
    let mut checks = diagnosis.checks;
    // Of the rest `diagnose` has checks of its own.
    let of_tables = report.findings.into_iter().filter(|finding| {
        let part = finding.code.as_str().split('.').next();
        matches!(part, Some("table" | "replication"))
    });
    checks.extend(of_tables.map(Check::from).map(doubles_fail));
    let (mut seconds, mut streams) = (0.0, Vec::new());
    match measured {
        Err(reason) => checks.push(Check::unavailable("throughput", reason, "")),
        Ok(samples) => {
            checks.extend(rules::evaluate(&samples));
            streams = figures::streams(&samples);
            seconds = samples.last().map_or(0.0, |sample| sample.seconds);
        }
    }
    let verdict = CheckVerdict::of(&checks);
    let generated_at = Time(clock::now_ms());
    Validation { version: 1, generated_at, verdict, seconds, checks, streams, tables: report.tables }
}

fn doubles_fail(check: Check) -> Check {
    let is_double = check.code == Some(FindingCode::TableDuplicateRows);
    Check { found: if is_double { CheckStatus::Fail } else { check.found }, ..check }
}

async fn measure(
    sources: &Sources,
    length: Duration,
    on_progress: &(dyn Fn(&VerifyProgress) + Sync),
) -> Result<Vec<Sample>, String> {
    let mut sampler = Sampler::begin(sources).await?;
    let mut samples = vec![sampler.take().await];
    let (began, total) = (Instant::now(), millis(length));
    let doing = "measuring the throughput".to_owned();
    while began.elapsed() < length {
        on_progress(&VerifyProgress { doing: doing.clone(), done: millis(began.elapsed()), total });
        sleep(limits::MEASURE_TICK.min(length.saturating_sub(began.elapsed()))).await;
    }
    on_progress(&VerifyProgress { doing, done: total, total });
    samples.push(sampler.take().await);
    wait_for_rows(&mut sampler, &mut samples).await;
    Ok(samples)
}

/// Takes the newest sample again until the rows of what arrived before are stored: at the end they are still in a batch.
pub async fn wait_for_rows(sampler: &mut Sampler<'_>, samples: &mut Vec<Sample>) {
    let began = Instant::now();
    while throughput::waits_for_rows(samples) && began.elapsed() < limits::STORED_WAIT {
        sleep(limits::STORED_POLL).await;
        let mut again = sampler.take().await;
        if let Some(newest) = samples.pop() {
            // What did not answer once is reported all the same.
            let is_new = |missed: &Unanswered| again.unanswered.iter().all(|known| known.part != missed.part);
            let missed: Vec<Unanswered> = newest.unanswered.into_iter().filter(is_new).collect();
            again.unanswered.extend(missed);
        }
        samples.push(again);
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
