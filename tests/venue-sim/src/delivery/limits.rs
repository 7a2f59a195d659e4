//! Limits by address: REST weight (429 when a window is full, 418 when a client ignores that), and rolling windows.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::venue::{BanRules, PerWindow};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Allowed(u32),
    Refused { status: u16, used: u32, wait: Duration },
}

#[derive(Debug, Clone, Copy)]
struct WeightAccount {
    window_start: Instant,
    used: u32,
    ignored: u32,
    banned_until: Option<Instant>,
}

#[derive(Debug)]
pub struct Weights {
    bans: Option<BanRules>,
    accounts: HashMap<(IpAddr, String), WeightAccount>,
}

impl Weights {
    pub fn new(bans: Option<BanRules>) -> Weights {
        Weights { bans, accounts: HashMap::new() }
    }

    pub fn charge(&mut self, from: (IpAddr, &str), pool: PerWindow, weight: u32, now: Instant) -> Verdict {
        let fresh = WeightAccount { window_start: now, used: 0, ignored: 0, banned_until: None };
        let account = self.accounts.entry((from.0, from.1.to_owned())).or_insert(fresh);
        if let Some(until) = account.banned_until {
            if now < until {
                return Verdict::Refused { status: 418, used: account.used, wait: until - now };
            }
            *account = fresh;
        }
        if now.duration_since(account.window_start) >= pool.window {
            *account = fresh;
        }
        let used = account.used.saturating_add(weight);
        if used <= pool.max {
            account.used = used;
            return Verdict::Allowed(used);
        }
        account.ignored += 1;
        if let Some(bans) = self.bans.filter(|bans| account.ignored > bans.ignored_max) {
            account.banned_until = Some(now + bans.ban);
            return Verdict::Refused { status: 418, used, wait: bans.ban };
        }
        let wait = pool.window.saturating_sub(now.duration_since(account.window_start));
        Verdict::Refused { status: 429, used, wait }
    }
}

#[derive(Debug)]
pub struct Rolling {
    limit: PerWindow,
    times: VecDeque<Instant>,
}

impl Rolling {
    pub fn new(limit: PerWindow) -> Rolling {
        Rolling { limit, times: VecDeque::new() }
    }

    pub fn per_second(max: usize) -> Rolling {
        let max = u32::try_from(max).unwrap_or(u32::MAX);
        Rolling::new(PerWindow { max, window: Duration::from_secs(1) })
    }

    pub fn is_full(&mut self, now: Instant) -> bool {
        while self.times.front().is_some_and(|at| now.duration_since(*at) >= self.limit.window) {
            self.times.pop_front();
        }
        self.times.len() >= usize::try_from(self.limit.max).unwrap_or(usize::MAX)
    }

    pub fn take(&mut self, now: Instant) -> bool {
        if self.limit.max == u32::MAX {
            return true;
        }
        let full = self.is_full(now);
        // Entries over the limit count too.
        if full {
            self.times.pop_front();
        }
        self.times.push_back(now);
        !full
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_window_holds_more_than_allowed() {
        let mut rolling = Rolling::new(PerWindow { max: 3, window: Duration::from_secs(10) });
        let start = Instant::now();
        let mut at = |s: u64| rolling.take(start + Duration::from_secs(s));
        assert_eq!(
            [at(0), at(4), at(5), at(9), at(20), at(21), at(22), at(23)],
            [true, true, true, false, true, true, true, false]
        );
    }
}
