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
    /// The broker's disk is full until the end.
    FullDisk,
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
/// Longest fault but for a restore.
const FAULT_MAX: Duration = Duration::from_secs(12);
/// Time for restarted parts to connect again.
const RECOVERY: Duration = Duration::from_secs(14);
const CALM: Duration = Duration::from_secs(16);

impl Schedule {
    pub fn new(seed: u64, length: Duration) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let mut steps = Vec::new();
        let mut begin = 5 * SECOND;
        while begin < length {
            wave(&mut random, begin, &mut steps);
            let calm = begin + WAVE + FAULT_MAX + RECOVERY;
            let step = |at, moment| Step { at, moment, action: Action::CutVenue };
            steps.extend([step(calm, Moment::CalmBegins), step(calm + CALM, Moment::CalmEnds)]);
            // No window of the calm reaches into the next wave.
            begin = calm + CALM + 4 * SECOND;
        }
        steps.sort_by_key(|step| step.at);
        Self { steps }
    }
}

fn wave(random: &mut StdRng, begin: Duration, steps: &mut Vec<Step>) {
    let mut busy: Vec<(Part, Duration)> = Vec::new();
    let mut at = begin;
    while at < begin + WAVE {
        let action = any(random);
        let length = match action {
            Action::RestoreHot => FAULT_MAX + Duration::from_millis(random.random_range(0..4_000)),
            _ => Duration::from_millis(random.random_range(1_000..12_000)),
        };
        let end = at + length;
        let part = action.part();
        if busy.iter().all(|(other, until)| *other != part || *until + 3 * SECOND < at) {
            busy.push((part, end));
            steps.push(Step { at, moment: Moment::Begin, action });
            steps.push(Step { at: end, moment: Moment::End, action });
            at += Duration::from_millis(random.random_range(500..5_000));
        } else {
            at += Duration::from_millis(200);
        }
    }
}

fn any(random: &mut StdRng) -> Action {
    let edge = Part::Edge(random.random_range(0..2));
    let process = [edge, Part::Central, Part::Broker, Part::Hot, Part::Cold][random.random_range(0..5)];
    match random.random_range(0..15) {
        0..=3 => Action::Kill(process),
        4 => Action::Stop(edge),
        5 => Action::Stop(Part::Central),
        6 => Action::Suspend(process),
        7 => Action::CutBroker([edge, Part::Central][random.random_range(0..2)]),
        8 => Action::CutHot,
        9 => Action::RestoreHot,
        10 => Action::FullDisk,
        11 => Action::DropTrades(random.random_range(1..200)),
        12 => Action::DropOnOne(random.random_range(1..200)),
        13 => [Action::BookGap, Action::CutVenue][random.random_range(0..2)],
        _ => [Action::Freeze, Action::Refuse][random.random_range(0..2)],
    }
}

impl Action {
    /// Two actions at one part never overlap.
    const fn part(self) -> Part {
        match self {
            Self::Kill(part) | Self::Stop(part) | Self::Suspend(part) | Self::CutBroker(part) => part,
            Self::CutHot | Self::RestoreHot => Part::Hot,
            Self::FullDisk => Part::Broker,
            _ => Part::Venue,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_one_schedule_in_which_every_fault_ends_before_the_calm() {
        let length = Duration::from_secs(600);
        let schedule = Schedule::new(7, length);
        assert_eq!(schedule, Schedule::new(7, length));
        assert_ne!(schedule, Schedule::new(8, length));
        let mut running = Vec::new();
        for step in &schedule.steps {
            match step.moment {
                Moment::Begin => {
                    assert!(running.iter().all(|other: &Action| other.part() != step.action.part()));
                    running.push(step.action);
                }
                Moment::End => running.retain(|other| *other != step.action),
                Moment::CalmBegins | Moment::CalmEnds => assert!(running.is_empty(), "{running:?}"),
            }
        }
        assert!(schedule.steps.len() > 60);
    }
}
