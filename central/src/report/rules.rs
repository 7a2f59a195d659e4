//! Rules that turn report inputs into findings and a verdict. Pure: no clock, no I/O.

use marketprism_schema::{DataType, Table};

use super::document::{
    DeadLetters, Finding, FindingCode as Code, Level, ReportVerdict, ReportedDowntime, TableContents,
    TableReport, VenueState, count,
};
use super::heatmap::LedgerSummary;
use super::inputs::ReportInputs;
use super::period::recent_window;
use super::{Time, downtime, freshness, system_rules};
use crate::ingest::EXPIRED;
use crate::time::millis;

/// All findings, the most severe first.
pub fn evaluate(
    inputs: &ReportInputs,
    ledger: &LedgerSummary,
    tables: &[TableReport],
    venues: &[VenueState],
    downtimes: &[ReportedDowntime],
) -> Vec<Finding> {
    let mut findings = Vec::new();
    evaluate_tables(inputs, tables, venues, &mut findings);
    if inputs.verdicts.is_ok() {
        evaluate_ledger(ledger, venues, &mut findings);
        silent_edges(inputs, ledger, &mut findings);
        findings.extend(downtime::findings(downtimes, ledger));
    }
    evaluate_losses(inputs, &mut findings);
    system_rules::evaluate_systems(inputs, &mut findings);
    for unanswered in inputs.unanswered() {
        // An unknown schema weighs no more than a schema that differs, and a latency says nothing about completeness.
        let is_minor = unanswered.part.split(", ").all(|part| matches!(part, "schema" | "latency"));
        let level = if is_minor { Level::Warn } else { Level::Unknown };
        findings.push(unavailable(level, unanswered.part, &unanswered.reason));
    }
    findings.sort_by_key(|finding| finding.level);
    findings
}

pub fn unavailable(level: Level, part: impl Into<String>, reason: &str) -> Finding {
    Finding::new(Code::SourceUnavailable, level, part, format!("no answer: {reason}"), "")
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
    let downtimes = of(Level::Downtime);
    if !downtimes.is_empty() {
        return (ReportVerdict::NotCollected, sentence(&downtimes));
    }
    (ReportVerdict::Whole, None)
}

/// Summary of a report with the verdict "whole".
pub fn summary_of_whole(ledger: &LedgerSummary) -> String {
    let (verified, closed) = (ledger.windows.verified, ledger.windows.closed());
    let streams = count(ledger.map.streams_total, "stream");
    let others =
        if closed > verified { ", the others covered by another edge or by the venue's numbers" } else { "" };
    let evidence = ledger.evidence.as_text();
    format!("{verified} of {closed} closed windows verified ({streams}){others}; {evidence}")
}

/// Subject of findings that come from the ledger alone.
pub const LEDGER: &str = "ledger";
/// Longest time after a window's grace period until an edge's audit is verified.
const SILENCE_MS: i64 = 5 * 60_000;
pub const REPAIR: &str = "run `repair`: it asks the edges to publish the missing events again";

fn evaluate_ledger(ledger: &LedgerSummary, venues: &[VenueState], findings: &mut Vec<Finding>) {
    let windows = &ledger.windows;
    let mut add = |code, level, text: String, remedy: &str| {
        findings.push(Finding::new(code, level, LEDGER, text, remedy));
    };
    if windows.mismatch > 0 {
        let text = format!("hot differs from the edges' audits in {}", count(windows.mismatch, "window"));
        add(Code::LedgerMismatchedWindows, Level::Fail, text, REPAIR);
    }
    if ledger.missing > 0 {
        let text = format!("{} missing ({})", count(ledger.missing, "event"), causes(ledger));
        add(Code::LedgerMissingEvents, Level::Fail, text, REPAIR);
    }
    if windows.total() == 0 {
        let text = "no window of this period has a verdict: no edge audit was compared".to_owned();
        let remedy = "check that edges publish audits and that a central holds the lease `ledger`";
        add(Code::LedgerNoWindows, Level::Unknown, text, remedy);
    } else if windows.closed() == 0 {
        let text = "no window of this period is closed yet".to_owned();
        add(Code::LedgerNoClosedWindow, Level::Unknown, text, "try again in a few minutes");
    }
    if ledger.uncovered > 0 {
        let text = format!("{} cannot be verified", count(ledger.uncovered, "window"));
        let remedy = "see the list of windows for the reasons: a missing, incomplete or expired audit";
        add(Code::LedgerUnverifiableWindows, Level::Unknown, text, remedy);
    }
    if ledger.overdue > 0 {
        let text = format!("{} overdue: still open after the grace period", count(ledger.overdue, "window"));
        let remedy = "check with `status` that a central holds the lease `ledger`";
        add(Code::LedgerOverdueWindows, Level::Unknown, text, remedy);
    }
    if ledger.absent > 0 {
        let have = if ledger.absent == 1 { "has" } else { "have" };
        let text =
            format!("{} {have} no verdict (expected between first and last)", count(ledger.absent, "window"));
        let remedy = "no edge reported these windows; check the edges' logs for that time";
        add(Code::LedgerWindowsWithoutVerdict, Level::Unknown, text, remedy);
    }
    gaps(ledger, &mut add);
    let evidence = ledger.evidence.as_text();
    if !evidence.is_empty() {
        add(Code::LedgerEvidence, Level::Info, evidence, "");
    }
    findings.extend(renumbered(ledger));
    for venue in venues.iter().filter(|venue| !venue.is_judged && has_recent_rows(venue)) {
        if windows.total() > 0 {
            let VenueState { data_type, exchange, market_type, .. } = venue;
            let subject = format!("{data_type} of {exchange} {market_type}");
            let (text, remedy) =
                ("rows arrive, but no edge audit covers them", "check that the edge publishes audits");
            findings.push(Finding::new(Code::LedgerStreamNotAudited, Level::Unknown, subject, text, remedy));
        }
    }
}

