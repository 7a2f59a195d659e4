//! Corrections: closed in hot, carried out in cold.

use std::collections::BTreeMap;

use clickhouse::Row;
use marketprism_schema::{EventId, Fingerprint, Table};
use serde::Deserialize;

use super::{Answer, Sources};
use crate::report::ReportScope;
use crate::report::document::{AppliedCorrection, CorrectionState, ReportedCorrection, TruncatedList};
use crate::report::period::recent_window;
use crate::storage::Storage;
use crate::time::{Time, millis};
use crate::{clock, limits, sql};

/// Most corrections listed.
const CORRECTIONS_MAX: usize = 200;

/// Corrections of a period, and rows of those under way whatever their time: recent rows are those of now.
#[derive(Debug, Default)]
pub struct PeriodCorrections {
    pub listed: TruncatedList<ReportedCorrection>,
    /// Most recent rows of a data type that each side has beside those that they replace: the new row is written before the old one is deleted.
    pub rows_beside: BTreeMap<String, u64>,
}

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

#[derive(Debug, Clone, Row, Deserialize)]
struct AppliedRow {
    correction: u128,
    data_type: String,
    edge: String,
    exchange: String,
    from: Time,
    to: Time,
    /// As an argument of `renormalize`.
    from_text: String,
    to_text: String,
    old_adapter: String,
    new_adapter: String,
    closed: Time,
    at: Time,
    replaced: u64,
    added: u64,
    withdrawn: u64,
    absent: u64,
}

/// A correction of which hot knows.
#[derive(Debug, Row, Deserialize)]
struct KnownRow {
    correction: u128,
    data_type: String,
    exchange: String,
    at: Time,
    from: Time,
    to: Time,
    changed: u64,
}

fn milli(column: &str) -> String {
    format!("toUnixTimestamp64Milli(toDateTime64({column}, 3, 'UTC'))")
}

/// Those of a span that touches the period, or closed in it; the newest first. After those that hot knows the ones that only cold knows.
pub async fn corrections(sources: &Sources, scope: &ReportScope) -> Answer<PeriodCorrections> {
    let (from, to) = (sql::millis(scope.from.0), sql::millis(scope.to.0));
    let source = format!(
        "FROM {}.corrections FINAL WHERE (from_at < {to} AND to_at > {from}) OR (created_at >= {from} AND created_at < {to})",
        sources.hot.database
    );
    let span = format!("{} AS `from`, {} AS `to`", milli("from_at"), milli("to_at"));
    let rows = format!(
        "SELECT correction, toUnixTimestamp64Milli(created_at) AS at, toString(edge) AS edge, toString(exchange) AS exchange, \
         toString(data_type) AS data_type, {span}, old_adapter, new_adapter, \
         tuple(old_count, old_xor, old_sum) AS old_digest, tuple(new_count, new_xor, new_sum) AS new_digest, changed, added, \
         withdrawn {source} ORDER BY created_at DESC, correction, data_type LIMIT {CORRECTIONS_MAX}"
    );
    let total = format!("SELECT count() {source}");
    let known = format!(
        "SELECT correction, toString(data_type) AS data_type, toString(exchange) AS exchange, toUnixTimestamp64Milli(created_at) AS at, \
         {span}, changed FROM {}.corrections FINAL",
        sources.hot.database
    );
    let (closed, total, hot, cold) = tokio::try_join!(
        sources.rows::<ClosedRow>(&sources.hot, &rows),
        sources.rows::<u64>(&sources.hot, &total),
        applied(sources, &sources.hot),
        applied(sources, &sources.cold)
    )?;
    // After cold: it may have carried out one of these meanwhile.
    let known: Vec<KnownRow> = sources.rows(&sources.hot, &known).await?;
    let now_ms = clock::now_ms();
    let kept_ms = kept_from_ms(sources.config.ledger.retention_days, now_ms);
    let touches = |one: &&AppliedRow| {
        one.from.0 < scope.to.0 && one.to.0 > scope.from.0
            || (scope.from.0..scope.to.0).contains(&one.closed.0)
    };
    let lost: Vec<_> =
        lost_by_hot(&cold, &known, kept_ms).into_iter().filter(touches).map(report_lost).collect();
    let total = total.first().copied().unwrap_or_default() + u64::try_from(lost.len()).unwrap_or_default();
    let rows_beside = rows_beside(&known, [&hot, &cold], now_ms);
    let closed = closed.into_iter().map(|row| report(row, &hot, &cold));
    let listed = TruncatedList { total, items: closed.chain(lost).collect() };
    Ok(PeriodCorrections { listed, rows_beside })
}

