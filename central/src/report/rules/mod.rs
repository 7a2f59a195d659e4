//! What the facts mean. Pure.

use std::time::Duration;

use marketprism_schema::DataType;

use super::document::{Finding, Level, TableState, VenueState, Verdict};
use super::facts::Facts;
use super::heat::Ledger;

mod ledger;
mod systems;
mod tables;

pub use systems::{judge_leases, judge_server, judge_stream};

/// Subject of what only the ledger can tell.
pub const LEDGER: &str = "ledger";

/// How new a row must be to count as recent.
pub const fn recent_window(data_type: DataType) -> Duration {
    match data_type {
        DataType::Trade | DataType::OrderBook => Duration::from_secs(5 * 60),
        DataType::Liquidation => Duration::from_secs(3_600),
        _ => Duration::from_secs(8 * 3_600),
    }
}

/// Whether rows of the type come all the time.
pub const fn is_high_frequency(data_type: DataType) -> bool {
    matches!(data_type, DataType::Trade | DataType::OrderBook)
}

/// Everything that is to be said, the worst first.
pub fn judge(facts: &Facts, ledger: &Ledger, tables: &[TableState], venues: &[VenueState]) -> Vec<Finding> {
    let mut findings = Vec::new();
    tables::judge(facts, tables, &mut findings);
    if facts.verdicts.is_ok() {
        ledger::judge(facts, ledger, venues, &mut findings);
    }
    ledger::judge_losses(facts, &mut findings);
    systems::judge(facts, &mut findings);
    for unanswered in facts.unanswered() {
        let text = format!("no answer: {}", unanswered.reason);
        // Not knowing weighs no more than what the answer could have said.
        let level = if unanswered.part == "schema" { Level::Warn } else { Level::Unknown };
        findings.push(Finding::new(level, unanswered.part, text));
    }
    findings.sort_by_key(|finding| finding.level);
    findings
}

/// The verdict that the findings lead to, and its sentence; none for "whole".
pub fn conclude(findings: &[Finding]) -> (Verdict, Option<String>) {
    let of = |level: Level| findings.iter().filter(|finding| finding.level == level).collect::<Vec<_>>();
    let sentence = |list: &[&Finding]| {
        let first = list.first()?;
        let more = list.len() - 1;
        let rest = if more > 0 { format!("; and {more} more") } else { String::new() };
        Some(format!("{}: {}{rest}", first.subject, first.text))
    };
    let (fails, unknowns) = (of(Level::Fail), of(Level::Unknown));
    if !fails.is_empty() {
        return (Verdict::NotWhole, sentence(&fails));
    }
    if !unknowns.is_empty() {
        return (Verdict::CannotTell, sentence(&unknowns));
    }
    (Verdict::Whole, None)
}

/// The sentence of a report without a flaw.
pub fn praise(ledger: &Ledger) -> String {
    format!(
        "all {} closed windows of {} are vouched for by their edges and found in storage",
        ledger.windows.verified,
        count(ledger.map.streams_total, "stream")
    )
}

/// `3 windows`, `1 window`.
fn count(number: u64, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}
