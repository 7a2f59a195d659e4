//! Windows, gaps, losses.

use super::{LEDGER, Level, count};
use crate::report::Time;
use crate::report::document::{Finding, VenueState};
use crate::report::facts::Facts;
use crate::report::heat::Ledger;

/// An edge that is not judged for so long after a window's grace is silent, or the ledger stands still.
const SILENCE_MS: i64 = 5 * 60_000;
const REPAIR: &str = "`repair` asks the edges to send the missing ones again";

/// Judges what the ledger found.
pub fn judge(facts: &Facts, ledger: &Ledger, venues: &[VenueState], findings: &mut Vec<Finding>) {
    let windows = &ledger.windows;
    let mut say = |level, text: String, remedy: &str| {
        findings.push(Finding::new(level, LEDGER, text).remedy(remedy));
    };
    if windows.mismatch > 0 {
        let text = format!("hot differs from what the edges stored in {}", count(windows.mismatch, "window"));
        say(Level::Fail, text, REPAIR);
    }
    if ledger.missing > 0 {
        let text = format!("{} missing ({})", count(ledger.missing, "event"), causes(ledger));
        say(Level::Fail, text, REPAIR);
    }
    if windows.total() == 0 {
        let text = "no window of this time was compared: no edge vouches for anything".to_owned();
        say(
            Level::Unknown,
            text,
            "edges need to send audits, and a central with the lease `ledger` must run",
        );
    } else if windows.verified + windows.mismatch + windows.unverifiable == 0 {
        say(Level::Unknown, "no window is closed yet".to_owned(), "ask again in a few minutes");
    }
    if ledger.uncovered > 0 {
        let text = format!("{} cannot be verified", count(ledger.uncovered, "window"));
        say(
            Level::Unknown,
            text,
            "the list of windows says why: an edge that did not report, an audit that is gone",
        );
    }
    if ledger.overdue > 0 {
        let text = format!("{} should have been judged by now", count(ledger.overdue, "window"));
        say(Level::Unknown, text, "look with `status` whether a central holds the lease `ledger`");
    }
    if ledger.absent > 0 {
        let text = format!("{} between others that no verdict mentions", count(ledger.absent, "window"));
        say(Level::Unknown, text, "no edge reported them, and the ledger does not know of them");
    }
    gaps(ledger, &mut say);
    silent_edges(facts, ledger, findings);
    for venue in venues.iter().filter(|venue| !venue.is_judged && venue.hot.recent_rows > 0) {
        if windows.total() > 0 {
            let subject = format!("{} of {}", venue.data_type, venue.exchange);
            let text = "rows arrive, and no edge vouches for them";
            findings.push(Finding::new(Level::Unknown, subject, text));
        }
    }
}

fn gaps(ledger: &Ledger, say: &mut impl FnMut(Level, String, &str)) {
    let unknown: u64 = ledger.gaps.values().map(|gaps| gaps.unknown).sum();
    if unknown > 0 {
        let text = format!(
            "{} may hide events, and nobody can tell how many ({})",
            count(unknown, "gap"),
            causes(ledger)
        );
        say(Level::Unknown, text, "a second edge on the venue covers such gaps");
    } else if ledger.gaps_total > 0 && ledger.missing == 0 {
        let text = format!("{} seen, nothing missing that no edge has", count(ledger.gaps_total, "gap"));
        say(Level::Info, text, "");
    }
    if ledger.starts > 0 {
        let text =
            format!("collecting began {} in this time (streams times edges)", count(ledger.starts, "time"));
        say(Level::Info, text, "");
    }
}

fn causes(ledger: &Ledger) -> String {
    let named: Vec<String> = ledger
        .gaps
        .iter()
        .map(|(cause, gaps)| format!("{cause}: {} missing in {}", gaps.missing, count(gaps.gaps, "gap")))
        .collect();
    if named.is_empty() { "no edge names the cause".to_owned() } else { named.join(", ") }
}

fn silent_edges(facts: &Facts, ledger: &Ledger, findings: &mut Vec<Finding>) {
    let cut = facts.scope.to.0.min(facts.now_ms) - facts.grace_ms - SILENCE_MS;
    for (edge, newest_ms) in ledger.edges.iter().filter(|(_, newest_ms)| **newest_ms < cut) {
        let newest = Time(*newest_ms);
        // With another edge that is heard of, only redundancy is lost.
        let is_alone = ledger.edges.values().all(|other_ms| *other_ms < cut);
        let level = if is_alone { Level::Unknown } else { Level::Warn };
        let text = format!("its newest window in the ledger is that of {newest}");
        let remedy = "start the edge, or a central with the lease `ledger`";
        findings.push(Finding::new(level, format!("edge {edge}"), text).remedy(remedy));
    }
}

/// Judges what the broker no longer had, and what was refused.
pub fn judge_losses(facts: &Facts, findings: &mut Vec<Finding>) {
    if let Ok(losses) = &facts.losses
        && losses.total > 0
    {
        let messages = losses.items.iter().map(|loss| loss.messages).sum();
        let text = format!("{} gone before they were stored", count(messages, "message"));
        let remedy = "raise max_bytes or max_age_seconds of the stream; `repair` asks the edges for them";
        findings.push(Finding::new(Level::Fail, "losses", text).remedy(remedy));
    }
    if let Ok(letters) = &facts.dead_letters {
        let messages: u64 = letters.iter().map(|letters| letters.messages).sum();
        if let Some(first) = letters.first() {
            let text =
                format!("{} refused for their content, most: {}", count(messages, "message"), first.reason);
            let remedy = "their bytes are in the table dead_letters of hot";
            findings.push(Finding::new(Level::Warn, "dead letters", text).remedy(remedy));
        }
    }
}