async fn applied(sources: &Sources, side: &Storage) -> Answer<Vec<AppliedRow>> {
    let text = |column: &str| format!("concat(replaceOne(toString({column}), ' ', 'T'), 'Z')");
    let sql = format!(
        "SELECT correction, toString(data_type) AS data_type, toString(edge) AS edge, toString(exchange) AS exchange, {} AS `from`, {} AS `to`, \
         {} AS from_text, {} AS to_text, old_adapter, new_adapter, toUnixTimestamp64Milli(closed_at) AS closed, \
         toUnixTimestamp64Milli(applied_at) AS at, replaced, added, withdrawn, absent FROM {}.applied_corrections FINAL",
        milli("from_at"),
        milli("to_at"),
        text("from_at"),
        text("to_at"),
        side.database
    );
    sources.rows(side, &sql).await
}

/// Hot surely keeps corrections that were closed from this time on.
fn kept_from_ms(retention_days: u32, now_ms: i64) -> i64 {
    let kept = limits::DAY.saturating_mul(retention_days).saturating_sub(limits::TTL_MARGIN);
    now_ms.saturating_sub(millis(kept))
}

/// Corrections that cold has and hot has not, although it keeps those closed from `kept_ms` on: hot was put back to a state before them. A
/// later one of the whole span takes their place.
fn lost_by_hot<'a>(cold: &'a [AppliedRow], known: &[KnownRow], kept_ms: i64) -> Vec<&'a AppliedRow> {
    let is_known = |one: &AppliedRow| {
        known.iter().any(|other| {
            let is_it = other.correction == one.correction;
            let is_later = other.at > one.closed && other.from <= one.from && other.to >= one.to;
            (&other.data_type, &other.exchange) == (&one.data_type, &one.exchange) && (is_it || is_later)
        })
    };
    cold.iter().filter(|one| one.closed.0 >= kept_ms && !is_known(one)).collect()
}

/// The record of one side that a correction, closed at this time, was carried out.
fn record_of<'a>(
    side: &'a [AppliedRow],
    (correction, data_type, closed): (u128, &str, Time),
) -> Option<&'a AppliedRow> {
    let is_it = |one: &&AppliedRow| {
        one.correction == correction && one.data_type == data_type && one.closed >= closed
    };
    side.iter().find(is_it)
}

/// Rows of corrections that are not carried out, and may have recent rows: by their span, or since they were closed only now.
fn rows_beside(known: &[KnownRow], sides: [&[AppliedRow]; 2], now_ms: i64) -> BTreeMap<String, u64> {
    let mut beside: BTreeMap<String, u64> = BTreeMap::new();
    for one in known {
        let table = Table::ALL.iter().find(|table| table.data_type.as_str() == one.data_type);
        let Some(recent) = table.map(|table| recent_window(table.data_type)) else { continue };
        let since_ms = now_ms.saturating_sub(millis(recent.saturating_add(limits::CORRECTION_DUE)));
        let name = (one.correction, one.data_type.as_str(), one.at);
        let is_applied = sides.iter().all(|side| record_of(side, name).is_some());
        if !is_applied && one.to.max(one.at).0 >= since_ms {
            let rows = beside.entry(one.data_type.clone()).or_default();
            *rows = rows.saturating_add(one.changed);
        }
    }
    beside
}

fn report(row: ClosedRow, hot: &[AppliedRow], cold: &[AppliedRow]) -> ReportedCorrection {
    let name = (row.correction, row.data_type.as_str(), row.at);
    let applied = record_of(hot, name).and(record_of(cold, name)).map(applied_rows);
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
        state: if applied.is_some() { CorrectionState::Applied } else { CorrectionState::Pending },
        applied,
        again: None,
    }
}

fn applied_rows(one: &AppliedRow) -> AppliedCorrection {
    let AppliedRow { at, replaced, added, withdrawn, absent, .. } = *one;
    AppliedCorrection { at, replaced, added, withdrawn, absent }
}

