//! Computes a report: gathers the inputs, applies the rules, fills in the document.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use marketprism_schema::{DataType, stale_after};
use marketprism_service::Exit;

use super::document::{
    Level, Report, ReportVerdict, TableContents, TableReport, TruncatedList, Unanswered, VERSION, VenueState,
    WindowCounts, WindowPercent, WorstWindow,
};
use super::heatmap::{self, LedgerRows, LedgerSummary};
use super::inputs::{ReportInputs, Verified, WORST_MAX};
use super::period::recent_window;
use super::sources::latency::LatencyRows;
use super::sources::tables::{Market, ReplicationBucket, TableAnswer};
use super::sources::{Answer, SchemaCache, Sources, ledger};
use super::{ReportScope, Time, corrections, downtime, edges, latency, redundancy, rules, verify};

/// Most heatmap cells whose windows are listed.
const WORST_CELLS: usize = 40;

/// With the result of a verification its numbers count, else the window log and the stored verdicts.
pub async fn compute(
    sources: &Sources,
    scope: ReportScope,
    schemas: &SchemaCache,
    verified: Option<Verified>,
) -> Report {
    let started = Instant::now();
    let mut inputs = ReportInputs::gather(sources, scope, schemas).await;
    if let Some(verified) = verified {
        inputs.replace_with(verified);
    }
    let ledger_rows = LedgerRows {
        verdicts: inputs.verdicts.as_deref().unwrap_or_default(),
        gaps: inputs.edge_gaps.as_deref().unwrap_or_default(),
        ids: inputs.stored_ids.as_deref().unwrap_or_default(),
    };
    let copies = inputs.copies.as_deref().unwrap_or_default();
    let ledger = heatmap::add_up(&inputs.scope, &inputs.buckets, ledger_rows, copies);
    let cells = ledger.faults.get(..WORST_CELLS.min(ledger.faults.len())).unwrap_or_default();
    let worst =
        ledger::worst_windows(sources, &inputs.scope, cells, inputs.overdue_before(), WORST_MAX).await;
    let mut report = write(inputs, ledger, worst);
    report.took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    report
}

fn write(mut inputs: ReportInputs, ledger: LedgerSummary, worst: Answer<Vec<WorstWindow>>) -> Report {
    let state = |(hot, cold)| table_state(&inputs, &ledger, hot, cold);
    let mut tables: Vec<TableReport> = inputs.hot.iter().zip(&inputs.cold).map(state).collect();
    let coverage = coverage(&inputs, &ledger);
    let downtimes = downtime::list(
        inputs.downtimes.as_deref().unwrap_or_default(),
        inputs.edge_gaps.as_deref().unwrap_or_default(),
        &ledger,
    );
    let (alone, filled) = (redundancy::list(&ledger.alone), redundancy::list(&ledger.filled));
    let mut findings = rules::evaluate(&inputs, &ledger, &tables, &coverage, &downtimes);
    findings.extend(redundancy::findings(&alone, &filled));
    findings.extend(edges::findings(inputs.edges.as_deref().unwrap_or_default()));
    if let Ok(corrections) = &inputs.corrections {
        findings.extend(corrections::findings(&corrections.listed.items, inputs.now_ms));
    }
    let mut unanswered = inputs.unanswered();
    let latencies = std::mem::replace(&mut inputs.latency, Ok(LatencyRows::default()));
    let latency = latency::compose(latencies.unwrap_or_default());
    findings.extend(latency::findings(&latency));
    if let Err(reason) = &worst {
        unanswered.push(Unanswered { part: "worst windows".into(), reason: reason.clone() });
        findings.push(rules::unavailable(Level::Unknown, "worst windows", reason));
    }
    findings.extend(inputs.verification.iter().flat_map(verify::findings));
    findings.sort_by_key(|finding| finding.level);
    let (verdict, summary) = rules::conclude(&findings);
    let summary = summary.unwrap_or_else(|| rules::summary_of_whole(&ledger));
    for table in &mut tables {
        let own = findings.iter().filter(|finding| finding.subject == table.table);
        table.level = own.map(|finding| finding.level).min();
    }
    let gaps_total = ledger.gaps_total + ledger.starts;
    Report {
        version: VERSION,
        generated_at: Time(inputs.now_ms),
        took_ms: 0,
        scope: inputs.scope,
        verdict,
        summary,
        windows_percent: WindowPercent::of(&ledger.windows),
        windows: ledger.windows,
        evidence: ledger.evidence,
        worst_windows: worst_windows(&inputs, &ledger, worst.unwrap_or_default()),
        findings,
        unanswered,
        tables,
        coverage,
        heat_map: ledger.map,
        downtimes,
        alone,
        filled,
        edges: inputs.edges.unwrap_or_default(),
        changes: inputs.changes.unwrap_or_default(),
        corrections: inputs.corrections.unwrap_or_default().listed,
        gaps: TruncatedList { total: gaps_total, items: inputs.gaps.unwrap_or_default() },
        latency,
        losses: inputs.losses.unwrap_or_default(),
        dead_letters: inputs.dead_letters.unwrap_or_default(),
        schema: inputs.schema.ok(),
        broker: inputs.broker.into_iter().filter_map(|(_, stream)| stream.ok()).collect(),
        clickhouse: inputs.servers.into_iter().filter_map(|(_, server)| server.ok()).collect(),
        leases: inputs.leases.unwrap_or_default(),
        verification: inputs.verification,
    }
}

