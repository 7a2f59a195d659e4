//! The rule against random histories: what it says is compared with what is really missing.

mod rows;
mod simulation;

use std::collections::BTreeSet;

use super::{StreamCompleteness, TimeRuns, collect, judge};
use crate::report::sources::ledger::RunState;
use rows::SimRows;
use simulation::{Simulation, Step, WINDOW};

/// Seeds of the suite's test. `make histories` checks [`ALL`].
const PART: u64 = 10_000;
const ALL: u64 = 100_000;

#[derive(Debug, Clone, PartialEq, Eq)]
struct SimHistory {
    edges: usize,
    is_numbered: bool,
    steps: Vec<Step>,
}

/// Judgement of the real code on the rows of a simulation.
fn judged(rows: &SimRows, period: (i64, i64)) -> StreamCompleteness {
    let facts = collect(&rows.verdicts, &rows.gaps, &rows.ids, period.0);
    judge(facts.values().next().expect("the first windows have verdicts"), period)
}

impl SimHistory {
    fn run(&self) -> Simulation {
        let mut simulation = Simulation::begin(self.edges, self.is_numbered);
        for step in &self.steps {
            simulation.step(*step);
        }
        simulation
    }

    fn has(&self, is: impl Fn(&Step) -> bool) -> bool {
        self.steps.iter().any(is)
    }

    /// The report on the history as it is, before and after late audits, and on the history with two quiet windows at its end.
    fn check(&self) -> Result<(), String> {
        let mut simulation = self.run();
        simulation.close();
        self.never_too_good(&simulation, false)?;
        self.never_too_good(&simulation, true)?;
        simulation.end();
        self.never_too_good(&simulation, true)?;
        self.never_too_bad(&simulation)
    }

    fn never_too_good(&self, simulation: &Simulation, with_late: bool) -> Result<(), String> {
        let rows = simulation.rows(with_late);
        let found = judged(&rows, simulation.period());
        let is_complete = found.is_complete() && rows.mismatches == 0;
        let missing: Vec<i64> =
            simulation.sent.keys().filter(|id| !simulation.hot.contains_key(id)).copied().collect();
        let proven: TimeRuns =
            found.proven.values().flat_map(|runs| runs.iter().collect::<Vec<_>>()).collect();
        let is_proven = |id: &&i64| {
            let at = simulation.sent.get(id).map_or(0, |ns| ns / 1_000_000_000);
            proven.iter().any(|(from, to)| from <= at && at < to)
        };
        if let Some(id) = missing.iter().find(is_proven) {
            return Err(format!("trade {id} is missing in a window that is called verified complete"));
        }
        let known = self.knowable(simulation, with_late);
        match missing.iter().find(|id| known.contains(id)) {
            Some(id) if is_complete => {
                Err(format!("whole (late audits: {with_late}), but trade {id} is missing"))
            }
            _ => Ok(()),
        }
    }

    /// Trades whose absence somebody can know of.
    fn knowable(&self, simulation: &Simulation, with_late: bool) -> BTreeSet<i64> {
        if !self.is_numbered {
            let is_known = |ns: &i64| {
                let window = ns.div_euclid(1_000_000_000 * WINDOW) * WINDOW;
                simulation.is_troubled(window, with_late) && !simulation.is_witnessed(window, with_late)
            };
            let known = simulation.sent.iter().filter(|(_, ns)| is_known(ns));
            return known.map(|(id, _)| *id).collect();
        }
        let bounds = simulation.hot.keys().next().zip(simulation.hot.keys().last());
        let between = bounds.into_iter().flat_map(|(first, last)| *first..=*last);
        let arrived = simulation.audits.iter().filter(|audit| with_late || !audit.is_late);
        let reported = arrived.flat_map(|audit| {
            let gaps = audit.gaps.iter().filter_map(|gap| gap.from_sequence.zip(gap.to_sequence));
            gaps.flat_map(|(first, last)| first..=last).chain(audit.stored.iter().copied())
        });
        between.chain(reported).collect()
    }

