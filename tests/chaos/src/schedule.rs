//! Times of the faults: waves in which they overlap, and calm times between them, in which the report must say "whole".

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

/// A process, or what a fault makes unusable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// One of the two edges of the venue.
    Edge(usize),
    Central,
    Broker,
    Hot,
    Cold,
    Venue,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// SIGKILL; a restart at the end.
    Kill(Part),
    /// SIGKILL to the broker and an edge; restarts at the end.
    KillWithBroker(usize),
    /// SIGKILL to central; at the end another one starts in its place.
    ReplaceCentral,
    /// SIGTERM; a restart at the end.
    Stop(Part),
    /// SIGSTOP until the end.
    Suspend(Part),
    /// The part's connection to the broker carries nothing; all of it is lost at the end.
    CutBroker(Part),
    /// Central's connection to hot likewise.
    CutHot,
    /// Hot is copied at the begin and put back at the end.
    RestoreHot,
    /// The broker's store is copied at the begin and put back at the end.
    RestoreBroker,
    /// The stream of trades is deleted with what it holds.
    DeleteStream,
    /// The broker loses its store.
    EmptyBroker,
    /// The broker's disk is full until the end.
    FullDisk,
    /// The disk of an edge's journal is full until the end.
    FullJournal(usize),
    /// Each sync of an edge's journal takes this many milliseconds longer until the end.
    SlowJournal(usize, u64),
    /// The wall clock of an edge is off by this many seconds until the end.
    StepClock(usize, i64),
    /// An edge gets another configuration of one of its feeds while it runs.
    Reload(usize),
    /// An edge gets another version of an adapter while it runs.
    SwapAdapter(usize),
    /// The venue withholds this many trades on all connections.
    DropTrades(u64),
    /// The venue withholds trades on one connection.
    DropOnOne(u64),
    /// Book updates are skipped.
    BookGap,
    /// All of the venue's connections are reset.
    CutVenue,
    /// The venue sends nothing until the end.
    Freeze,
    /// The venue takes no connection until the end.
    Refuse,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    Begin,
    End,
    CalmBegins,
    CalmEnds,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    pub at: Duration,
    pub moment: Moment,
    pub action: Action,
}

