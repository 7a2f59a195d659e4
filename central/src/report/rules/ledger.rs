//! Findings about windows, gaps, losses and dead letters.

use super::count::count;
use crate::report::Time;
use crate::report::document::{Finding, FindingCode, Level, VenueState};
use crate::report::heatmap::LedgerSummary;
use crate::report::inputs::ReportInputs;

/// Subject of findings that come from the ledger alone.
pub const LEDGER: &str = "ledger";
/// Longest time after a window's grace period until an edge's audit is verified.
const SILENCE_MS: i64 = 5 * 60_000;
const REPAIR: &str = "run `repair`: it asks the edges to publish the missing events again";

pub fn evaluate(
    inputs: &ReportInputs,
    ledger: &LedgerSummary,
    venues: &[VenueState],
    findings: &mut Vec<Finding>,
) {
    let windows = &ledger.windows;
    let mut add = |code, level, text: String, remedy: &str| {
        findings.push(Finding::new(code, level, LEDGER, text, remedy));
    };
    if windows.mismatch > 0 {
        let text = format!("hot differs from the edges' audits in {}", count(windows.mismatch, "window"));
        add(FindingCode::LedgerMismatchedWindows, Level::Fail, text, REPAIR);
    }
    if ledger.missing > 0 {
        let text = format!("{} missing ({})", count(ledger.missing, "event"), causes(ledger));
        add(FindingCode::LedgerMissingEvents, Level::Fail, text, REPAIR);
    }
    if windows.total() == 0 {
        let text = "no window of this period has a verdict: no edge audit was compared".to_owned();
        let remedy = "check that edges publish audits and that a central holds the lease `ledger`";
        add(FindingCode::LedgerNoWindows, Level::Unknown, text, remedy);
    } else if windows.closed() == 0 {
        let text = "no window of this period is closed yet".to_owned();
        add(FindingCode::LedgerNoClosedWindow, Level::Unknown, text, "try again in a few minutes");
    }
    if ledger.uncovered > 0 {
        let text = format!("{} cannot be verified", count(ledger.uncovered, "window"));
        let remedy = "see the list of windows for the reasons: a missing, incomplete or expired audit";
        add(FindingCode::LedgerUnverifiableWindows, Level::Unknown, text, remedy);
    }
    if ledger.overdue > 0 {
        let text = format!("{} overdue: still open after the grace period", count(ledger.overdue, "window"));
        let remedy = "check with `status` that a central holds the lease `ledger`";
        add(FindingCode::LedgerOverdueWindows, Level::Unknown, text, remedy);
    }
    if ledger.absent > 0 {
        let have = if ledger.absent == 1 { "has" } else { "have" };
        let text =
            format!("{} {have} no verdict (expected between first and last)", count(ledger.absent, "window"));
        let remedy = "no edge reported these windows; check the edges' logs for that time";
        add(FindingCode::LedgerWindowsWithoutVerdict, Level::Unknown, text, remedy);
    }
    gaps(ledger, &mut add);
    silent_edges(inputs, ledger, findings);
    for venue in venues.iter().filter(|venue| !venue.is_judged && venue.hot.recent_rows > 0) {
        if windows.total() > 0 {
            let subject = format!("{} of {}", venue.data_type, venue.exchange);
            let (text, remedy) =
                ("rows arrive, but no edge audit covers them", "check that the edge publishes audits");
            findings.push(Finding::new(
                FindingCode::LedgerStreamNotAudited,
                Level::Unknown,
                subject,
                text,
                remedy,
            ));
        }
    }
}

fn gaps(ledger: &LedgerSummary, add: &mut impl FnMut(FindingCode, Level, String, &str)) {
    let unknown: u64 = ledger.gaps.values().map(|gaps| gaps.unknown).sum();
    if unknown > 0 {
        let text = format!("{} of unknown size ({})", count(unknown, "gap"), causes(ledger));
        let remedy = "run a second edge for the venue: it covers such gaps";
        add(FindingCode::LedgerGapsOfUnknownSize, Level::Unknown, text, remedy);
    } else if ledger.gaps_total > 0 && ledger.missing == 0 {
        let text = format!("{}, all covered by another edge", count(ledger.gaps_total, "gap"));
        add(FindingCode::LedgerCoveredGaps, Level::Info, text, "");
    }
    if ledger.starts > 0 {
        let text = format!("{} in this period", count(ledger.starts, "stream (re)start"));
        add(FindingCode::LedgerStreamStarts, Level::Info, text, "");
    }
}

fn causes(ledger: &LedgerSummary) -> String {
    let named: Vec<String> = ledger
        .gaps
        .iter()
        .map(|(cause, gaps)| format!("{cause}: {} missing in {}", gaps.missing, count(gaps.gaps, "gap")))
        .collect();
    if named.is_empty() { "cause not reported by any edge".to_owned() } else { named.join(", ") }
}

fn silent_edges(inputs: &ReportInputs, ledger: &LedgerSummary, findings: &mut Vec<Finding>) {
    let cut = inputs.scope.to.0.min(inputs.now_ms) - inputs.grace_ms - SILENCE_MS;
    for (edge, newest_ms) in ledger.edges.iter().filter(|(_, newest_ms)| **newest_ms < cut) {
        let newest = Time(*newest_ms);
        // While another edge still reports, only redundancy is lost.
        let is_alone = ledger.edges.values().all(|other_ms| *other_ms < cut);
        let level = if is_alone { Level::Unknown } else { Level::Warn };
        let text = format!("no audit since the window of {newest}");
        let remedy = "check that the edge runs, and that a central holds the lease `ledger`";
        findings.push(Finding::new(
            FindingCode::EdgeNoRecentAudit,
            level,
            format!("edge {edge}"),
            text,
            remedy,
        ));
    }
}

pub fn evaluate_losses(inputs: &ReportInputs, findings: &mut Vec<Finding>) {
    if let Ok(losses) = &inputs.losses
        && losses.total > 0
    {
        let messages = losses.items.iter().map(|loss| loss.messages).sum();
        let text = format!("{} discarded by the broker before they were stored", count(messages, "message"));
        let remedy =
            "raise max_bytes or max_age_seconds of the stream; `repair` asks the edges to publish again";
        findings.push(Finding::new(FindingCode::LedgerLostMessages, Level::Fail, "losses", text, remedy));
    }
    if let Ok(letters) = &inputs.dead_letters {
        let messages: u64 = letters.iter().map(|letters| letters.messages).sum();
        if let Some(first) = letters.first() {
            let text = format!(
                "{} refused for their content; most frequent: {}",
                count(messages, "message"),
                first.reason
            );
            let remedy = "inspect the payloads in the table dead_letters of hot";
            findings.push(Finding::new(
                FindingCode::LedgerRefusedMessages,
                Level::Warn,
                "dead letters",
                text,
                remedy,
            ));
        }
    }
}
