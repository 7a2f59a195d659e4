//! Findings about tables: recent rows, duplicates, replication lag.

use marketprism_schema::{DataType, Table};

use super::count::count;
use crate::report::document::{Finding, FindingCode, Level, TableContents, TableReport};
use crate::report::freshness::{is_high_frequency, recent_window};
use crate::report::inputs::ReportInputs;

const LAG_WARN_MINUTES: f64 = 60.0;

pub fn evaluate(inputs: &ReportInputs, tables: &[TableReport], findings: &mut Vec<Finding>) {
    // Liquidations may be absent in a healthy system, so the types that always arrive show that collection works.
    let is_collecting = tables.iter().any(|table| {
        data_type(table).is_some_and(is_high_frequency)
            && table.hot.as_ref().is_some_and(|hot| hot.recent_rows > 0)
    });
    for table in tables {
        if inputs.reaches_now() {
            freshness(table, is_collecting, findings);
        }
        for (side, contents) in [("hot", &table.hot), ("cold", &table.cold)] {
            if let Some(contents) = contents {
                duplicates(table, side, contents, findings);
            }
        }
        replication(table, findings);
    }
}

fn data_type(table: &TableReport) -> Option<DataType> {
    Table::ALL.iter().find(|known| known.name == table.table).map(|known| known.data_type)
}

fn freshness(table: &TableReport, is_collecting: bool, findings: &mut Vec<Finding>) {
    let (Some(data_type), Some(hot)) = (data_type(table), &table.hot) else { return };
    let mut add = |code, level, text: String, remedy: &str| {
        findings.push(Finding::new(code, level, table.table, text, remedy));
    };
    let minutes = recent_window(data_type).as_secs() / 60;
    let is_fast = is_high_frequency(data_type);
    if hot.recent_rows == 0 {
        let newest = hot.newest.map_or("the table is empty".to_owned(), |at| format!("newest row: {at}"));
        let text = format!("no rows arrived in hot in the last {minutes} minutes; {newest}");
        let (level, remedy) = match data_type {
            _ if is_fast => (
                Level::Fail,
                "check with `status` which part has stopped: edges, broker, ingest or ClickHouse",
            ),
            DataType::Liquidation if !is_collecting => {
                (Level::Warn, "no other type arrives either: check with `status` which part has stopped")
            }
            _ => (Level::Info, ""),
        };
        add(FindingCode::TableNoRecentRows, level, text, remedy);
        return;
    }
    if table.cold.as_ref().is_some_and(|cold| cold.recent_rows == 0) {
        let level = if is_fast { Level::Warn } else { Level::Info };
        let text = format!("hot has rows of the last {minutes} minutes, cold has none");
        let remedy = "check with `status` that a central holds the lease `replicator`, and read its log";
        add(FindingCode::ReplicationNoRecentRows, level, text, remedy);
    }
    if let Some(lag) = table.lag_minutes.filter(|lag| *lag > LAG_WARN_MINUTES) {
        let text = format!("cold is {lag:.0} minutes behind hot (warning above {LAG_WARN_MINUTES:.0})");
        let remedy = "the replicator catches up by itself; if it does not, raise [replication] catch_up_high or catch_up_low";
        add(FindingCode::ReplicationLag, Level::Warn, text, remedy);
    }
}

fn duplicates(table: &TableReport, side: &str, contents: &TableContents, findings: &mut Vec<Finding>) {
    if contents.recent_duplicates > 0 {
        let text = format!("{} in recent data of {side}", count(contents.recent_duplicates, "duplicate row"));
        let remedy = format!("run OPTIMIZE TABLE {} FINAL in {side}: it merges duplicates", table.table);
        findings.push(Finding::new(FindingCode::TableDuplicateRows, Level::Fail, table.table, text, remedy));
    }
}

fn replication(table: &TableReport, findings: &mut Vec<Finding>) {
    let windows = &table.replication;
    let mut add = |code, level, text: String, remedy: &str| {
        findings.push(Finding::new(code, level, table.table, text, remedy));
    };
    if windows.mismatch > 0 {
        let text = format!("cold differs from hot in {}", count(windows.mismatch, "window"));
        let remedy = format!("run `repair --table {}`: it copies them again", table.table);
        add(FindingCode::ReplicationMismatchedWindows, Level::Fail, text, &remedy);
    }
    if windows.unverifiable > 0 {
        let text = format!("{} could not be copied or compared", count(windows.unverifiable, "window"));
        let remedy = "see the list of windows for the reasons; the replicator retries them";
        add(FindingCode::ReplicationFailedWindows, Level::Unknown, text, remedy);
    }
}
