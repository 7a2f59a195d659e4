//! `integrity --wait`: repeats the report while the system starts.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::progress::write;
use crate::limits;
use crate::report::document::{FindingCode, Report};
use crate::report::terminal::clean;
use crate::report::{ReportScope, SchemaCache, Sources, compute};
use crate::time::{InvalidParameter, millis};

/// The first report that every source answered and that has a closed window; or the last one when the time is over.
pub async fn until_started(
    sources: &Sources,
    scope: impl Fn() -> Result<ReportScope, InvalidParameter>,
    longest: Duration,
) -> anyhow::Result<Report> {
    let began = Instant::now();
    let mut shown = String::new();
    loop {
        let report = compute(sources, scope()?, &SchemaCache::default(), None).await;
        let Some(reason) = starting(&report).map(|reason| clean(&reason)) else { return Ok(report) };
        let (seconds, waited) = (longest.as_secs(), began.elapsed());
        if waited + limits::START_POLL >= longest {
            write(&format!("gave up waiting after {seconds} s: {reason}\n"));
            return Ok(report);
        }
        if shown != reason {
            write(&format!("waiting, {} of {seconds} s: {reason}\n", waited.as_secs()));
            shown = reason;
        }
        sleep(limits::START_POLL).await;
    }
}

/// Reason why the report may be a better one soon.
fn starting(report: &Report) -> Option<String> {
    if let Some(unanswered) = report.unanswered.first() {
        return Some(format!("{}: {}", unanswered.part, unanswered.reason));
    }
    let is_early = |code| matches!(code, FindingCode::LedgerNoWindows | FindingCode::LedgerNoClosedWindow);
    let finding = report.findings.iter().find(|finding| is_early(finding.code))?;
    let reaches_now = report.scope.to.0 >= report.generated_at.0 - millis(limits::START_RECENT);
    reaches_now.then(|| finding.text.clone())
}