fn has_recent_rows(venue: &VenueState) -> bool {
    venue.hot.as_ref().is_some_and(|hot| hot.recent_rows > 0)
}

fn gaps(ledger: &LedgerSummary, add: &mut impl FnMut(Code, Level, String, &str)) {
    let unknown: u64 = ledger.gaps.values().map(|gaps| gaps.unknown).sum();
    if unknown > 0 {
        let text = format!("{} of unknown size ({})", count(unknown, "gap"), causes(ledger));
        let remedy = "run a second edge for the venue: it covers such gaps";
        add(Code::LedgerGapsOfUnknownSize, Level::Unknown, text, remedy);
    } else if ledger.gaps_total > 0 && ledger.missing == 0 {
        let what = count(ledger.gaps_total, "gap");
        let text = format!("{what}, nothing missing: covered by another edge or by the venue's numbers");
        add(Code::LedgerCoveredGaps, Level::Info, text, "");
    }
    if ledger.starts > 0 {
        let text = format!("{} in this period", count(ledger.starts, "stream (re)start"));
        add(Code::LedgerStreamStarts, Level::Info, text, "");
    }
}

fn renumbered(ledger: &LedgerSummary) -> Option<Finding> {
    let (stream, at) = ledger.renumbered.first()?;
    let streams = count(u64::try_from(ledger.renumbered.len()).unwrap_or(u64::MAX), "stream");
    let text = format!(
        "the venue numbers trades from a lower id on again in {streams}, the first {stream} at {}; a trade with an id that edge or central still know is \
         taken for a copy and has no row",
        Time(at.saturating_mul(1_000))
    );
    let remedy = "compare the trades of the time after it with the venue's history";
    Some(Finding::new(Code::LedgerTradeIdsRestarted, Level::Warn, LEDGER, text, remedy))
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
    let downtimes = inputs.downtimes.as_deref().unwrap_or_default();
    let cut = inputs.scope.to.0.min(inputs.now_ms) - inputs.grace_ms - SILENCE_MS;
    let silent = ledger.edges.iter().filter(|(_, newest_ms)| **newest_ms < cut);
    for (edge, newest_ms) in silent.filter(|(edge, _)| !downtime::is_stopped(downtimes, edge)) {
        let newest = Time(*newest_ms);
        // While another edge still reports, only redundancy is lost.
        let is_alone = ledger.edges.values().all(|other_ms| *other_ms < cut);
        let level = if is_alone { Level::Unknown } else { Level::Warn };
        let text = format!("no audit since the window of {newest}");
        let remedy = "check that the edge runs, and that a central holds the lease `ledger`";
        findings.push(Finding::new(Code::EdgeNoRecentAudit, level, format!("edge {edge}"), text, remedy));
    }
}

fn evaluate_losses(inputs: &ReportInputs, findings: &mut Vec<Finding>) {
    if let Ok(losses) = &inputs.losses
        && losses.total > 0
    {
        let text =
            format!("{} discarded by the broker before they were stored", count(losses.messages, "message"));
        let remedy =
            "raise max_bytes or max_age_seconds of the stream; `repair` asks the edges to publish again";
        findings.push(Finding::new(Code::LedgerLostMessages, Level::Fail, "losses", text, remedy));
    }
    if let Ok(letters) = &inputs.dead_letters {
        findings.extend(dead_letters(letters));
    }
}

/// Remedy for events that came later than hot keeps rows.
pub const LATE: &str = "raise clickhouse.hot_ttl_days above the longest stop of an edge (8 is more than any edge fills), run `init --apply` and start central \
                        again; payloads published again within 48 h of their receipt become rows then (central/README.md, Late events)";

fn dead_letters(letters: &[DeadLetters]) -> Vec<Finding> {
    let (expired, refused): (Vec<_>, Vec<_>) =
        letters.iter().partition(|letters| letters.reason.contains(EXPIRED));
    let finding = |code, some: &[&DeadLetters], what: &str, remedy: &str| {
        let first = some.first()?;
        let messages: u64 = some.iter().map(|letters| letters.messages).sum();
        let text = format!("{} {what}; most frequent: {}", count(messages, "message"), first.reason);
        Some(Finding::new(code, Level::Warn, "dead letters", text, remedy))
    };
    let late = "came later than hot keeps rows, and are in the table dead_letters only";
    let inspect = "inspect the payloads in the table dead_letters of hot";
    [
        finding(Code::LedgerExpiredEvents, &expired, late, LATE),
        finding(Code::LedgerRefusedMessages, &refused, "refused for their content", inspect),
    ]
    .into_iter()
    .flatten()
    .collect()
}

