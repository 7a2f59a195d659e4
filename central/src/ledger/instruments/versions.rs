//! The history of one instrument built from the reports of edges. Pure.

use std::collections::VecDeque;

use marketprism_schema::InstrumentTerms;

/// State of an instrument at a time, as an edge reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReportedState {
    Listed(Box<InstrumentTerms>),
    Delisted,
}

/// Times are microseconds, but `updated_ns`. `from <= version <= seen`, and `seen` is before `to`: at `version` and at `seen` an edge reported this state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstrumentVersion {
    /// Identity of the row: it stays when `from` moves back.
    pub version: i64,
    /// Of a delisted instrument the last terms.
    pub terms: InstrumentTerms,
    pub is_delisted: bool,
    pub from: i64,
    /// None: it lasts.
    pub to: Option<i64>,
    pub seen: i64,
    pub updated_ns: i64,
    /// Not stored in this form.
    pub is_changed: bool,
}

impl InstrumentVersion {
    fn new(state: (InstrumentTerms, bool), at: i64, to: Option<i64>, reported_ns: i64) -> Self {
        let (terms, is_delisted) = state;
        Self {
            version: at,
            terms,
            is_delisted,
            from: at,
            to,
            seen: at,
            updated_ns: reported_ns,
            is_changed: true,
        }
    }

    fn is(&self, state: &ReportedState) -> bool {
        match state {
            ReportedState::Listed(terms) => !self.is_delisted && self.terms == **terms,
            ReportedState::Delisted => self.is_delisted,
        }
    }

    /// The newest row of a version counts, so a change is later than the row that it replaces, whenever it was reported.
    fn touch(&mut self, reported_ns: i64) {
        self.updated_ns = reported_ns.max(self.updated_ns.saturating_add(1));
        self.is_changed = true;
    }
}

/// Versions of one instrument, oldest first, each up to the next one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InstrumentHistory(pub Vec<InstrumentVersion>);

impl InstrumentHistory {
    /// Adds a report about the time `at`. `reported_ns`: time at which the broker received it.
    pub fn apply(&mut self, state: &ReportedState, at: i64, reported_ns: i64) {
        let later = self.0.partition_point(|version| version.from <= at);
        let Some(current) = later.checked_sub(1).and_then(|index| self.0.get_mut(index)) else {
            return self.apply_before_first(state, at, reported_ns);
        };
        if current.is(state) {
            if current.seen < at {
                current.seen = at;
                current.touch(reported_ns);
            }
            return;
        }
        if [current.from, current.version, current.seen].contains(&at) {
            // Two edges contradict each other about one moment.
            return self.apply(state, at.saturating_add(1), reported_ns);
        }
        let state_after = match state {
            ReportedState::Listed(terms) => ((**terms).clone(), false),
            ReportedState::Delisted => (InstrumentTerms { trading: false, ..current.terms.clone() }, true),
        };
        let tail = current.split_off(at, reported_ns);
        if let Some(tail) = tail {
            self.0.insert(later, tail);
        }
        match self.0.get_mut(later) {
            Some(next) if next.is(state) => {
                next.from = at;
                next.touch(reported_ns);
            }
            next => {
                let to = next.map(|next| next.from);
                self.0.insert(later, InstrumentVersion::new(state_after, at, to, reported_ns));
            }
        }
    }

    /// Nothing is known of an instrument that is delisted before it was listed.
    fn apply_before_first(&mut self, state: &ReportedState, at: i64, reported_ns: i64) {
        let ReportedState::Listed(terms) = state else { return };
        match self.0.first_mut() {
            Some(first) if first.is(state) => {
                first.from = at;
                first.touch(reported_ns);
            }
            first => {
                let to = first.map(|first| first.from);
                let version = InstrumentVersion::new(((**terms).clone(), false), at, to, reported_ns);
                self.0.insert(0, version);
            }
        }
    }

    /// Makes one history of versions of two: those that were reported while hot had lost its rows, and those that came back from cold. Each ends where the
    /// next one begins. No row is deleted, so neighbours may have the same terms.
    pub fn mend(&mut self) {
        let mut rest: VecDeque<InstrumentVersion> = std::mem::take(&mut self.0).into();
        sort(&mut rest);
        while let Some(mut current) = rest.pop_front() {
            // Two versions at one moment: the later row begins when its terms were first reported.
            while let Some(next) = rest.front_mut().filter(|next| {
                next.from < next.version && [current.from, current.version].contains(&next.from)
            }) {
                next.from = next.version;
                next.touch(0);
                sort(&mut rest);
            }
            let next = rest.front().map(|next| next.from);
            let is_late = next.is_some_and(|next| current.seen >= next);
            if let Some(next) = next.filter(|_| is_late) {
                // Exactly at the begin of the next one they contradict each other, and the next one counts.
                let tail = current.split_off(next, 0);
                current.seen = current.seen.min(next.saturating_sub(1)).max(current.version);
                let is_known =
                    |tail: &InstrumentVersion| rest.iter().any(|other| other.version == tail.version);
                rest.extend(tail.filter(|tail| !is_known(tail)));
                sort(&mut rest);
            } else if current.to != next {
                current.to = next;
                current.touch(0);
            }
            self.0.push(current);
        }
    }
}

