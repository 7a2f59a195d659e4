//! Rules that turn report inputs into findings and a verdict. Pure: no clock, no I/O.

use super::document::{Finding, FindingCode, Level, ReportVerdict, TableReport, VenueState};
use super::heatmap::LedgerSummary;
use super::inputs::ReportInputs;

mod count;
mod ledger;
mod systems;
mod tables;

use count::count;
pub use ledger::LEDGER;
pub use systems::{evaluate_leases, evaluate_server, evaluate_stream};

/// All findings, the most severe first.
pub fn evaluate(
    inputs: &ReportInputs,
    ledger: &LedgerSummary,
    tables: &[TableReport],
    venues: &[VenueState],
) -> Vec<Finding> {
    let mut findings = Vec::new();
    tables::evaluate(inputs, tables, &mut findings);
    if inputs.verdicts.is_ok() {
        ledger::evaluate(inputs, ledger, venues, &mut findings);
    }
    ledger::evaluate_losses(inputs, &mut findings);
    systems::evaluate(inputs, &mut findings);
    for unanswered in inputs.unanswered() {
        // An unknown schema weighs no more than a schema that differs.
        let level = if unanswered.part == "schema" { Level::Warn } else { Level::Unknown };
        findings.push(unavailable(level, unanswered.part, &unanswered.reason));
    }
    findings.sort_by_key(|finding| finding.level);
    findings
}

pub fn unavailable(level: Level, part: impl Into<String>, reason: &str) -> Finding {
    Finding::new(FindingCode::SourceUnavailable, level, part, format!("no answer: {reason}"), "")
}

/// The verdict and its summary; no summary for "whole".
pub fn conclude(findings: &[Finding]) -> (ReportVerdict, Option<String>) {
    let of = |level: Level| findings.iter().filter(|finding| finding.level == level).collect::<Vec<_>>();
    let sentence = |list: &[&Finding]| {
        let first = list.first()?;
        let more = list.len() - 1;
        let rest = if more > 0 { format!("; and {more} more") } else { String::new() };
        Some(format!("{}: {}{rest}", first.subject, first.text))
    };
    let (fails, unknowns) = (of(Level::Fail), of(Level::Unknown));
    if !fails.is_empty() {
        return (ReportVerdict::NotWhole, sentence(&fails));
    }
    if !unknowns.is_empty() {
        return (ReportVerdict::CannotTell, sentence(&unknowns));
    }
    (ReportVerdict::Whole, None)
}

/// Summary of a report with the verdict "whole".
pub fn summary_of_whole(ledger: &LedgerSummary) -> String {
    let (verified, closed) = (ledger.windows.verified, ledger.windows.closed());
    let streams = count(ledger.map.streams_total, "stream");
    let covered = if closed > verified { ", the others covered by another edge" } else { "" };
    format!("{verified} of {closed} closed windows verified ({streams}){covered}")
}
