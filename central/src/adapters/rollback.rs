//! Return to the versions from before a promotion, all selected edges at once.

use std::time::Instant;

use anyhow::ensure;
use tokio::time::sleep;

use super::edges::{EdgeReport, Heartbeats};
use super::promotion::PromotionTimes;
use super::selection::EdgeSelection;
use super::stage::{StageLimits, WatchedEdge};
use super::wishes::{Wishes, new_wish};
use crate::limits::HEARTBEAT_LOOK;

/// End of a rollback at an edge.
#[derive(Debug)]
pub struct RollbackResult {
    pub edge: String,
    /// `None`: it runs the earlier version.
    pub problem: Option<String>,
}

/// Wants the earlier version of every edge that is selected, or of every edge if none is. Edges that are offline take it when they come back.
pub async fn roll_back(
    (heartbeats, store): (&Heartbeats<'_>, &Wishes),
    adapter: &str,
    selection: &EdgeSelection,
    times: PromotionTimes,
) -> anyhow::Result<Vec<RollbackResult>> {
    let reports = heartbeats.read().await?;
    let is_whole = selection.all || selection.is_empty();
    let selection = if is_whole { EdgeSelection::everything() } else { selection.clone() };
    let selected = selection.select(&reports, adapter)?;
    let mut wishes = store.read(adapter).await?;
    let wanted = &mut wishes.wanted;
    let mut results = Vec::new();
    let mut watched: Vec<(WatchedEdge, String)> = Vec::new();
    let limits = StageLimits { answer: times.answer, active: times.active, soak: times.soak };
    for report in selected {
        let edge = &report.edge;
        let Some(before) = wanted.before.remove(edge) else {
            if !is_whole {
                results.push(result(edge, "no earlier version is known of it"));
            }
            continue;
        };
        let wish = new_wish(before, Vec::new());
        let id = wish.wish.clone();
        wanted.edges.insert(edge.clone(), wish);
        if report.is_online {
            watched.push((WatchedEdge::new(report, limits, Instant::now()), id));
        } else {
            results.push(result(edge, "offline: it takes the earlier version when it comes back"));
        }
    }
    ensure!(
        !watched.is_empty() || !results.is_empty(),
        "no edge has an earlier version of an adapter named {adapter} to return to"
    );
    if is_whole {
        // Edges that come later would follow what is rolled back.
        wanted.all = None;
        wanted.regions.clear();
    }
    store.write(&mut wishes).await?;
    while !watched.is_empty() {
        sleep(HEARTBEAT_LOOK).await;
        // Without an answer of the broker the edges are silent, and waited for as such.
        let (reports, now) = (heartbeats.read().await.unwrap_or_default(), Instant::now());
        watched.retain_mut(|(edge, wish)| see(edge, wish, &reports, now, &mut results));
    }
    Ok(results)
}

/// True: it is watched further.
fn see(
    edge: &mut WatchedEdge,
    wish: &str,
    reports: &[EdgeReport],
    now: Instant,
    results: &mut Vec<RollbackResult>,
) -> bool {
    let report = reports.iter().find(|report| report.edge == edge.edge);
    match edge.see(report, wish, now) {
        Ok(()) if !edge.is_done() => return true,
        Ok(()) => results.push(RollbackResult { edge: edge.edge.clone(), problem: None }),
        Err(cause) => results.push(result(&edge.edge, &cause)),
    }
    false
}

fn result(edge: &str, problem: &str) -> RollbackResult {
    RollbackResult { edge: edge.to_owned(), problem: Some(problem.to_owned()) }
}