fn sort(versions: &mut VecDeque<InstrumentVersion>) {
    versions.make_contiguous().sort_by_key(|version| (version.from, version.version));
}

impl InstrumentVersion {
    /// Ends the version at `at`. Gives the rest if an edge reported this state later too.
    fn split_off(&mut self, at: i64, reported_ns: i64) -> Option<Self> {
        let mut tail = (self.seen > at).then(|| self.clone());
        if let Some(tail) = &mut tail {
            tail.from = if tail.version > at { tail.version } else { tail.seen };
            tail.version = tail.from;
            tail.touch(reported_ns);
        }
        if self.version > at {
            // The tail keeps the row.
            self.version = self.from;
        }
        if tail.is_some() {
            self.seen = self.version;
        }
        self.to = Some(at);
        self.touch(reported_ns);
        tail
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use marketprism_schema::{Decimal, MarketType};
    use rand::rngs::StdRng;
    use rand::seq::SliceRandom as _;
    use rand::{Rng as _, SeedableRng as _};

    use super::*;

    fn terms(tick: i64) -> ReportedState {
        ReportedState::Listed(Box::new(InstrumentTerms {
            symbol: "A-B".to_owned(),
            venue_symbol: "AB".to_owned(),
            market_type: MarketType::Spot,
            base: "A".to_owned(),
            quote: "B".to_owned(),
            contract_size: None,
            contract_value: None,
            price_scale: 1,
            quantity_scale: 1,
            tick_size: Some(Decimal { mantissa: tick, scale: 1 }),
            step_size: None,
            trading: true,
        }))
    }

    /// Tick (0: delisted), from and to of each version, after these reports in this order.
    fn history(reports: &[(i64, i64)]) -> Vec<(i64, i64, Option<i64>)> {
        let mut history = InstrumentHistory::default();
        for (reported_ns, (tick, at)) in (1_i64..).zip(reports) {
            let state = if *tick == 0 { ReportedState::Delisted } else { terms(*tick) };
            history.apply(&state, *at, reported_ns);
            check(&history);
        }
        let tick = |one: &InstrumentVersion| one.terms.tick_size.map_or(0, |tick| tick.mantissa);
        let shown = |one: &InstrumentVersion| (if one.is_delisted { 0 } else { tick(one) }, one.from, one.to);
        history.0.iter().map(shown).collect()
    }

    fn check(history: &InstrumentHistory) {
        check_chain(history);
        for pair in history.0.windows(2) {
            assert!(pair[0].terms != pair[1].terms || pair[0].is_delisted != pair[1].is_delisted);
        }
    }

    fn check_chain(InstrumentHistory(versions): &InstrumentHistory) {
        for one in versions {
            assert!(one.from <= one.version && one.version <= one.seen, "{one:?}");
            assert!(one.to.is_none_or(|to| one.seen < to), "{one:?}");
        }
        for pair in versions.windows(2) {
            assert_eq!(pair[0].to, Some(pair[1].from), "{versions:?}");
        }
        assert!(versions.last().is_none_or(|last| last.to.is_none()));
    }

    #[test]
    fn a_version_begins_with_a_change_only_and_a_delisting_ends_it() {
        assert_eq!(history(&[(5, 10), (5, 12), (5, 11), (5, 30)]), [(5, 10, None)], "edges and restarts");
        assert_eq!(history(&[(5, 10), (1, 20), (1, 21)]), [(5, 10, Some(20)), (1, 20, None)]);
        assert_eq!(
            history(&[(5, 10), (0, 20), (0, 21), (5, 30)]),
            [(5, 10, Some(20)), (0, 20, Some(30)), (5, 30, None)]
        );
        assert_eq!(history(&[(0, 5)]), [], "nothing is known of it");
    }

    #[test]
    fn late_words_take_their_place() {
        let changed = [(5, 10, Some(20)), (1, 20, None)];
        assert_eq!(history(&[(1, 20), (5, 10)]), changed);
        assert_eq!(history(&[(5, 10), (1, 25), (1, 20)]), changed, "an edge saw the change earlier");
        assert_eq!(history(&[(5, 15), (1, 20), (5, 10)]), changed, "and the instrument");
        assert_eq!(history(&[(5, 10), (0, 25), (0, 20)]), [(5, 10, Some(20)), (0, 20, None)]);
        let between = [(5, 10, Some(20)), (1, 20, Some(30)), (5, 30, None)];
        assert_eq!(history(&[(5, 10), (5, 30), (1, 20)]), between);
        assert_eq!(history(&[(5, 30), (5, 10), (1, 20)]), between, "reported before, of a time before");
        assert_eq!(history(&[(5, 10), (1, 10)]), [(5, 10, Some(11)), (1, 11, None)], "a contradiction");
    }

    /// Edges that report the truth at random times, received in any order and twice.
    #[test]
    fn any_order_of_the_words_gives_the_same_history() {
        for seed in 0..300 {
            let mut random = StdRng::seed_from_u64(seed);
            let changes = random.random_range(1..6);
            let reports: Vec<(i64, i64)> = (0..changes * 5).map(|n| (n / 5 + 1, 100 + n * 10)).collect();
            let mut expected: Vec<(i64, i64, Option<i64>)> = Vec::new();
            for tick in 1..=changes {
                let to = (tick < changes).then_some(100 + tick * 50);
                expected.push((tick, 50 + tick * 50, to));
            }
            let mut received = [reports.clone(), reports].concat();
            received.shuffle(&mut random);
            assert_eq!(history(&received), expected, "seed {seed}: {received:?}");
        }
    }

    #[test]
    fn a_word_that_changes_nothing_changes_no_row_and_a_change_is_later_than_its_row() {
        let mut history = InstrumentHistory::default();
        history.apply(&terms(5), 10, 1_000);
        history.0.iter_mut().for_each(|version| version.is_changed = false);
        history.apply(&terms(5), 10, 2_000);
        assert!(!history.0[0].is_changed, "a redelivery");
        history.apply(&terms(1), 20, 900);
        let [first, second] = history.0.as_slice() else { panic!("{history:?}") };
        assert_eq!((first.is_changed, first.updated_ns, second.updated_ns), (true, 1_001, 900));
    }

    fn applied(reports: &[(i64, i64)]) -> InstrumentHistory {
        let mut history = InstrumentHistory::default();
        for (reported_ns, (tick, at)) in (1_i64..).zip(reports) {
            history.apply(&terms(*tick), *at, reported_ns);
        }
        history
    }

    /// Rows of both, of each version the newer one.
    fn joined(one: InstrumentHistory, other: InstrumentHistory) -> InstrumentHistory {
        let mut rows = BTreeMap::<i64, InstrumentVersion>::new();
        for version in one.0.into_iter().chain(other.0) {
            if rows.get(&version.version).is_none_or(|known| known.updated_ns < version.updated_ns) {
                rows.insert(version.version, InstrumentVersion { is_changed: false, ..version });
            }
        }
        InstrumentHistory(rows.into_values().collect())
    }

    #[test]
    fn rows_restored_from_cold_and_those_reported_meanwhile_become_one_history() {
        let mended = |cold: &[(i64, i64)], hot: &[(i64, i64)]| {
            let mut history = joined(applied(cold), applied(hot));
            history.mend();
            check_chain(&history);
            let tick = |one: &InstrumentVersion| one.terms.tick_size.map_or(0, |tick| tick.mantissa);
            history.0.iter().map(|one| (tick(one), one.from, one.to)).collect::<Vec<_>>()
        };
        assert_eq!(mended(&[(5, 10)], &[(5, 30)]), [(5, 10, Some(30)), (5, 30, None)], "hot was emptied");
        let expected = [(5, 10, Some(20)), (1, 20, Some(30)), (2, 30, None)];
        assert_eq!(mended(&[(5, 10), (1, 20)], &[(5, 10), (2, 30)]), expected, "hot was put back");
        let expected = [(5, 10, Some(20)), (1, 20, Some(30)), (5, 30, None)];
        assert_eq!(
            mended(&[(5, 10), (1, 20)], &[(5, 10), (5, 10), (5, 30)]),
            expected,
            "it was reported again"
        );
        assert_eq!(mended(&[(5, 10)], &[(5, 30), (5, 10)]), [(5, 10, Some(30)), (5, 30, None)], "one moment");
    }

    /// Two sides that received different reports, in any order, of edges that may contradict each other.
    #[test]
    fn any_two_histories_become_one_without_overlap() {
        for seed in 0..2_000 {
            let mut random = StdRng::seed_from_u64(seed);
            let mut reports = || -> Vec<(i64, i64)> {
                let count = random.random_range(0..8);
                (0..count).map(|_| (random.random_range(1..4), random.random_range(10..25))).collect()
            };
            let mut history = joined(applied(&reports()), applied(&reports()));
            let rows: BTreeSet<i64> = history.0.iter().map(|version| version.version).collect();
            history.mend();
            check_chain(&history);
            let kept: BTreeSet<i64> = history.0.iter().map(|version| version.version).collect();
            assert_eq!(kept.len(), history.0.len(), "seed {seed}: each row once");
            assert!(kept.is_superset(&rows), "seed {seed}: rows stay in the table");
            let mut again = history.clone();
            again.mend();
            assert_eq!(again, history, "seed {seed}");
        }
    }
}
