//! Corrections: closed in hot, carried out in cold.

use clickhouse::Row;
use marketprism_schema::{EventId, Fingerprint};
use serde::Deserialize;

use super::{Answer, Sources};
use crate::report::ReportScope;
use crate::report::document::{AppliedCorrection, ReportedCorrection, TruncatedList};
use crate::sql;
use crate::time::Time;

/// Most corrections listed.
const CORRECTIONS_MAX: usize = 200;

#[derive(Debug, Row, Deserialize)]
struct ClosedRow {
    correction: u128,
    at: Time,
    edge: String,
    exchange: String,
    data_type: String,
    from: Time,
    to: Time,
    old_adapter: String,
    new_adapter: String,
    old_digest: (u64, u64, u64),
    new_digest: (u64, u64, u64),
    changed: u64,
    added: u64,
    withdrawn: u64,
}

#[derive(Debug, Row, Deserialize)]
struct AppliedRow {
    correction: u128,
    data_type: String,
    at: Time,
    replaced: u64,
    added: u64,
    withdrawn: u64,
    absent: u64,
}

/// Those of a span that touches the period, or closed in it; the newest first.
pub async fn corrections(
    sources: &Sources,
    scope: &ReportScope,
) -> Answer<TruncatedList<ReportedCorrection>> {
    let (from, to) = (sql::millis(scope.from.0), sql::millis(scope.to.0));
    let source = format!(
        "FROM {}.corrections FINAL WHERE (from_at < {to} AND to_at > {from}) OR (created_at >= {from} AND created_at < {to})",
        sources.hot.database
    );
    let milli = |column: &str| format!("toUnixTimestamp64Milli(toDateTime64({column}, 3, 'UTC'))");
    let rows = format!(
        "SELECT correction, toUnixTimestamp64Milli(created_at) AS at, toString(edge) AS edge, toString(exchange) AS exchange, \
         toString(data_type) AS data_type, {} AS `from`, {} AS `to`, old_adapter, new_adapter, \
         tuple(old_count, old_xor, old_sum) AS old_digest, tuple(new_count, new_xor, new_sum) AS new_digest, changed, added, \
         withdrawn {source} ORDER BY created_at DESC, correction, data_type LIMIT {CORRECTIONS_MAX}",
        milli("from_at"),
        milli("to_at")
    );
    let closed: Vec<ClosedRow> = sources.rows(&sources.hot, &rows).await?;
    if closed.is_empty() {
        return Ok(TruncatedList { total: 0, items: Vec::new() });
    }
    let total = format!("SELECT count() {source}");
    let applied = format!(
        "SELECT correction, toString(data_type) AS data_type, toUnixTimestamp64Milli(applied_at) AS at, replaced, added, \
         withdrawn, absent FROM {}.applied_corrections FINAL",
        sources.cold.database
    );
    let (total, applied) = tokio::try_join!(
        sources.rows::<u64>(&sources.hot, &total),
        sources.rows::<AppliedRow>(&sources.cold, &applied)
    )?;
    let items = closed.into_iter().map(|row| report(row, &applied)).collect();
    Ok(TruncatedList { total: total.first().copied().unwrap_or_default(), items })
}

fn report(row: ClosedRow, applied: &[AppliedRow]) -> ReportedCorrection {
    let applied =
        applied.iter().find(|one| (one.correction, &one.data_type) == (row.correction, &row.data_type));
    let digest = |(count, xor, sum): (u64, u64, u64)| Fingerprint { count, xor, sum }.to_string();
    ReportedCorrection {
        correction: EventId(row.correction).to_string(),
        at: row.at,
        edge: row.edge,
        exchange: row.exchange,
        data_type: row.data_type,
        from: row.from,
        to: row.to,
        old_adapter: row.old_adapter,
        new_adapter: row.new_adapter,
        old_digest: digest(row.old_digest),
        new_digest: digest(row.new_digest),
        changed: row.changed,
        added: row.added,
        withdrawn: row.withdrawn,
        state: if applied.is_some() { "applied" } else { "pending" }.to_owned(),
        applied: applied.map(|one| AppliedCorrection {
            at: one.at,
            replaced: one.replaced,
            added: one.added,
            withdrawn: one.withdrawn,
            absent: one.absent,
        }),
    }
}