impl Step {
    pub fn words(&self) -> String {
        match self.moment {
            Moment::Begin => format!("{:?}", self.action),
            Moment::End => format!("end of {:?}", self.action),
            Moment::CalmBegins => "calm".to_owned(),
            Moment::CalmEnds => "end of the calm".to_owned(),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub struct Schedule {
    pub steps: Vec<Step>,
}

const SECOND: Duration = Duration::from_secs(1);
/// Time in which faults begin.
const WAVE: Duration = Duration::from_secs(20);
/// Longest fault but for those of [`long`].
const FAULT_MAX: Duration = Duration::from_secs(12);
/// Time for restarted parts to connect again.
const RECOVERY: Duration = Duration::from_secs(14);
const CALM: Duration = Duration::from_secs(16);
/// Schedules of this length have a broker that is down for minutes, in every fourth wave.
const WITH_OUTAGES: Duration = Duration::from_secs(480);
const OUTAGES_EVERY: u64 = 4;

/// Choices of a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScheduleOptions {
    pub seed: u64,
    pub length: Duration,
    /// The machine can give a process another clock.
    pub has_clocks: bool,
}

impl Schedule {
    pub fn new(options: ScheduleOptions) -> Self {
        let mut random = StdRng::seed_from_u64(options.seed);
        let mut steps = Vec::new();
        let mut begin = 5 * SECOND;
        for number in 1.. {
            if begin >= options.length {
                break;
            }
            let has_outage = options.length >= WITH_OUTAGES && number % OUTAGES_EVERY == 0;
            let wave =
                Wave { has_clocks: options.has_clocks, is_late: 2 * begin > options.length, has_outage };
            let end = wave.add(&mut random, begin, &mut steps);
            let calm = end.max(begin + WAVE + FAULT_MAX) + RECOVERY;
            let step = |at, moment| Step { at, moment, action: Action::CutVenue };
            steps.extend([step(calm, Moment::CalmBegins), step(calm + CALM, Moment::CalmEnds)]);
            // No window of the calm reaches into the next wave.
            begin = calm + CALM + 4 * SECOND;
        }
        steps.sort_by_key(|step| step.at);
        Self { steps }
    }
}

#[derive(Debug, Clone, Copy)]
struct Wave {
    has_clocks: bool,
    /// In the second half one edge and central live on: what grows, grows in them.
    is_late: bool,
    has_outage: bool,
}

impl Wave {
    /// Returns the end of the last fault.
    fn add(self, random: &mut StdRng, begin: Duration, steps: &mut Vec<Step>) -> Duration {
        let mut busy: Vec<(Part, Duration)> = Vec::new();
        let (mut at, mut last) = (begin, begin);
        let mut outage = self.has_outage.then_some(Action::Kill(Part::Broker));
        while at < begin + WAVE {
            let is_long = outage.is_some();
            let action = outage.take().unwrap_or_else(|| self.any(random));
            let length = match action {
                _ if is_long => SECOND * random.random_range(60..150),
                Action::RestoreHot | Action::RestoreBroker => {
                    FAULT_MAX + Duration::from_millis(random.random_range(0..4_000))
                }
                _ => Duration::from_millis(random.random_range(1_000..12_000)),
            };
            let end = at + length;
            let parts = action.parts();
            let is_free =
                |part: &Part| busy.iter().all(|(other, until)| other != part || *until + 3 * SECOND < at);
            if parts.iter().all(is_free) {
                busy.extend(parts.iter().map(|part| (*part, end)));
                steps.push(Step { at, moment: Moment::Begin, action });
                steps.push(Step { at: end, moment: Moment::End, action });
                last = last.max(end);
                at += Duration::from_millis(random.random_range(500..5_000));
            } else {
                at += Duration::from_millis(200);
            }
        }
        last
    }

    fn any(self, random: &mut StdRng) -> Action {
        let number = random.random_range(0..2);
        let edge = Part::Edge(number);
        let process = [edge, Part::Central, Part::Broker, Part::Hot, Part::Cold][random.random_range(0..5)];
        let count = random.random_range(1..200);
        let action = match random.random_range(0..24) {
            0..=3 => Action::Kill(process),
            4 => Action::Stop(edge),
            5 => [Action::Stop(Part::Central), Action::ReplaceCentral][number],
            6 => Action::Suspend(process),
            7 => Action::CutBroker([edge, Part::Central][random.random_range(0..2)]),
            8 => Action::CutHot,
            9 => Action::RestoreHot,
            10 => Action::FullDisk,
            11 => Action::DropTrades(count),
            12 => Action::DropOnOne(count),
            13 => [Action::BookGap, Action::CutVenue][number],
            14 => Action::RestoreBroker,
            15 => [Action::DeleteStream, Action::EmptyBroker][random.random_range(0..2)],
            16 | 17 => Action::KillWithBroker(number),
            18 => Action::FullJournal(number),
            19 => Action::SlowJournal(number, random.random_range(200..3_000)),
            20 => Action::Reload(number),
            21 => Action::SwapAdapter(number),
            22 if self.has_clocks => {
                let minutes = random.random_range(1..4) * 60;
                Action::StepClock(number, [-minutes, minutes][random.random_range(0..2)])
            }
            _ => [Action::Freeze, Action::Refuse][number],
        };
        if self.is_late { action.spares() } else { action }
    }
}

/// The edge that lives on in the second half.
const SPARED: usize = 1;

impl Action {
    /// Two actions at one part never overlap.
    const fn parts(self) -> [Part; 2] {
        match self {
            Self::Kill(part) | Self::Stop(part) | Self::Suspend(part) | Self::CutBroker(part) => [part; 2],
            Self::KillWithBroker(edge) => [Part::Edge(edge), Part::Broker],
            Self::FullJournal(edge)
            | Self::SlowJournal(edge, _)
            | Self::StepClock(edge, _)
            | Self::Reload(edge)
            | Self::SwapAdapter(edge) => [Part::Edge(edge); 2],
            Self::ReplaceCentral => [Part::Central; 2],
            Self::CutHot | Self::RestoreHot => [Part::Hot; 2],
            Self::FullDisk | Self::RestoreBroker | Self::DeleteStream | Self::EmptyBroker => {
                [Part::Broker; 2]
            }
            _ => [Part::Venue; 2],
        }
    }

    /// Messages that the broker has acknowledged are lost.
    pub const fn does_broker_forget(self) -> bool {
        matches!(self, Self::RestoreBroker | Self::DeleteStream | Self::EmptyBroker)
    }

    /// Variant of the fault without the end of a process that is to live on.
    fn spares(self) -> Self {
        match self {
            Self::Kill(part @ (Part::Edge(SPARED) | Part::Central)) => Self::Suspend(part),
            Self::Stop(part @ (Part::Edge(SPARED) | Part::Central)) => Self::CutBroker(part),
            Self::KillWithBroker(SPARED) => Self::Kill(Part::Broker),
            Self::ReplaceCentral => Self::CutHot,
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(seed: u64) -> Schedule {
        Schedule::new(ScheduleOptions { seed, length: Duration::from_secs(1_800), has_clocks: true })
    }

    #[test]
    fn a_seed_gives_one_schedule_in_which_every_fault_ends_before_the_calm() {
        let schedule = of(7);
        assert_eq!(schedule, of(7));
        assert_ne!(schedule, of(8));
        let mut running = Vec::new();
        let mut longest = Duration::ZERO;
        for step in &schedule.steps {
            match step.moment {
                Moment::Begin => {
                    let is_free = |other: &(Action, Duration)| {
                        other.0.parts().iter().all(|part| !step.action.parts().contains(part))
                    };
                    assert!(running.iter().all(is_free));
                    running.push((step.action, step.at));
                }
                Moment::End => {
                    let ended = running.iter().position(|(other, _)| *other == step.action).unwrap();
                    longest = longest.max(step.at - running.remove(ended).1);
                }
                Moment::CalmBegins | Moment::CalmEnds => assert!(running.is_empty(), "{running:?}"),
            }
        }
        assert!(schedule.steps.len() > 150);
        assert!(longest >= Duration::from_secs(60), "the broker is never away for minutes");
    }

    #[test]
    fn every_fault_is_drawn_and_in_the_second_half_one_edge_and_central_live_on() {
        let half = Duration::from_secs(900);
        let mut kinds = std::collections::BTreeSet::new();
        for seed in 0..20 {
            for step in of(seed).steps.into_iter().filter(|step| step.moment == Moment::Begin) {
                let name = format!("{:?}", step.action);
                kinds.insert(name.split('(').next().unwrap().to_owned());
                let ends =
                    matches!(step.action, Action::Kill(_) | Action::Stop(_) | Action::KillWithBroker(_));
                let spared = [Part::Edge(SPARED), Part::Central];
                assert!(
                    step.at < half + 80 * SECOND
                        || !ends
                        || step.action.parts().iter().all(|part| !spared.contains(part))
                );
            }
        }
        assert_eq!(kinds.len(), 23, "{kinds:?}");
    }
}