    fn never_too_bad(&self, simulation: &Simulation) -> Result<(), String> {
        let is_missing = simulation.sent.keys().any(|id| !simulation.hot.contains_key(id));
        let (from, to) = simulation.period();
        let mut later = (from + WINDOW..to).step_by(usize::try_from(WINDOW).unwrap());
        let is_witnessed = later.all(|window| simulation.is_witnessed(window, true));
        // A lie and an edge that falls silent are findings of their own.
        let is_odd = self.has(|step| matches!(step, Step::Lie(_) | Step::Stranger));
        if is_missing || is_odd || !self.is_numbered && !is_witnessed {
            return Ok(());
        }
        let rows = simulation.rows(true);
        let found = judged(&rows, simulation.period());
        if found.is_complete() && rows.mismatches == 0 {
            return Ok(());
        }
        Err(format!("not whole, but nothing is missing: {} mismatches, {found:?}", rows.mismatches))
    }
}

/// SplitMix64: a seed gives the same history on every machine.
struct Random(u64);

impl Random {
    const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u8) -> u8 {
        u8::try_from(self.next() % u64::from(bound)).unwrap()
    }

    fn history(&mut self) -> SimHistory {
        let edges = usize::from(1 + self.below(3));
        let is_numbered = self.below(4) > 0;
        let steps = (0..2 + self.below(16)).map(|_| self.step()).collect();
        SimHistory { edges, is_numbered, steps }
    }

    fn step(&mut self) -> Step {
        let edge = self.below(3);
        match self.below(34) {
            0..8 => Step::Trade,
            8..14 => Step::Pass(1 + self.below(70)),
            14..16 => Step::Drop(edge),
            16..18 => Step::Flow(edge),
            18..20 => Step::Cut(edge),
            20..22 => Step::Join(edge),
            22 => Step::Kill(edge),
            23 => Step::Stop(edge),
            24 | 25 => Step::Start(edge),
            26 => Step::Overflow(edge),
            27 => Step::Lie(edge),
            28 => Step::Late(edge),
            29 => Step::Lose(edge),
            30 => Step::Restore(1 + self.below(4)),
            31 | 32 => Step::Crash(edge),
            _ if edge == 0 => Step::Stranger,
            _ => Step::Refill,
        }
    }
}

/// The shortest history that still fails: steps and edges are left out one by one.
fn shrunk(mut history: SimHistory, fails: impl Fn(&SimHistory) -> bool) -> SimHistory {
    loop {
        let fewer_steps = (0..history.steps.len()).map(|left_out| {
            let mut steps = history.steps.clone();
            steps.remove(left_out);
            SimHistory { steps, ..history.clone() }
        });
        let fewer_edges =
            (history.edges > 1).then(|| SimHistory { edges: history.edges - 1, ..history.clone() });
        match fewer_steps.chain(fewer_edges).find(&fails) {
            Some(smaller) => history = smaller,
            None => return history,
        }
    }
}

#[test]
fn no_history_is_called_whole_with_a_trade_missing_nor_the_other_way_round() {
    check(PART);
}

#[test]
#[ignore = "minutes: `make histories` runs it"]
fn none_of_all_histories_is_called_whole_with_a_trade_missing_nor_the_other_way_round() {
    check(ALL);
}

fn check(seeds: u64) {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(8);
    let threads = u64::try_from(threads).unwrap();
    let part = |first: u64| {
        (first..seeds).step_by(usize::try_from(threads).unwrap()).find_map(|seed| {
            let history = Random(seed).history();
            let fails = |history: &SimHistory| history.check().is_err();
            fails(&history).then(|| shrunk(history, fails))
        })
    };
    let failed = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|first| scope.spawn(move || part(first))).collect();
        running
            .into_iter()
            .filter_map(|thread| thread.join().unwrap())
            .min_by_key(|history| history.steps.len())
    });
    if let Some(history) = failed {
        panic!("{}\n{history:?}.check().unwrap();", history.check().unwrap_err());
    }
}

