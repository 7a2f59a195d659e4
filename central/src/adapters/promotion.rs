//! A promotion: one edge first, a soak, then the others one after the other or by region. It stops at the first edge that refuses the
//! version, rolls it back or does not answer; edges that have the version by then keep it.

use std::time::{Duration, Instant};

use anyhow::ensure;
use marketprism_schema::{StepBack, WantedAdapter, WantedVersion};
use tokio::time::sleep;

use super::bucket::{StoredAdapter, shown};
use super::edges::{EdgeReport, Heartbeats};
use super::selection::EdgeSelection;
use super::stage::{StageLimits, WatchedEdge};
use super::wishes::{AdapterWishes, Wishes, new_wish};
use crate::limits::HEARTBEAT_LOOK;

/// Waits of a promotion.
#[derive(Debug, Clone, Copy)]
pub struct PromotionTimes {
    pub soak: Duration,
    pub answer: Duration,
    pub active: Duration,
}

pub struct Promotion<'a> {
    pub heartbeats: &'a Heartbeats<'a>,
    pub wishes: &'a Wishes,
    pub adapter: StoredAdapter,
    pub selection: EdgeSelection,
    pub times: PromotionTimes,
    pub accept: Vec<String>,
    /// After the first edge all edges of a region at once.
    pub by_region: bool,
}

/// Edges that a promotion reached, or the one that stopped it.
#[derive(Debug, PartialEq, Eq)]
pub enum PromotionEnd {
    Done {
        /// Edges that run the version.
        active: Vec<String>,
        /// Edges that take it when they come back.
        offline: Vec<String>,
    },
    Stopped {
        edge: String,
        cause: String,
        active: Vec<String>,
    },
}

impl Promotion<'_> {
    /// An error: nothing was begun, or the broker failed meanwhile.
    pub async fn run(self, on_progress: impl Fn(&str)) -> anyhow::Result<PromotionEnd> {
        let name = &self.adapter.adapter;
        let reports = self.heartbeats.read().await?;
        let selected = self.selection.select(&reports, name)?;
        let (online, offline): (Vec<&EdgeReport>, Vec<&EdgeReport>) =
            selected.into_iter().partition(|report| report.is_online);
        ensure!(
            !online.is_empty(),
            "no selected edge with an adapter named {name} is online, expected one that tries the version first"
        );
        let mut wishes = self.wishes.read(name).await?;
        let wish = new_wish(self.adapter.version.clone(), self.accept.clone());
        let (mut watched, mut earlier): (Vec<WatchedEdge>, Vec<EarlierWish>) = Default::default();
        for (number, stage) in self.stages(&online).into_iter().enumerate() {
            let soak = if number == 0 { self.times.soak } else { Duration::ZERO };
            let names: Vec<&str> = stage.iter().map(|report| report.edge.as_str()).collect();
            on_progress(&format!("{} to {}", shown(&self.adapter), names.join(", ")));
            earlier.extend(self.want(&mut wishes, &wish, &stage).await?);
            let limits = StageLimits { answer: self.times.answer, active: self.times.active, soak };
            watched.extend(stage.iter().map(|report| WatchedEdge::new(report, limits, Instant::now())));
            if let Err((edge, cause)) = self.watch(&mut watched, &wish, &on_progress).await? {
                let is_active = |edge: &str| watched.iter().any(|one| one.edge == edge && one.is_active());
                for earlier in earlier.into_iter().filter(|one| one.edge == edge || !is_active(&one.edge)) {
                    earlier.restore(&mut wishes.wanted);
                }
                self.wishes.write(&mut wishes).await?;
                let active = watched.iter().filter(|one| one.is_active() && one.edge != edge);
                let active = active.map(|one| one.edge.clone()).collect();
                return Ok(PromotionEnd::Stopped { edge, cause, active });
            }
        }
        self.keep(&mut wishes, &wish, &online, &offline).await?;
        let names = |reports: &[&EdgeReport]| reports.iter().map(|report| report.edge.clone()).collect();
        Ok(PromotionEnd::Done { active: names(&online), offline: names(&offline) })
    }

    fn stages<'r>(&self, online: &[&'r EdgeReport]) -> Vec<Vec<&'r EdgeReport>> {
        let Some((first, rest)) = online.split_first() else { return Vec::new() };
        let mut stages = vec![vec![*first]];
        for report in rest {
            let same = stages
                .iter_mut()
                .skip(1)
                .find(|stage| self.by_region && stage.first().is_some_and(|one| one.region == report.region));
            match same {
                Some(stage) => stage.push(report),
                None => stages.push(vec![*report]),
            }
        }
        stages
    }

    /// Returns what these edges had before.
    async fn want(
        &self,
        wishes: &mut AdapterWishes,
        wish: &WantedVersion,
        stage: &[&EdgeReport],
    ) -> anyhow::Result<Vec<EarlierWish>> {
        let mut earlier = Vec::new();
        wishes.wanted.newest = Some(wish.target.digest.clone());
        for report in stage {
            earlier.push(EarlierWish::of(&wishes.wanted, &report.edge));
            remember(&mut wishes.wanted, report, wish, &self.adapter.adapter);
            wishes.wanted.edges.insert(report.edge.clone(), wish.clone());
        }
        self.wishes.write(wishes).await?;
        Ok(earlier)
    }

    async fn watch(
        &self,
        watched: &mut [WatchedEdge],
        wish: &WantedVersion,
        on_progress: &impl Fn(&str),
    ) -> anyhow::Result<Result<(), (String, String)>> {
        let mut failing_since: Option<Instant> = None;
        loop {
            match self.heartbeats.read().await {
                Ok(reports) => {
                    failing_since = None;
                    let now = Instant::now();
                    for one in watched.iter_mut() {
                        let report = reports.iter().find(|report| report.edge == one.edge);
                        let before = one.said.clone();
                        if let Err(cause) = one.see(report, &wish.wish, now) {
                            return Ok(Err((one.edge.clone(), cause)));
                        }
                        if one.said != before {
                            on_progress(&format!("{}: {}", one.edge, one.said));
                        }
                    }
                    if watched.iter().all(WatchedEdge::is_done) {
                        return Ok(Ok(()));
                    }
                }
                // The wish stays: a promotion that is repeated goes on where this one ended.
                Err(error)
                    if failing_since.get_or_insert_with(Instant::now).elapsed() > self.times.answer =>
                {
                    return Err(error);
                }
                Err(error) => tracing::debug!(error = format!("{error:#}"), "heartbeats not read"),
            }
            sleep(HEARTBEAT_LOOK).await;
        }
    }

    /// The wish for everything that was selected: edges that come later follow it too.
    async fn keep(
        &self,
        wishes: &mut AdapterWishes,
        wish: &WantedVersion,
        online: &[&EdgeReport],
        offline: &[&EdgeReport],
    ) -> anyhow::Result<()> {
        for report in offline {
            remember(&mut wishes.wanted, report, wish, &self.adapter.adapter);
        }
        let wanted = &mut wishes.wanted;
        if self.selection.all {
            wanted.all = Some(wish.clone());
            wanted.regions.clear();
            wanted.edges.clear();
        }
        for region in self.selection.regions.iter().filter(|_| !self.selection.all) {
            wanted.regions.insert(region.clone(), wish.clone());
        }
        for report in online.iter().chain(offline) {
            if self.selection.covers(&report.region) {
                wanted.edges.remove(&report.edge);
            } else {
                wanted.edges.insert(report.edge.clone(), wish.clone());
            }
        }
        self.wishes.write(wishes).await
    }
}

