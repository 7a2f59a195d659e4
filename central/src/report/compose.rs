//! From facts to the answer.

use std::collections::BTreeMap;
use std::time::Instant;

use marketprism_schema::stale_after;
use marketprism_service::Exit;

use super::document::{
    Finding, Held, Level, Listed, Report, TableState, VERSION, VenueState, Verdict, Windows, WorstWindow,
};
use super::facts::{Facts, WORST_MAX};
use super::heat::{self, Ledger};
use super::rules;
use super::sources::replication::CopiedBin;
use super::sources::tables::TableFacts;
use super::sources::{Part, Sources, schema, verdicts};
use super::{Scope, Time};

/// Cells of which windows are named.
const WORST_CELLS: usize = 40;

/// Asks everything, judges it, and writes it down.
pub async fn compute(sources: &Sources, scope: Scope, schemas: &schema::Cache) -> Report {
    let started = Instant::now();
    let facts = Facts::gather(sources, scope, schemas).await;
    let empty = (Vec::new(), Vec::new(), Vec::new());
    let ledger = heat::add_up(
        &facts.bins,
        facts.verdicts.as_ref().unwrap_or(&empty.0),
        facts.gap_groups.as_ref().unwrap_or(&empty.1),
        facts.copies.as_ref().unwrap_or(&empty.2),
    );
    let cells = ledger.faults.get(..WORST_CELLS.min(ledger.faults.len())).unwrap_or_default();
    let worst = verdicts::worst(sources, &facts.scope, cells, facts.overdue_before(), WORST_MAX).await;
    let mut report = write(facts, ledger, worst);
    report.took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    report
}

/// Writes everything down. Pure.
fn write(facts: Facts, ledger: Ledger, worst: Part<Vec<WorstWindow>>) -> Report {
    let mut tables: Vec<TableState> =
        facts.hot.iter().zip(&facts.cold).map(|(hot, cold)| table_state(&facts, hot, cold)).collect();
    let coverage = coverage(&facts, &ledger);
    let mut findings = rules::judge(&facts, &ledger, &tables, &coverage);
    let mut unanswered = facts.unanswered();
    if let Err(reason) = &worst {
        unanswered.push(super::document::Unanswered { part: "worst windows".into(), reason: reason.clone() });
        findings.push(Finding::new(Level::Unknown, "worst windows", format!("no answer: {reason}")));
    }
    let (verdict, summary) = rules::conclude(&findings);
    let summary = summary.unwrap_or_else(|| rules::praise(&ledger));
    for table in &mut tables {
        let own = findings.iter().filter(|finding| finding.subject == table.table);
        table.level = own.map(|finding| finding.level).min();
    }
    let gaps_total = ledger.gaps_total + ledger.starts;
    Report {
        version: VERSION,
        generated_at: Time(facts.now_ms),
        took_ms: 0,
        scope: facts.scope,
        verdict,
        summary,
        windows: ledger.windows,
        worst_windows: worst_windows(&facts, &ledger, worst.unwrap_or_default()),
        findings,
        unanswered,
        tables,
        coverage,
        heat_map: ledger.map,
        gaps: Listed { total: gaps_total, items: facts.gaps.unwrap_or_default() },
        losses: facts.losses.unwrap_or_default(),
        dead_letters: facts.dead_letters.unwrap_or_default(),
        schema: facts.schema.ok(),
        broker: facts.broker.into_iter().filter_map(|(_, stream)| stream.ok()).collect(),
        clickhouse: facts.servers.into_iter().filter_map(|(_, server)| server.ok()).collect(),
        leases: facts.leases.unwrap_or_default(),
    }
}