fn table_state(
    inputs: &ReportInputs,
    ledger: &LedgerSummary,
    hot: &TableAnswer,
    cold: &TableAnswer,
) -> TableReport {
    let table = hot.table;
    let replication = copied(inputs.copies.as_deref().unwrap_or_default(), table.name);
    let mut audited = WindowCounts::default();
    for (_, windows) in ledger.markets.iter().filter(|((data_type, _), _)| *data_type == table.data_type) {
        audited.add(windows);
    }
    let (hot, cold) = (sum(hot), sum(cold));
    let mark = inputs.watermarks.as_ref().ok().and_then(|marks| marks.get(table.name)).copied();
    let newest_stored = hot.as_ref().and_then(|hot| hot.newest_stored);
    let newest_hot = newest_stored.max(mark.and_then(|mark| mark.hot_newest));
    let newest_of = |contents: &Option<TableContents>| contents.as_ref().and_then(|contents| contents.newest);
    let lag_ms = match (newest_hot, mark) {
        (Some(newest), Some(mark)) => Some(newest.0 - mark.upto.0),
        // Without a watermark only venue times can be compared.
        _ => newest_of(&hot).zip(newest_of(&cold)).map(|(hot, cold)| hot.0 - cold.0),
    };
    TableReport {
        table: table.name,
        data_type: table.data_type.as_str(),
        recent_seconds: recent_window(table.data_type).as_secs(),
        lag_minutes: lag_ms.map(|ms| (ms.max(0) / 6_000) as f64 / 10.0),
        copied_upto: mark.map(|mark| mark.upto),
        replication_percent: WindowPercent::of(&replication),
        replication,
        audited_percent: WindowPercent::of(&audited),
        audited,
        hot,
        cold,
        level: None,
    }
}

fn sum(answer: &TableAnswer) -> Option<TableContents> {
    let venues = answer.venues.as_ref().ok()?;
    let mut all = TableContents::default();
    for contents in venues.values() {
        all.rows += contents.rows;
        all.recent_rows += contents.recent_rows;
        all.recent_duplicates += contents.recent_duplicates;
        all.newest = all.newest.max(contents.newest);
        all.newest_stored = all.newest_stored.max(contents.newest_stored);
    }
    Some(all)
}

fn copied(buckets: &[ReplicationBucket], table: &str) -> WindowCounts {
    let mut windows = WindowCounts::default();
    for bucket in buckets.iter().filter(|bucket| bucket.table_name == table) {
        windows.add(&WindowCounts {
            verified: bucket.verified,
            mismatch: bucket.mismatch,
            unverifiable: bucket.failed,
            open: bucket.open,
            not_collected: 0,
        });
    }
    windows
}

