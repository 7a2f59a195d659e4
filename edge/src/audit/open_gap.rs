//! What is missing: holes that may still be closed, gaps that last, and how both are told in a window.

use marketprism_schema::{GAPS_MAX, Gap, GapCause, GapKind};

use crate::limits::START_GAP_OURS;

const NANOS_PER_MILLISECOND: i64 = 1_000_000;
const MILLISECONDS_PER_DAY: i64 = 86_400_000;

/// A hole in the trade ids of one stream that is still open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TradeIdGap {
    /// First missing id.
    pub from: u64,
    /// Last missing id.
    pub to: u64,
    /// Receive time of the trade before it, nanoseconds since 1970.
    pub after_ns: i64,
    /// Receive time of the trade that showed it.
    pub at_ns: i64,
    /// Whose fault it is.
    pub cause: GapCause,
    /// What was seen at that time.
    pub evidence: String,
}

impl TradeIdGap {
    pub(super) fn gap(&self) -> Gap {
        Gap {
            kind: GapKind::TradeIds,
            cause: self.cause,
            from_sequence: i64::try_from(self.from).ok(),
            to_sequence: i64::try_from(self.to).ok(),
            missing: Some(self.to.saturating_sub(self.from).saturating_add(1)),
            from: self.after_ns,
            to: self.at_ns,
            evidence: self.evidence.clone(),
        }
    }
}

/// A gap whose end is not known yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenGap {
    /// How it showed.
    pub kind: GapKind,
    /// Whose fault it is. A start is ours besides while it is short.
    pub cause: GapCause,
    /// Last moment before it, nanoseconds.
    pub from_ns: i64,
    /// First and last missing sequence of the venue.
    pub sequences: Option<(i64, i64)>,
    /// What was seen.
    pub evidence: String,
}

impl OpenGap {
    /// Its part of a window; `to_ns`: its end, or the end of what is known.
    pub(super) fn within(&self, start_ns: i64, end_ns: i64, to_ns: i64) -> Option<Gap> {
        let begins_here = start_ns <= self.from_ns;
        if self.from_ns >= end_ns || (to_ns <= start_ns && !begins_here) {
            return None;
        }
        let start_limit = i64::try_from(START_GAP_OURS.as_nanos()).unwrap_or(i64::MAX);
        let is_short = to_ns.saturating_sub(self.from_ns) <= start_limit;
        let (from_sequence, to_sequence) = self.sequences.filter(|_| begins_here).unzip();
        let from = self.from_ns.max(start_ns);
        Some(Gap {
            kind: self.kind,
            cause: if self.kind == GapKind::Start && is_short { GapCause::Ours } else { self.cause },
            from_sequence,
            to_sequence,
            missing: None,
            from,
            to: to_ns.min(end_ns).max(from),
            evidence: self.evidence.clone(),
        })
    }
}

/// Gaps of one stream in one window: a bounded list whose last item sums up the rest.
#[derive(Debug, Default)]
pub(super) struct GapList {
    gaps: Vec<Gap>,
    /// Gaps in the last item besides the first of them.
    summed: u64,
}

impl GapList {
    pub(super) fn push(&mut self, gap: Gap) {
        if self.gaps.len() < GAPS_MAX {
            return self.gaps.push(gap);
        }
        let Some(last) = self.gaps.last_mut() else { return };
        self.summed += 1;
        last.missing = match (last.missing, gap.missing) {
            (Some(left), Some(right)) => Some(left.saturating_add(right)),
            (left, right) => left.or(right),
        };
        last.from = last.from.min(gap.from);
        last.to = last.to.max(gap.to);
        last.from_sequence = last.from_sequence.into_iter().chain(gap.from_sequence).min();
        last.to_sequence = last.to_sequence.into_iter().chain(gap.to_sequence).max();
    }

    pub(super) fn into_gaps(mut self) -> Vec<Gap> {
        if self.summed > 0
            && let Some(last) = self.gaps.last_mut()
        {
            last.evidence = format!("{} gaps in one, the first: {}", self.summed + 1, last.evidence);
        }
        self.gaps
    }
}

/// A time as hours, minutes, seconds and milliseconds UTC, for evidence.
#[must_use]
pub fn time_of_day(ns: i64) -> String {
    let ms = ns.div_euclid(NANOS_PER_MILLISECOND).rem_euclid(MILLISECONDS_PER_DAY);
    let (seconds, ms) = (ms / 1_000, ms % 1_000);
    format!("{:02}:{:02}:{:02}.{ms:03} UTC", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(from_ns: i64) -> OpenGap {
        OpenGap {
            kind: GapKind::Connection,
            cause: GapCause::Network,
            from_ns,
            sequences: Some((3, 4)),
            evidence: "lost".into(),
        }
    }

    /// Goal: a gap over several windows is in each of them with its part, its sequences in the first only; before and after it is not.
    #[test]
    fn lasting_gaps_are_cut_to_the_window() {
        let gap = standing(150);
        let part = |start, end| gap.within(start, end, 320).map(|gap| (gap.from, gap.to, gap.from_sequence));
        assert_eq!(part(0, 100), None);
        assert_eq!(part(100, 200), Some((150, 200, Some(3))));
        assert_eq!(part(200, 300), Some((200, 300, None)));
        assert_eq!(part(300, 400), Some((300, 320, None)));
        assert_eq!(part(400, 500), None);
    }

    /// Goal: the time until a feed's first frame is ours while it is short, and the network's when it lasts.
    #[test]
    fn a_start_is_ours_until_it_lasts() {
        let start = OpenGap { kind: GapKind::Start, ..standing(0) };
        let cause = |to_ns: i64| start.within(0, i64::MAX, to_ns).unwrap().cause;
        assert_eq!(cause(9_000_000_000), GapCause::Ours);
        assert_eq!(cause(11_000_000_000), GapCause::Network);
    }

    /// Goal: the list is bounded, and the rest is summed up, not left out.
    #[test]
    fn many_gaps_are_summed_up() {
        let mut list = GapList::default();
        for at in 0..200 {
            list.push(Gap { missing: Some(2), ..standing(at).within(0, 1_000, at + 1).unwrap() });
        }
        let gaps = list.into_gaps();
        assert_eq!(gaps.len(), GAPS_MAX);
        assert_eq!(gaps.iter().filter_map(|gap| gap.missing).sum::<u64>(), 400);
        let last = gaps.last().unwrap();
        assert_eq!((last.from, last.to), (63, 200));
        assert!(last.evidence.starts_with("137 gaps in one"), "{}", last.evidence);
    }

    /// Goal: times are readable. Method: a known one.
    #[test]
    fn times_are_readable() {
        assert_eq!(time_of_day(1_763_829_045_006_000_000), "16:30:45.006 UTC");
    }
}