fn report_lost(row: &AppliedRow) -> ReportedCorrection {
    let AppliedRow { edge, exchange, data_type, from_text, to_text, old_adapter, new_adapter, .. } = row;
    ReportedCorrection {
        correction: EventId(row.correction).to_string(),
        at: row.closed,
        edge: edge.clone(),
        exchange: exchange.clone(),
        data_type: data_type.clone(),
        from: row.from,
        to: row.to,
        old_adapter: old_adapter.clone(),
        new_adapter: new_adapter.clone(),
        old_digest: String::new(),
        new_digest: String::new(),
        changed: row.replaced,
        added: row.added,
        withdrawn: row.withdrawn,
        state: CorrectionState::Lost,
        applied: Some(applied_rows(row)),
        again: Some(format!(
            "marketprism-edge renormalize --config FILE --exchange {exchange} --from {from_text} --to {to_text} --data-type {data_type} \
             --adapter FILE_OF_{new_adapter} --against FILE_OF_{old_adapter}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With a retention of a day no lost correction was found.
    #[test]
    fn hot_keeps_corrections_for_its_retention_but_for_two_hours_also_if_that_is_a_day() {
        const HOUR_MS: i64 = 3_600_000;
        for (days, hours) in [(1, 22), (2, 46), (35, 35 * 24 - 2)] {
            assert_eq!(kept_from_ms(days, 1_000 * HOUR_MS), (1_000 - hours) * HOUR_MS, "{days} days");
        }
    }

    #[test]
    fn what_only_cold_knows_is_lost_unless_a_later_correction_covers_it_or_it_is_older_than_hot_keeps() {
        let applied = |correction: u128, closed: i64| AppliedRow {
            correction,
            data_type: "trade".into(),
            edge: "e1".into(),
            exchange: "sim_spot".into(),
            from: Time(10),
            to: Time(20),
            from_text: "2026-01-01T00:00:00.000000001Z".into(),
            to_text: "2026-01-01T00:00:01.000000000Z".into(),
            old_adapter: "sim@1+a".into(),
            new_adapter: "sim@2+b".into(),
            closed: Time(closed),
            at: Time(closed + 5),
            replaced: 1,
            added: 0,
            withdrawn: 0,
            absent: 0,
        };
        let known = |correction: u128, at: i64, to: i64| KnownRow {
            correction,
            data_type: "trade".into(),
            exchange: "sim_spot".into(),
            at: Time(at),
            from: Time(10),
            to: Time(to),
            changed: 1,
        };
        let cold = [applied(1, 100), applied(2, 200), applied(3, 300)];
        let lost = |known: &[KnownRow], kept_ms| -> Vec<u128> {
            lost_by_hot(&cold, known, kept_ms).into_iter().map(|one| one.correction).collect()
        };
        assert_eq!(lost(&[], 200), [2, 3]);
        assert_eq!(lost(&[known(2, 200, 20)], 0), [3], "known, and later than the first");
        assert_eq!(lost(&[known(4, 400, 19)], 0), [1, 2, 3], "it does not cover them");
        let again = report_lost(&cold[0]).again.unwrap();
        assert!(again.contains("--exchange sim_spot --from 2026-01-01T00:00:00.000000001Z --to "), "{again}");
        assert!(again.ends_with("--adapter FILE_OF_sim@2+b --against FILE_OF_sim@1+a"), "{again}");
    }

    #[test]
    fn rows_of_corrections_under_way_are_beside_others_while_they_may_be_recent() {
        const NOW_MS: i64 = 100_000_000;
        const HOUR_MS: i64 = 3_600_000;
        let known = |(correction, data_type): (u128, &str), at: i64, to: i64, changed| KnownRow {
            correction,
            data_type: data_type.into(),
            exchange: "sim_spot".into(),
            at: Time(at),
            from: Time(0),
            to: Time(to),
            changed,
        };
        let applied = |correction: u128, closed: i64| AppliedRow {
            correction,
            data_type: "trade".into(),
            edge: "e1".into(),
            exchange: "sim_spot".into(),
            from: Time(0),
            to: Time(20),
            from_text: String::new(),
            to_text: String::new(),
            old_adapter: "sim@1+a".into(),
            new_adapter: "sim@2+b".into(),
            closed: Time(closed),
            at: Time(closed),
            replaced: 1,
            added: 0,
            withdrawn: 0,
            absent: 0,
        };
        let closed = [
            known((1, "trade"), NOW_MS, 10, 1),
            known((2, "trade"), NOW_MS - HOUR_MS, NOW_MS - 1, 2),
            known((3, "trade"), NOW_MS - HOUR_MS, NOW_MS - HOUR_MS, 4),
            known((4, "trade"), NOW_MS, NOW_MS, 8),
            known((5, "trade"), NOW_MS, NOW_MS, 16),
            known((6, "funding_rate"), NOW_MS - HOUR_MS, NOW_MS - HOUR_MS, 32),
        ];
        let (hot, cold) = ([applied(4, NOW_MS), applied(5, NOW_MS)], [applied(5, NOW_MS)]);
        let beside = rows_beside(&closed, [&hot, &cold], NOW_MS);
        let expected = [("funding_rate".to_owned(), 32), ("trade".to_owned(), 1 + 2 + 8)];
        assert_eq!(beside, BTreeMap::from(expected));
    }
}
