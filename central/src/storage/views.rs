//! Materialized views that somebody made of a table. ClickHouse fails an insert into the table when one of them fails, and stores nothing.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use marketprism_service::LogLimit;

/// Error codes of a server without memory, time, network, space or Keeper: the view may take the rows soon.
/// <https://github.com/ClickHouse/ClickHouse/blob/master/src/Common/ErrorCodes.cpp>
const PASSING_CODES: [u32; 15] = [159, 202, 209, 210, 225, 236, 241, 242, 243, 252, 279, 285, 319, 394, 999];

/// Settings of an insert that is stored whatever becomes of the views. What it has stored is to be read back: the server says little about errors then.
pub fn without_views() -> [(&'static str, String); 2] {
    let names = ["materialized_views_ignore_errors", "ignore_materialized_views_with_dropped_target_table"];
    names.map(|name| (name, "1".to_owned()))
}

/// By table.
static LINES: Mutex<BTreeMap<String, LogLimit>> = Mutex::new(BTreeMap::new());

/// The view whose failure an error of an insert is, or `into` its target: an error of a target that is gone names the table of the insert in place
/// of the view.
pub fn view_of(text: &str) -> Option<String> {
    let name = |rest: &str, end: char| {
        rest.split(end).next().map(|name| name.trim_end_matches(['.', ',', ':']).to_owned())
    };
    if let Some((_, rest)) = text.split_once("while pushing to view ") {
        return name(rest, ' ');
    }
    let (_, rest) = text.split_once("Target table '").filter(|(_, rest)| rest.contains("' of view '"))?;
    name(rest, '\'').map(|target| format!("into {target}"))
}

/// A repetition of the insert may succeed.
pub fn is_passing(code: u32) -> bool {
    PASSING_CODES.contains(&code)
}

/// Says of a table once a minute that a view lacks rows.
pub fn log_without_view(table: &str, error: &impl Display) {
    let mut tables = LINES.lock().unwrap_or_else(PoisonError::into_inner);
    let lines = tables.entry(table.to_owned()).or_insert_with(|| LogLimit::new(Duration::from_secs(60)));
    if let Some(held_back) = lines.allow(Instant::now()) {
        tracing::warn!(table, %error, held_back, "rows are stored, and the view lacks them; mend or drop it");
    }
}

#[cfg(test)]
mod tests {
    use crate::storage::StorageError;

    /// A decimal that overflows in a view is no fault of the row: it would become a dead letter.
    #[test]
    fn the_error_of_a_view_is_not_that_of_the_rows_however_long_it_is() {
        let error = |text: String| StorageError::from(clickhouse::error::Error::BadResponse(text));
        let long = "x".repeat(2_000);
        let view =
            "while pushing to view market.candles (6d9e21a4-6f7f-4a3b-9a3e-1f1b5b1d7f5e). (DECIMAL_OVERFLOW)";
        let overflow = error(format!("Code: 407. DB::Exception: Decimal math overflow: {long}: {view}"));
        assert!(!overflow.is_content());
        assert!(overflow.to_string().starts_with("view market.candles failed: Code: 407"), "{overflow}");
        assert!(matches!(overflow, StorageError::View { is_passing: false, .. }));
        let dropped =
            "Code: 60. DB::Exception: Target table 'market.bars' of view 'market.trades' doesn't exists.";
        assert!(error(dropped.to_owned()).to_string().starts_with("view into market.bars failed"));
        let memory = error(format!("Code: 241. DB::Exception: Memory limit exceeded: {view}"));
        assert!(matches!(memory, StorageError::View { is_passing: true, .. }));
        let own = error("Code: 407. DB::Exception: Decimal math overflow".to_owned());
        assert!(own.is_content());
    }
}