fn coverage(inputs: &ReportInputs, ledger: &LedgerSummary) -> Vec<VenueState> {
    let mut states = BTreeMap::new();
    for (hot, cold) in inputs.hot.iter().zip(&inputs.cold) {
        let data_type = hot.table.data_type;
        let sides = [hot.venues.as_ref().ok(), cold.venues.as_ref().ok()];
        let audited = ledger.markets.keys().filter(|(of, _)| *of == data_type).map(|(_, market)| market);
        let markets: BTreeSet<&Market> =
            sides.iter().flatten().flat_map(|side| side.keys()).chain(audited).collect();
        for market in markets {
            let [hot, cold] = sides.map(|side| Some(side?.get(market).cloned().unwrap_or_default()));
            let windows = ledger.markets.get(&(data_type, market.clone())).copied();
            let state = venue_state(inputs.now_ms, (data_type, market), hot, cold, windows);
            states.insert((market.clone(), data_type), state);
        }
    }
    states.into_values().collect()
}

fn venue_state(
    now_ms: i64,
    (data_type, (exchange, market_type)): (DataType, &Market),
    hot: Option<TableContents>,
    cold: Option<TableContents>,
    windows: Option<WindowCounts>,
) -> VenueState {
    let age = hot.as_ref().and_then(|hot| hot.newest_stored).map(|at| ((now_ms - at.0) / 1_000).max(0));
    let limit = i64::try_from(stale_after(data_type).as_secs()).unwrap_or(i64::MAX);
    let status = match age {
        _ if hot.is_none() => "no answer",
        Some(age) if age <= limit => "ok",
        Some(_) => "stale",
        None => "nothing recent",
    };
    VenueState {
        exchange: exchange.clone(),
        market_type: market_type.clone(),
        data_type: data_type.as_str(),
        hot,
        cold,
        age_seconds: age,
        status,
        is_judged: windows.is_some(),
        windows_percent: windows.as_ref().and_then(WindowPercent::of),
        windows: windows.unwrap_or_default(),
    }
}

fn worst_windows(
    inputs: &ReportInputs,
    ledger: &LedgerSummary,
    named: Vec<WorstWindow>,
) -> TruncatedList<WorstWindow> {
    let copies = inputs.copies.as_deref().unwrap_or_default();
    let newly_unsound = inputs.verification.as_ref().and_then(|verification| verification.audits.as_ref());
    let total = ledger.windows.mismatch
        + ledger.windows.unverifiable
        + ledger.overdue
        + newly_unsound.map_or(0, |audits| audits.newly_unsound)
        + copies.iter().map(|bucket| bucket.mismatch + bucket.failed).sum::<u64>();
    let mut items = named;
    items.extend(inputs.verified_worst.iter().cloned());
    items.extend(inputs.copies_worst.iter().flatten().cloned());
    items.sort_by_key(|window| (window.state != "mismatch", -window.window_start.0));
    items.truncate(WORST_MAX);
    TruncatedList { total, items }
}

pub const fn exit_code(verdict: ReportVerdict) -> Exit {
    match verdict {
        ReportVerdict::Whole => Exit::SUCCESS,
        ReportVerdict::NotWhole | ReportVerdict::NotCollected => Exit::FAILED,
        ReportVerdict::CannotTell => Exit::NOT_DONE,
    }
}

/// Report of the last 15 minutes without the ledger's findings, whose windows are mostly open yet.
pub async fn status(sources: &Sources, schemas: &SchemaCache) -> Report {
    const QUARTER_MS: i64 = 900_000;
    let now_ms = crate::clock::now_ns() / 1_000_000;
    let scope = ReportScope { from: Time(now_ms - QUARTER_MS), to: Time(now_ms), table: None };
    let mut report = compute(sources, scope, schemas, None).await;
    report.findings.retain(|finding| finding.subject != rules::LEDGER);
    report.findings.extend(edges::health_findings(&report.edges));
    report.findings.sort_by_key(|finding| finding.level);
    let (verdict, summary) = rules::conclude(&report.findings);
    report.verdict = verdict;
    report.summary = summary.unwrap_or_else(|| "all parts run and data arrives".to_owned());
    report
}
