//! Recent rows, doubles, lag.

use marketprism_schema::{DataType, Table};

use super::{Level, count, is_high_frequency, recent_window};
use crate::report::document::{Finding, Held, TableState};
use crate::report::facts::Facts;

/// Cold may be so far behind.
const LAG_WARN_MINUTES: f64 = 60.0;

/// Judges every table of the scope.
pub fn judge(facts: &Facts, tables: &[TableState], findings: &mut Vec<Finding>) {
    // Of liquidations there may be none while everything works; that it works is seen at the types that always come.
    let is_collecting = tables.iter().any(|table| {
        kind(table).is_some_and(is_high_frequency)
            && table.hot.as_ref().is_some_and(|hot| hot.recent_rows > 0)
    });
    for table in tables {
        if facts.reaches_now() {
            freshness(table, is_collecting, findings);
        }
        for (place, held) in [("hot", &table.hot), ("cold", &table.cold)] {
            if let Some(held) = held {
                doubles(table, place, held, findings);
            }
        }
        replication(table, findings);
    }
}

fn kind(table: &TableState) -> Option<DataType> {
    Table::ALL.iter().find(|known| known.name == table.table).map(|known| known.data_type)
}

fn freshness(table: &TableState, is_collecting: bool, findings: &mut Vec<Finding>) {
    let (Some(data_type), Some(hot)) = (kind(table), &table.hot) else { return };
    let minutes = recent_window(data_type).as_secs() / 60;
    let is_fast = is_high_frequency(data_type);
    if hot.recent_rows == 0 {
        let newest = hot.newest.map_or("it is empty".to_owned(), |at| format!("the newest row is of {at}"));
        let text = format!("nothing arrived in hot in the last {minutes} minutes; {newest}");
        let (level, remedy) = match data_type {
            _ if is_fast => (
                Level::Fail,
                "look with `status` which part stands still: edges, broker, ingest or ClickHouse",
            ),
            DataType::Liquidation if !is_collecting => {
                (Level::Warn, "nothing else arrives either: look with `status` what stands still")
            }
            DataType::Liquidation => (Level::Info, ""),
            _ => (Level::Info, ""),
        };
        findings.push(Finding::new(level, table.table, text).remedy(remedy));
        return;
    }
    let level = if is_fast { Level::Warn } else { Level::Info };
    if table.cold.as_ref().is_some_and(|cold| cold.recent_rows == 0) {
        let text = format!("hot has rows of the last {minutes} minutes, cold has none");
        let remedy = "look with `status` whether a central holds the lease `replicator` and what it says";
        findings.push(Finding::new(level, table.table, text).remedy(remedy));
    }
    if let Some(lag) = table.lag_minutes.filter(|lag| *lag > LAG_WARN_MINUTES) {
        let text = format!("cold is {lag:.0} minutes behind hot");
        let remedy = "it catches up by itself while the replicator runs; raise [replication] catch_up_high or \
                      catch_up_low when it does not";
        findings.push(Finding::new(Level::Warn, table.table, text).remedy(remedy));
    }
}

fn doubles(table: &TableState, place: &str, held: &Held, findings: &mut Vec<Finding>) {
    if held.recent_duplicates == 0 {
        return;
    }
    let text = format!(
        "{} in the recent part of {place} beyond one per event",
        count(held.recent_duplicates, "row")
    );
    let remedy = format!("OPTIMIZE TABLE {} FINAL in {place} makes one row of copies", table.table);
    findings.push(Finding::new(Level::Fail, table.table, text).remedy(remedy));
}

fn replication(table: &TableState, findings: &mut Vec<Finding>) {
    let windows = &table.replication;
    if windows.mismatch > 0 {
        let text = format!("cold differs from hot in {}", count(windows.mismatch, "window"));
        let remedy = format!("`repair --table {}` copies them again", table.table);
        findings.push(Finding::new(Level::Fail, table.table, text).remedy(remedy));
    }
    if windows.unverifiable > 0 {
        let text = format!("{} could not be copied or compared", count(windows.unverifiable, "window"));
        let remedy = "the list of windows says why; they are tried again by themselves";
        findings.push(Finding::new(Level::Unknown, table.table, text).remedy(remedy));
    }
}