/// Wish for an edge, and version to return to, before a wish that did not last.
struct EarlierWish {
    edge: String,
    wish: Option<WantedVersion>,
    before: Option<StepBack>,
}

impl EarlierWish {
    fn of(wanted: &WantedAdapter, edge: &str) -> Self {
        let (wish, before) = (wanted.edges.get(edge).cloned(), wanted.before.get(edge).cloned());
        Self { edge: edge.to_owned(), wish, before }
    }

    fn restore(self, wanted: &mut WantedAdapter) {
        let Self { edge, wish, before } = self;
        match wish {
            Some(wish) => wanted.edges.insert(edge.clone(), wish),
            None => wanted.edges.remove(&edge),
        };
        match before {
            Some(before) => wanted.before.insert(edge, before),
            None => wanted.before.remove(&edge),
        };
    }
}

/// Notes the version that the edge runs now, for a rollback.
pub(super) fn remember(wanted: &mut WantedAdapter, report: &EdgeReport, wish: &WantedVersion, adapter: &str) {
    if let Some(running) = report.running(adapter).filter(|running| running.digest != wish.target.digest) {
        let step = StepBack { to: running.clone(), from: wish.target.digest.clone() };
        wanted.before.insert(report.edge.clone(), step);
    }
}

#[cfg(test)]
mod tests {
    use marketprism_schema::AdapterVersion;

    use super::*;

    #[test]
    fn a_wish_that_is_taken_back_leaves_the_earlier_one_and_its_step_back() {
        let version = |text: &str| AdapterVersion { version: text.into(), digest: text.into() };
        let mut wanted = WantedAdapter::default();
        wanted.edges.insert("one".into(), new_wish(version("2"), Vec::new()));
        let step = |to: &str, from: &str| StepBack { to: version(to), from: from.into() };
        wanted.before.insert("one".into(), step("1", "2"));
        let unchanged = wanted.clone();
        let earlier = ["one", "two"].map(|edge| EarlierWish::of(&wanted, edge));
        for edge in ["one", "two"] {
            wanted.edges.insert(edge.into(), new_wish(version("3"), Vec::new()));
            wanted.before.insert(edge.into(), step("2", "3"));
        }
        earlier.into_iter().for_each(|earlier| earlier.restore(&mut wanted));
        assert_eq!(wanted, unchanged);
    }
}
