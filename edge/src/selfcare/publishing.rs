//! Progress of the publisher while the broker is connected. Pure. Checks are counted, not seconds: a process that was suspended has not
//! waited.

use crate::limits::{PROGRESS_EVERY, STUCK_CHECKS};

/// State of the publisher at a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProgressSample {
    pub is_connected: bool,
    /// Events are in the queue, or sent and not acknowledged.
    pub waiting: bool,
    /// Turns of the publisher's loop; it makes several a second, whatever happens.
    pub turns: u64,
    /// Answers to publishes, refusals included.
    pub replies: u64,
    pub connects: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StuckPublishing {
    /// The connection carries nothing: it has to be made again.
    NoReply { seconds: u64 },
    /// The task itself does not go on.
    NoTurn { seconds: u64 },
}

#[derive(Debug, Default)]
pub struct PublishingWatch {
    last: Option<ProgressSample>,
    without_reply: u32,
    without_turn: u32,
    is_standing: bool,
}

impl PublishingWatch {
    /// The task was found standing, and has made no turn since.
    pub const fn is_standing(&self) -> bool {
        self.is_standing
    }

    /// Takes a check. A stuck publisher is reported again after as many checks as at first.
    pub fn observe(&mut self, sample: ProgressSample) -> Option<StuckPublishing> {
        let last = self.last.replace(sample)?;
        let counts = sample.is_connected && sample.waiting && sample.connects == last.connects;
        let counted = |checks: u32, is_same: bool| if counts && is_same { checks + 1 } else { 0 };
        self.without_reply = counted(self.without_reply, sample.replies == last.replies);
        self.without_turn = counted(self.without_turn, sample.turns == last.turns);
        self.is_standing &= sample.turns == last.turns;
        if self.without_turn >= STUCK_CHECKS {
            self.without_turn = 0;
            self.is_standing = true;
            return Some(StuckPublishing::NoTurn { seconds: seconds() });
        }
        if self.without_reply >= STUCK_CHECKS {
            self.without_reply = 0;
            return Some(StuckPublishing::NoReply { seconds: seconds() });
        }
        None
    }
}

const fn seconds() -> u64 {
    PROGRESS_EVERY.as_secs() * STUCK_CHECKS as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(turns: u64, replies: u64) -> ProgressSample {
        ProgressSample { is_connected: true, waiting: true, turns, replies, connects: 1 }
    }

    /// First result of the watch within 100 checks.
    fn found(samples: impl Iterator<Item = ProgressSample>) -> Option<(usize, StuckPublishing)> {
        let mut watch = PublishingWatch::default();
        samples.take(100).enumerate().find_map(|(check, sample)| Some((check, watch.observe(sample)?)))
    }

    #[test]
    fn a_connection_that_answers_nothing_is_found_in_time_and_a_stopped_task_too() {
        let checks = STUCK_CHECKS as usize;
        let silent = found((0..).map(|turn| sample(turn, 7)));
        assert_eq!(silent, Some((checks, StuckPublishing::NoReply { seconds: 30 })));
        let stopped = found(std::iter::repeat(sample(3, 7)));
        assert_eq!(stopped, Some((checks, StuckPublishing::NoTurn { seconds: 30 })));
    }

    #[test]
    fn a_task_stands_from_when_it_was_found_until_its_next_turn() {
        let mut watch = PublishingWatch::default();
        let checks = STUCK_CHECKS as usize;
        let standing: Vec<bool> = std::iter::repeat_n(sample(3, 7), 2 * checks)
            .chain([sample(4, 7)])
            .map(|sample| {
                watch.observe(sample);
                watch.is_standing()
            })
            .collect();
        let first = standing.iter().position(|is_standing| *is_standing);
        assert_eq!((first, standing.last()), (Some(checks), Some(&false)));
        assert!(standing[checks..2 * checks].iter().all(|is_standing| *is_standing), "{standing:?}");
    }

    #[test]
    fn outages_an_empty_queue_and_refusals_are_no_standstill() {
        let disconnected = found((0..).map(|turn| ProgressSample { is_connected: false, ..sample(turn, 7) }));
        let idle = found((0..).map(|turn| ProgressSample { waiting: false, ..sample(turn, 7) }));
        let refused = found((0..).map(|turn| sample(turn, turn)));
        let flapping = found((0..).map(|turn| ProgressSample { connects: turn, ..sample(turn, 7) }));
        assert_eq!([disconnected, idle, refused, flapping], [None; 4]);
    }
}
