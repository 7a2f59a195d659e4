//! REST weight by address and pool: 429 when a window is full, 418 when a client ignores that and the venue bans.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::venue::PerWindow;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BanRules {
    /// Requests that an address may send after its first 429 before the ban.
    pub ignored_max: u32,
    pub ban: Duration,
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_window_then_ban_then_peace() {
        let bans = BanRules { ignored_max: 2, ban: Duration::from_secs(120) };
        let pool = PerWindow { max: 100, window: Duration::from_secs(60) };
        let (mut weights, start) = (Weights::new(Some(bans)), Instant::now());
        let who = (IpAddr::from([127, 0, 0, 1]), "");
        let mut at = |seconds: u64| weights.charge(who, pool, 50, start + Duration::from_secs(seconds));
        assert_eq!(at(0), Verdict::Allowed(50));
        assert_eq!(at(10), Verdict::Allowed(100));
        assert_eq!(at(20), Verdict::Refused { status: 429, used: 150, wait: Duration::from_secs(40) });
        assert_eq!(at(61), Verdict::Allowed(50));
        at(62);
        assert!(matches!(at(63), Verdict::Refused { status: 429, .. }));
        assert!(matches!(at(64), Verdict::Refused { status: 429, .. }));
        assert!(matches!(at(65), Verdict::Refused { status: 418, .. }));
        assert!(matches!(at(180), Verdict::Refused { status: 418, .. }));
        assert_eq!(at(186), Verdict::Allowed(50));
    }
}
