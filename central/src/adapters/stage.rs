//! Watches the edges of a promotion by their heartbeats.

use std::time::{Duration, Instant};

use marketprism_schema::FollowState;

use super::edges::EdgeReport;

/// Longest waits for an edge.
#[derive(Debug, Clone, Copy)]
pub(super) struct StageLimits {
    /// Between two heartbeats, and until it takes the wish up with its component.
    pub(super) answer: Duration,
    /// Until the version is active.
    pub(super) active: Duration,
    /// For which it stays active before the next stage.
    pub(super) soak: Duration,
}

#[derive(Debug)]
pub(super) struct WatchedEdge {
    pub(super) edge: String,
    began: Instant,
    limits: StageLimits,
    /// Revision of the newest heartbeat, and since when it is the newest.
    heartbeat: (u64, Instant),
    active_since: Option<Instant>,
    /// First look at which it was not active any more.
    lost_since: Option<Instant>,
    is_done: bool,
    /// Newest state, for progress.
    pub(super) said: String,
}

impl WatchedEdge {
    pub(super) fn new(report: &EdgeReport, limits: StageLimits, now: Instant) -> Self {
        Self {
            edge: report.edge.clone(),
            began: now,
            limits,
            heartbeat: (report.revision, now),
            active_since: None,
            lost_since: None,
            is_done: false,
            said: String::new(),
        }
    }

    pub(super) const fn is_done(&self) -> bool {
        self.is_done
    }

    pub(super) const fn is_active(&self) -> bool {
        self.active_since.is_some()
    }

