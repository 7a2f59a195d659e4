//! Return to the versions from before a promotion, all selected edges at once.

use std::time::Instant;

use anyhow::ensure;
use marketprism_schema::{WantedAdapter, WantedVersion};
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

/// Takes the newest promotion back from the edges that it reached, of those that are selected; without a selection of all. An edge that is
/// named goes back from an earlier one too. Edges that are offline follow when they come back.
pub async fn roll_back(
    (heartbeats, store): (&Heartbeats<'_>, &Wishes),
    adapter: &str,
    selection: &EdgeSelection,
    times: PromotionTimes,
) -> anyhow::Result<Vec<RollbackResult>> {
    let reports = heartbeats.read().await?;
    let is_everything = selection.all || selection.is_empty();
    let selection = if is_everything { EdgeSelection::everything() } else { selection.clone() };
    let selected = selection.select(&reports, adapter)?;
    let mut wishes = store.read(adapter).await?;
    let (returning, mut results) = take_back(&mut wishes.wanted, adapter, &selected, &selection);
    ensure!(
        !returning.is_empty() || !results.is_empty(),
        "no selected edge has the version of adapter {adapter} that was promoted last; name an edge with --edge to take an earlier promotion back"
    );
    let limits = StageLimits { answer: times.answer, active: times.active, soak: times.soak };
    let mut watched: Vec<(WatchedEdge, String)> = Vec::new();
    for (report, id) in returning {
        if report.is_online {
            watched.push((WatchedEdge::new(report, limits, Instant::now()), id));
        } else {
            let problem = "offline: it takes the earlier version when it comes back";
            results.push(result(&report.edge, problem));
        }
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

/// Wants the earlier version of the edges that a promotion brought to what they have: the newest promotion, unless an edge is named.
/// Returns these edges with their wishes, and the edges that have no way back.
fn take_back<'r>(
    wanted: &mut WantedAdapter,
    adapter: &str,
    selected: &[&'r EdgeReport],
    selection: &EdgeSelection,
) -> (Vec<(&'r EdgeReport, String)>, Vec<RollbackResult>) {
    let (mut returning, mut results) = (Vec::new(), Vec::new());
    for &report in selected {
        let edge = &report.edge;
        let wish = wanted.of(edge, &report.region).map(|wish| &wish.target);
        let Some(now) = wish.or(report.running(adapter)).map(|version| version.digest.clone()) else {
            continue;
        };
        // Edges that the newest promotion did not reach keep what an earlier one brought.
        if !selection.names(edge) && wanted.newest.as_ref() != Some(&now) {
            continue;
        }
        if wanted.before.get(edge).is_none_or(|step| step.from != now) {
            results.push(result(edge, "no version is known that it had before this one: promote one to it"));
            continue;
        }
        let Some(step) = wanted.before.remove(edge) else { continue };
        let wish = new_wish(step.to, Vec::new());
        returning.push((report, wish.wish.clone()));
        wanted.edges.insert(edge.clone(), wish);
    }
    // Edges that come later would follow what is rolled back.
    let newest = wanted.newest.clone();
    let is_newest = |wish: &WantedVersion| newest.as_ref() == Some(&wish.target.digest);
    wanted.regions.retain(|region, wish| !selection.covers(region) || !is_newest(wish));
    if selection.all && wanted.all.as_ref().is_some_and(is_newest) {
        wanted.all = None;
    }
    (returning, results)
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use marketprism_schema::AdapterVersion;

    use super::super::edges::tests::report;
    use super::super::promotion::remember;
    use super::*;

    /// Edges that run these versions, and the wishes that the promotions left.
    #[derive(Default)]
    struct Fleet {
        reports: Vec<EdgeReport>,
        wanted: WantedAdapter,
    }

    fn version(number: &str) -> AdapterVersion {
        AdapterVersion { version: number.into(), digest: format!("d{number}") }
    }

    impl Fleet {
        fn joins(&mut self, edge: &str, number: &str) {
            self.reports
                .push(EdgeReport { adapters: vec![("x".into(), version(number))], ..report(edge, "r") });
        }

        /// A promotion that reaches these edges.
        fn promote(&mut self, number: &str, edges: &[&str]) -> WantedVersion {
            let wish = new_wish(version(number), Vec::new());
            self.wanted.newest = Some(wish.target.digest.clone());
            for report in self.reports.iter_mut().filter(|report| edges.contains(&report.edge.as_str())) {
                remember(&mut self.wanted, report, &wish, "x");
                self.wanted.edges.insert(report.edge.clone(), wish.clone());
                report.adapters = vec![("x".into(), wish.target.clone())];
            }
            wish
        }

        /// Edges with the versions that they return to, and those without.
        fn roll_back(&mut self, selection: &EdgeSelection) -> (BTreeMap<String, String>, Vec<String>) {
            let selected = selection.select(&self.reports, "x").unwrap();
            let (returning, results) = take_back(&mut self.wanted, "x", &selected, selection);
            let version = |edge: &str| self.wanted.edges[edge].target.version.clone();
            let returning = returning.iter().map(|(report, _)| (report.edge.clone(), version(&report.edge)));
            (returning.collect(), results.into_iter().map(|result| result.edge).collect())
        }
    }

    #[test]
    fn edges_that_a_stopped_promotion_did_not_reach_keep_what_an_earlier_one_brought() {
        let mut fleet = Fleet::default();
        for edge in ["e1", "e2", "e3"] {
            fleet.joins(edge, "1");
        }
        let second = fleet.promote("2", &["e1", "e2", "e3"]);
        fleet.wanted.edges.clear();
        (fleet.wanted.all, fleet.wanted.regions) = (Some(second.clone()), [("r".into(), second)].into());
        fleet.promote("3", &["e1", "e2"]);
        let wishes = (fleet.wanted.all.clone(), fleet.wanted.regions.clone());
        let (returning, without) = fleet.roll_back(&EdgeSelection::everything());
        assert_eq!(returning, [("e1".into(), "2".into()), ("e2".into(), "2".into())].into());
        assert!(without.is_empty(), "{without:?}");
        assert_eq!(fleet.wanted.edges.len(), 2);
        assert_eq!((fleet.wanted.all.clone(), fleet.wanted.regions.clone()), wishes, "version 2 is good");
        let (returning, without) = fleet.roll_back(&EdgeSelection::everything());
        assert!(returning.is_empty() && without.is_empty(), "nothing is left to take back");
        let named = EdgeSelection { edges: vec!["e3".into()], ..EdgeSelection::default() };
        let (returning, _) = fleet.roll_back(&named);
        assert_eq!(returning, [("e3".into(), "1".into())].into(), "it is named");
    }

    #[test]
    fn an_edge_without_a_way_back_is_named_and_later_ones_do_not_follow_what_is_rolled_back() {
        let mut fleet = Fleet::default();
        fleet.joins("e1", "1");
        let wish = fleet.promote("2", &["e1"]);
        fleet.joins("late", "2");
        fleet.wanted.regions.insert("r".into(), wish.clone());
        fleet.wanted.regions.insert("other".into(), wish.clone());
        fleet.wanted.all = Some(wish.clone());
        let region = EdgeSelection { regions: vec!["r".into()], ..EdgeSelection::default() };
        let (returning, without) = fleet.roll_back(&region);
        assert_eq!((returning, without), ([("e1".into(), "1".into())].into(), vec!["late".to_owned()]));
        assert_eq!(fleet.wanted.regions.keys().collect::<Vec<_>>(), ["other"]);
        assert_eq!(fleet.wanted.all, Some(wish));
        fleet.roll_back(&EdgeSelection::everything());
        assert!(fleet.wanted.regions.is_empty() && fleet.wanted.all.is_none());
    }
}
