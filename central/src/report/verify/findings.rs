//! Findings of a verification. Differences between hot and cold are findings of their tables, like those of the window log.

use crate::report::document::{Finding, FindingCode as Code, Level, Verification, VerifiedAudits, count};
use crate::report::rules::{LEDGER, REPAIR};

pub fn findings(verification: &Verification) -> Vec<Finding> {
    let Some(audits) = &verification.audits else { return Vec::new() };
    let VerifiedAudits { newly_mismatched, newly_unsound, newly_verified, .. } = *audits;
    let mut findings = Vec::new();
    let mut add = |code, level, text: String, remedy: &str| {
        findings.push(Finding::new(code, level, LEDGER, text, remedy));
    };
    if newly_mismatched > 0 {
        let windows = count(newly_mismatched, "window");
        let text =
            format!("hot, counted just now, differs from the edges' audits in {windows} not reported so far");
        add(Code::LedgerNewlyMismatchedWindows, Level::Fail, text, REPAIR);
    }
    let unverifiable = newly_unsound.saturating_sub(newly_mismatched);
    if unverifiable > 0 {
        let text = format!("{} cannot be verified any more, or not yet", count(unverifiable, "window"));
        let remedy = "try again in a few minutes; see the list of windows for the reasons";
        add(Code::LedgerNewlyUnverifiableWindows, Level::Unknown, text, remedy);
    }
    if newly_verified > 0 {
        let text =
            format!("{} verified just now, reported otherwise so far", count(newly_verified, "window"));
        let remedy = "the ledger's next recheck stores it, see [ledger] recheck_seconds";
        add(Code::LedgerNewlyVerifiedWindows, Level::Info, text, remedy);
    }
    findings
}
