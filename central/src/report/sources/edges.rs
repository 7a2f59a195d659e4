//! Edges by their heartbeats, and the changes that they reported.

use super::{Answer, Sources, within};
use crate::fleet::{FleetEdge, read_edges};
use crate::report::ReportScope;
use crate::report::document::{ReportedChange, TruncatedList};

/// Most changes listed.
const CHANGES_MAX: usize = 200;

/// As this process watches them. Where it does not, or could not at its last look, the broker is asked.
pub async fn edges(sources: &Sources) -> Answer<Vec<FleetEdge>> {
    match sources.fleet.as_ref().map(|fleet| fleet.edges()) {
        Some(Ok(edges)) => Ok(edges),
        _ => sources.broker_answer(read_edges(&sources.broker)).await,
    }
}

/// The newest first.
pub async fn changes(sources: &Sources, scope: &ReportScope) -> Answer<TruncatedList<ReportedChange>> {
    let within = within("changed_at", scope.from.0, scope.to.0);
    let changed = format!("(SELECT * FROM {}.edge_changes FINAL WHERE {within})", sources.hot.database);
    let total = format!("SELECT count() FROM {changed}");
    let newest = format!(
        "SELECT toUnixTimestamp64Milli(toDateTime64(changed_at, 3, 'UTC')) AS at, toString(edge) AS edge, \
         toString(kind) AS kind, subject, why, before AS `from`, after AS `to`, toString(outcome) AS outcome, cause, \
         digest \
         FROM {changed} ORDER BY changed_at DESC, edge, change_id LIMIT {CHANGES_MAX}"
    );
    let (total, items) =
        tokio::try_join!(sources.rows::<u64>(&sources.hot, &total), sources.rows(&sources.hot, &newest))?;
    Ok(TruncatedList { total: total.first().copied().unwrap_or_default(), items })
}
