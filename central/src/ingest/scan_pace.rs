//! Pace of the gap scans: each one asks the broker twice and hot once, and writes to both. Pure.

use std::time::Instant;

use crate::limits;

/// A stream that flows all the time is scanned every `SCAN_INTERVAL`, one that begins to flow at once.
#[derive(Debug)]
pub struct ScanPace {
    /// Scans that may follow each other at once; each look at a stream that is confirmed as a whole adds one.
    credit: u32,
    scanned: Option<Instant>,
}

/// Why a stream may need a scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScanNeed {
    /// Everything taken is confirmed.
    None,
    /// Messages were taken since the last scan, or were not stored then.
    Unconfirmed,
    /// The last scan left gaps.
    Gaps,
}

impl ScanPace {
    pub const fn new() -> Self {
        Self { credit: limits::SCAN_BURST, scanned: None }
    }

    pub fn is_due(&mut self, now: Instant, need: ScanNeed) -> bool {
        let is_late =
            self.scanned.is_none_or(|at| now.saturating_duration_since(at) >= limits::SCAN_INTERVAL);
        let is_due = match need {
            ScanNeed::Gaps => true,
            ScanNeed::Unconfirmed if !is_late => {
                let has_credit = self.credit > 0;
                self.credit = self.credit.saturating_sub(1);
                has_credit
            }
            ScanNeed::Unconfirmed => true,
            ScanNeed::None => {
                self.credit = (self.credit + 1).min(limits::SCAN_BURST);
                is_late
            }
        };
        if is_due {
            self.scanned = Some(now);
        }
        is_due
    }

    /// The next look is a scan.
    pub fn forget(&mut self) {
        self.scanned = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flowing_stream_is_scanned_seldom_and_one_that_begins_to_flow_at_once() {
        let start = Instant::now();
        let looks_an_interval = limits::SCAN_INTERVAL.as_secs() / limits::CONFIRM_POLL.as_secs();
        let looks_an_interval = u32::try_from(looks_an_interval).unwrap();
        let mut look = 0;
        let mut pace = ScanPace::new();
        let mut scans = |looks: u32, need: ScanNeed| -> u32 {
            let mut is_due = || {
                look += 1;
                pace.is_due(start + limits::CONFIRM_POLL * look, need)
            };
            (0..looks).map(|_| u32::from(is_due())).sum()
        };
        assert_eq!(scans(1 + limits::SCAN_BURST, ScanNeed::Unconfirmed), 1 + limits::SCAN_BURST);
        assert_eq!(scans(20 * looks_an_interval, ScanNeed::Unconfirmed), 20);
        assert_eq!(scans(20 * looks_an_interval, ScanNeed::None), 20, "a restored hot is noticed");
        assert_eq!(scans(limits::SCAN_BURST - 1, ScanNeed::Unconfirmed), limits::SCAN_BURST - 1);
        assert_eq!(scans(3, ScanNeed::Gaps), 3);
        pace.forget();
        assert!(pace.is_due(start, ScanNeed::None));
    }
}