    /// Takes the newest heartbeat. An error is the cause for which the promotion stops.
    pub(super) fn see(
        &mut self,
        report: Option<&EdgeReport>,
        wish: &str,
        now: Instant,
    ) -> Result<(), String> {
        let followed = report.and_then(|report| report.followed.iter().find(|one| one.wish == wish));
        let cause = followed.and_then(|one| one.cause.clone());
        let cause = cause.map(|cause| format!(": {cause}")).unwrap_or_default();
        let state = followed.map(|one| one.state);
        if let Some(state) = state.filter(|state| state.is_failed()) {
            return Err(format!("{}{cause}", state.as_str()));
        }
        if self.is_done {
            return Ok(());
        }
        match report {
            Some(report) if report.is_stopped => return Err("the edge was stopped".to_owned()),
            Some(report) if report.revision != self.heartbeat.0 => self.heartbeat = (report.revision, now),
            _ => {}
        }
        let StageLimits { answer, active, soak } = self.limits;
        if now.duration_since(self.heartbeat.1) > answer {
            return Err(format!("no heartbeat for {answer:?}"));
        }
        match (state, self.active_since) {
            (Some(FollowState::Active), _) => self.lost_since = None,
            // It starts again, its first heartbeats do not know of the wish; or another command wants something else.
            (_, Some(_)) => self.lost_since = self.lost_since.or(Some(now)),
            _ => {}
        }
        let waited = now.duration_since(self.lost_since.unwrap_or(self.began));
        self.said =
            state.map_or_else(|| "no answer yet".to_owned(), |state| format!("{}{cause}", state.as_str()));
        match state {
            Some(FollowState::Active) => {
                let since = *self.active_since.get_or_insert(now);
                self.is_done = now.duration_since(since) >= soak;
                Ok(())
            }
            None if waited > answer && self.active_since.is_some() => {
                Err(format!("it was active, and no longer follows the wish for {answer:?}"))
            }
            None if waited > answer => Err(format!("it did not take the wish up within {answer:?}")),
            Some(FollowState::Unavailable) if waited > answer => Err(self.said.clone()),
            _ if waited > active => Err(format!("not active within {active:?}, last {}", self.said)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use marketprism_schema::FollowedAdapter;

    use super::super::edges::tests::report;
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    struct Fixture {
        watched: WatchedEdge,
        start: Instant,
        revision: u64,
    }

    impl Fixture {
        fn new() -> Self {
            let start = Instant::now();
            let limits = StageLimits { answer: 10 * SECOND, active: 100 * SECOND, soak: 30 * SECOND };
            let report = EdgeReport { revision: 1, ..report("e", "r") };
            Self { watched: WatchedEdge::new(&report, limits, start), start, revision: 1 }
        }

        /// A new heartbeat with this state.
        fn at(&mut self, seconds: u32, state: Option<FollowState>) -> Result<bool, String> {
            self.revision += 1;
            self.stale_at(seconds, state)
        }

        fn stale_at(&mut self, seconds: u32, state: Option<FollowState>) -> Result<bool, String> {
            let followed = state.map(|state| FollowedAdapter {
                adapter: "x".into(),
                wish: "w".into(),
                digest: "d".into(),
                state,
                cause: Some("why".into()),
            });
            let followed = followed.into_iter().collect();
            let report = EdgeReport { revision: self.revision, followed, ..report("e", "r") };
            self.watched.see(Some(&report), "w", self.start + seconds * SECOND)?;
            Ok(self.watched.is_done())
        }
    }

    #[test]
    fn an_edge_is_done_once_it_stayed_active_for_the_soak() {
        use FollowState::{Active, Changing, RolledBack, Waiting};
        let mut edge = Fixture::new();
        assert_eq!(edge.at(5, None), Ok(false));
        assert_eq!(edge.at(9, Some(Waiting)), Ok(false));
        for seconds in [20, 30, 40] {
            assert_eq!(edge.at(seconds, Some(Changing)), Ok(false));
        }
        assert_eq!(edge.at(50, Some(Active)), Ok(false));
        assert_eq!(edge.at(59, None), Ok(false), "a restart in between");
        for seconds in [65, 75, 79] {
            assert_eq!(edge.at(seconds, Some(Active)), Ok(false));
        }
        assert_eq!(edge.at(80, Some(Active)), Ok(true));
        assert_eq!(edge.stale_at(500, None), Ok(true), "its silence stops nothing any more");
        assert_eq!(edge.at(501, Some(RolledBack)), Err("rolled_back: why".into()));
    }

    #[test]
    fn refusals_rollbacks_and_silence_stop_a_promotion_with_their_cause() {
        use FollowState::{Active, Changing, Refused, Replaced, RolledBack, Unavailable, Waiting};
        for (state, text) in [(Refused, "refused"), (RolledBack, "rolled_back"), (Replaced, "replaced")] {
            assert_eq!(Fixture::new().at(1, Some(state)), Err(format!("{text}: why")));
        }
        let mut silent = Fixture::new();
        assert_eq!(silent.stale_at(10, None), Ok(false));
        assert_eq!(silent.stale_at(11, None), Err("no heartbeat for 10s".into()));
        let mut deaf = Fixture::new();
        assert_eq!(deaf.at(10, None), Ok(false));
        assert_eq!(deaf.at(11, None), Err("it did not take the wish up within 10s".into()));
        let mut lacking = Fixture::new();
        assert_eq!(lacking.at(10, Some(Unavailable)), Ok(false));
        assert_eq!(lacking.at(11, Some(Unavailable)), Err("unavailable: why".into()));
        let mut slow = Fixture::new();
        for seconds in (5..=100).step_by(5) {
            assert_eq!(slow.at(seconds, Some(Changing)), Ok(false));
        }
        assert_eq!(slow.at(101, Some(Changing)), Err("not active within 100s, last changing: why".into()));
        let mut restarted = Fixture::new();
        assert_eq!(restarted.at(5, Some(Active)), Ok(false));
        for seconds in (10..=110).step_by(10) {
            assert_eq!(restarted.at(seconds, Some(Waiting)), Ok(false));
        }
        assert_eq!(restarted.at(111, Some(Waiting)), Err("not active within 100s, last waiting: why".into()));
    }

    #[test]
    fn an_edge_whose_wish_another_command_took_back_is_not_waited_for() {
        let mut lost = Fixture::new();
        assert_eq!(lost.at(50, Some(FollowState::Active)), Ok(false));
        for seconds in [55, 65] {
            assert_eq!(lost.at(seconds, None), Ok(false));
        }
        let error = "it was active, and no longer follows the wish for 10s";
        assert_eq!(lost.at(66, None), Err(error.into()));
    }
}