/// Y drops 1,195 trades in two windows, X 238 of them in the first; Y notices them in the second one.
#[test]
fn trades_that_two_edges_drop_in_overlapping_times_are_missing() {
    use Step::{Drop, Flow, Pass, Trade};
    let mut steps = vec![Trade, Drop(1)];
    steps.extend([Trade; 500]);
    steps.push(Drop(0));
    steps.extend([Trade; 238]);
    steps.push(Flow(0));
    steps.extend([Trade; 157]);
    steps.push(Pass(60));
    steps.extend([Trade; 300]);
    steps.extend([Flow(1), Trade]);
    let history = SimHistory { edges: 2, is_numbered: true, steps };
    assert_eq!(history.check(), Ok(()));
    let mut simulation = history.run();
    simulation.close();
    let noticed = |count| {
        let mut gaps = simulation.audits.iter().flat_map(|audit| &audit.gaps);
        gaps.any(|gap| gap.missing == Some(count))
    };
    assert!(noticed(238) && noticed(1_195));
    let found = judged(&simulation.rows(true), simulation.period());
    let [missing] = found.missing.as_slice() else { panic!("{found:?}") };
    assert_eq!(missing.count, 238);
    assert_eq!(missing.at, (simulation::BEGIN + 2 * WINDOW, simulation::BEGIN + 3 * WINDOW));
}

/// A half-dead connection is noticed a window later: until then its edge must not cover for the other one.
#[test]
fn a_gap_counts_in_windows_that_closed_before_it_was_noticed() {
    use Step::{Cut, Drop, Flow, Join, Pass, Trade};
    let in_the_first = [Trade, Drop(0), Cut(1), Trade, Join(1), Trade, Pass(60)];
    let steps = [&in_the_first[..], &[Trade, Cut(0), Flow(0), Join(0), Trade]].concat();
    let history = SimHistory { edges: 2, is_numbered: false, steps };
    assert_eq!(history.check(), Ok(()));
    let mut simulation = history.run();
    simulation.close();
    assert!(!judged(&simulation.rows(true), simulation.period()).is_complete());
}

/// The edge is down for hours, and the report begins in this time: no earlier verdict is read.
#[test]
fn the_time_of_a_killed_edge_is_seen_by_a_report_that_begins_in_it() {
    use Step::{Crash, Pass, Start, Trade};
    let downtime = [Trade; 3].into_iter().chain([Pass(60); 90]);
    let steps =
        [Trade, Crash(0)].into_iter().chain(downtime).chain([Start(0), Trade, Pass(60), Trade]).collect();
    let history = SimHistory { edges: 1, is_numbered: false, steps };
    let mut simulation = history.run();
    simulation.close();
    let (from, to) = simulation.period();
    let mut rows = simulation.rows(true);
    let start = simulation.killed[0].2 / 1_000_000_000 / WINDOW * WINDOW;
    // The windows of the downtime have no verdict yet, and everything before is out of the period.
    for bucket in &mut rows.verdicts {
        bucket.runs = vec![(start + WINDOW, to, RunState::Storing.code())];
        bucket.first_ms = (start + WINDOW) * 1_000;
    }
    let found = judged(&rows, (from + 30 * WINDOW, to));
    assert_eq!(found.unknown_gaps.get("ours"), Some(&1), "{found:?}");
}

#[test]
fn a_failing_history_shrinks_to_its_cause() {
    use Step::{Drop, Flow, Kill, Late, Pass, Trade};
    let steps = vec![Pass(9), Trade, Late(1), Drop(0), Pass(40), Kill(1), Trade, Flow(0), Trade, Pass(3)];
    let is_short = |history: &SimHistory| {
        let simulation = history.run();
        simulation.sent.keys().any(|id| !simulation.hot.contains_key(id))
    };
    let shortest = shrunk(SimHistory { edges: 2, is_numbered: true, steps }, is_short);
    assert_eq!(shortest, SimHistory { edges: 1, is_numbered: true, steps: vec![Kill(1), Trade] });
}