fn table_state(facts: &Facts, hot: &TableFacts, cold: &TableFacts) -> TableState {
    let table = hot.table;
    let (hot, cold) = (sum(hot), sum(cold));
    let mark = facts.watermarks.as_ref().ok().and_then(|marks| marks.get(table.name)).copied();
    let newest_hot = hot.as_ref().and_then(|hot| hot.newest_stored).or(mark.and_then(|mark| mark.hot_newest));
    let newest_of = |held: &Option<Held>| held.as_ref().and_then(|held| held.newest);
    let lag_ms = match (newest_hot, mark) {
        (Some(newest), Some(mark)) => Some(newest.0 - mark.upto.0),
        // Without a watermark, the venue's times are all there is.
        _ => newest_of(&hot).zip(newest_of(&cold)).map(|(hot, cold)| hot.0 - cold.0),
    };
    TableState {
        table: table.name,
        data_type: table.data_type.as_str(),
        recent_seconds: rules::recent_window(table.data_type).as_secs(),
        lag_minutes: lag_ms.map(|ms| (ms.max(0) / 6_000) as f64 / 10.0),
        copied_upto: mark.map(|mark| mark.upto),
        replication: copied(facts.copies.as_deref().unwrap_or_default(), table.name),
        hot,
        cold,
        level: None,
    }
}

fn sum(facts: &TableFacts) -> Option<Held> {
    let venues = facts.venues.as_ref().ok()?;
    let mut all = Held::default();
    for (_, held) in venues {
        all.rows += held.rows;
        all.recent_rows += held.recent_rows;
        all.recent_duplicates += held.recent_duplicates;
        all.newest = all.newest.max(held.newest);
        all.newest_stored = all.newest_stored.max(held.newest_stored);
    }
    Some(all)
}

fn copied(bins: &[CopiedBin], table: &str) -> Windows {
    let mut windows = Windows::default();
    for bin in bins.iter().filter(|bin| bin.table_name == table) {
        windows.add(&Windows {
            verified: bin.verified,
            mismatch: bin.mismatch,
            unverifiable: bin.failed,
            open: bin.open,
        });
    }
    windows
}

fn coverage(facts: &Facts, ledger: &Ledger) -> Vec<VenueState> {
    let mut rows = BTreeMap::new();
    for table in &facts.hot {
        let data_type = table.table.data_type;
        for (exchange, held) in table.venues.as_deref().unwrap_or_default() {
            let age = held.newest_stored.map(|at| ((facts.now_ms - at.0) / 1_000).max(0));
            let limit = i64::try_from(stale_after(data_type).as_secs()).unwrap_or(i64::MAX);
            let status = match age {
                Some(age) if age <= limit => "ok",
                Some(_) => "stale",
                None => "nothing recent",
            };
            let state = VenueState {
                exchange: exchange.clone(),
                data_type: data_type.as_str(),
                hot: held.clone(),
                age_seconds: age,
                status,
                is_judged: ledger.judged.contains(&(data_type.as_str().to_owned(), exchange.clone())),
            };
            rows.insert((exchange.clone(), data_type), state);
        }
    }
    rows.into_values().collect()
}

fn worst_windows(facts: &Facts, ledger: &Ledger, named: Vec<WorstWindow>) -> Listed<WorstWindow> {
    let copies = facts.copies.as_deref().unwrap_or_default();
    let total = ledger.windows.mismatch
        + ledger.windows.unverifiable
        + ledger.overdue
        + copies.iter().map(|bin| bin.mismatch + bin.failed).sum::<u64>();
    let mut items = named;
    items.extend(facts.copies_worst.iter().flatten().cloned());
    items.sort_by_key(|window| (window.state != "mismatch", -window.window_start.0));
    items.truncate(WORST_MAX);
    Listed { total, items }
}

/// Exit code of a command that reports.
pub const fn exit_code(verdict: Verdict) -> Exit {
    match verdict {
        Verdict::Whole => Exit::SUCCESS,
        Verdict::NotWhole => Exit::FAILED,
        Verdict::CannotTell => Exit::NOT_DONE,
    }
}

/// What runs now: the last quarter of an hour, without what only the ledger can tell.
pub async fn status(sources: &Sources, schemas: &schema::Cache) -> Report {
    const QUARTER_MS: i64 = 900_000;
    let now_ms = crate::clock::now_ns() / 1_000_000;
    let scope = Scope { from: Time(now_ms - QUARTER_MS), to: Time(now_ms), table: None };
    let mut report = compute(sources, scope, schemas).await;
    report.findings.retain(|finding| finding.subject != rules::LEDGER);
    let (verdict, summary) = rules::conclude(&report.findings);
    report.verdict = verdict;
    report.summary = summary.unwrap_or_else(|| "everything runs, and data arrives".to_owned());
    report
}