const LAG_WARN_MINUTES: f64 = 60.0;

fn evaluate_tables(
    inputs: &ReportInputs,
    tables: &[TableReport],
    venues: &[VenueState],
    findings: &mut Vec<Finding>,
) {
    // Liquidations may be absent in a healthy system, so the types that always arrive show that collection works.
    let is_collecting = tables.iter().any(|table| {
        data_type(table).is_some_and(DataType::is_frequent)
            && table.hot.as_ref().is_some_and(|hot| hot.recent_rows > 0)
    });
    for table in tables {
        if inputs.reaches_now() {
            evaluate_freshness(table, venues, is_collecting, findings);
        }
        for (side, contents) in [("hot", &table.hot), ("cold", &table.cold)] {
            if let Some(contents) = contents {
                duplicates(inputs, table, side, contents, findings);
            }
        }
        evaluate_replication(table, findings);
    }
}

fn data_type(table: &TableReport) -> Option<DataType> {
    Table::ALL.iter().find(|known| known.name == table.table).map(|known| known.data_type)
}

fn evaluate_freshness(
    table: &TableReport,
    venues: &[VenueState],
    is_collecting: bool,
    findings: &mut Vec<Finding>,
) {
    let (Some(data_type), Some(hot)) = (data_type(table), &table.hot) else { return };
    let mut add = |code, level, text: String, remedy: &str| {
        findings.push(Finding::new(code, level, table.table, text, remedy));
    };
    let minutes = recent_window(data_type).as_secs() / 60;
    let is_fast = data_type.is_frequent();
    if hot.recent_rows == 0 {
        let newest = hot.newest.map_or("the table is empty".to_owned(), |at| format!("newest row: {at}"));
        let text = format!("no rows arrived in hot in the last {minutes} minutes; {newest}");
        let (level, remedy) = freshness::of_stale_table(data_type, venues, is_collecting);
        add(Code::TableNoRecentRows, level, text, remedy);
        return;
    }
    if table.cold.as_ref().is_some_and(|cold| cold.recent_rows == 0) {
        let level = if is_fast { Level::Warn } else { Level::Info };
        let text = format!("hot has rows of the last {minutes} minutes, cold has none");
        let remedy = "check with `status` that a central holds the lease `replicator`, and read its log";
        add(Code::ReplicationNoRecentRows, level, text, remedy);
    }
    if let Some(lag) = table.lag_minutes.filter(|lag| *lag > LAG_WARN_MINUTES) {
        let text = format!("cold is {lag:.0} minutes behind hot (warning above {LAG_WARN_MINUTES:.0})");
        let remedy = "the replicator catches up by itself; if it does not, raise [replication] catch_up_high or catch_up_low";
        add(Code::ReplicationLag, Level::Warn, text, remedy);
    }
}

/// Remedy for more than one row of an event, in each place that names them: OPTIMIZE would merge the rows that show the fault.
pub const KEEP_DUPLICATES: &str = "keep these rows and the logs of central for an inquiry, and do not run OPTIMIZE: central stores an event once";

fn duplicates(
    inputs: &ReportInputs,
    table: &TableReport,
    side: &str,
    contents: &TableContents,
    findings: &mut Vec<Finding>,
) {
    let Some(data_type) = data_type(table) else { return };
    // Rows that are recent now are none of an earlier period.
    if inputs.scope.to.0 <= inputs.now_ms - millis(recent_window(data_type)) {
        return;
    }
    let corrections = inputs.corrections.as_ref().ok();
    let beside = corrections.and_then(|all| all.rows_beside.get(data_type.as_str()));
    let number = contents.recent_duplicates.saturating_sub(beside.copied().unwrap_or_default());
    if number > 0 {
        let text = format!("{} in recent data of {side}", count(number, "duplicate row"));
        findings.push(Finding::new(
            Code::TableDuplicateRows,
            Level::Fail,
            table.table,
            text,
            KEEP_DUPLICATES,
        ));
    }
}

fn evaluate_replication(table: &TableReport, findings: &mut Vec<Finding>) {
    let windows = &table.replication;
    let mut add = |code, level, text: String, remedy: &str| {
        findings.push(Finding::new(code, level, table.table, text, remedy));
    };
    if windows.mismatch > 0 {
        let text = format!("cold differs from hot in {}", count(windows.mismatch, "window"));
        let remedy = format!("run `repair --table {}`: it copies them again", table.table);
        add(Code::ReplicationMismatchedWindows, Level::Fail, text, &remedy);
    }
    if windows.unverifiable > 0 {
        let text = format!("{} could not be copied or compared", count(windows.unverifiable, "window"));
        let remedy = "see the list of windows for the reasons; the replicator retries them";
        add(Code::ReplicationFailedWindows, Level::Unknown, text, remedy);
    }
}
