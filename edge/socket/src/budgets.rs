//! Rate limits as exact rolling windows, shared by everything in the process that draws on the same name.
//!
//! A charge counts from the moment it is granted until a full window after its use *ended*: whenever within
//! the use the venue counted it, no window of the venue's can hold more than the limit. Waiting is first
//! come, first served.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use marketprism_adapter_host::contract::Charge;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::error::BudgetError;
use crate::limits::{UNDEFINED_CHARGE_AGE, UNDEFINED_CHARGES_MAX};

/// All budgets of the process by name. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Budgets {
    windows: Arc<Mutex<BTreeMap<String, Arc<Window>>>>,
}

/// How full a budget is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BudgetUsage {
    /// The budget's name.
    pub name: String,
    /// Units allowed in a window; `None` while no plan has defined the budget.
    pub limit: Option<u32>,
    /// Units that count now.
    pub used: u64,
    /// How long the venue still wants us to stay away.
    pub blocked: Option<Duration>,
}

impl Budgets {
    /// No budget yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Allows at most `units` of budget `name` in any `window`. When it is defined twice, the stricter number
    /// of each holds: the venue counts all of our feeds together.
    pub fn define(&self, name: &str, units: u32, window: Duration) {
        let budget = self.window(name);
        let mut state = budget.state();
        let defined = match state.limit {
            None => Limit { units, window },
            Some(old) => {
                if old.units != units || old.window != window {
                    tracing::warn!(
                        budget = name,
                        units,
                        ?window,
                        ?old,
                        "budget defined differently, the stricter holds"
                    );
                }
                Limit { units: old.units.min(units), window: old.window.max(window) }
            }
        };
        state.limit = Some(defined);
        drop(state);
        budget.changed.notify_waiters();
    }

    /// Waits until every charge has room, at most `wait_max` each.
    ///
    /// # Errors
    /// A charge that can never be granted, a budget blocked for longer than `wait_max`, or no room within
    /// `wait_max`.
    pub async fn reserve(&self, charges: &[Charge], wait_max: Duration) -> Result<Permit, BudgetError> {
        // One sum per budget, and always in the order of names: two callers cannot wait for each other in a
        // circle.
        let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
        for charge in charges {
            *sums.entry(charge.budget.as_str()).or_insert(0) += u64::from(charge.units);
        }
        let mut permit = Permit { holds: Vec::with_capacity(sums.len()) };
        for (name, units) in sums {
            let window = self.window(name);
            let id = window.take(units, wait_max).await?;
            permit.holds.push(Hold { window, id, used: false });
        }
        Ok(permit)
    }

    /// Grants nothing from budget `name` for `time`: the venue said so.
    pub fn block(&self, name: &str, time: Duration) {
        self.window(name).state().block(Instant::now(), time);
    }

    /// The venue refused something that drew on budget `name`: nothing is granted for the time that it named,
    /// else for `usual`, twice as long with each refusal that follows another, up to `longest`. Gives that
    /// time.
    pub(crate) fn refused(
        &self,
        name: &str,
        named: Option<Duration>,
        usual: Duration,
        longest: Duration,
    ) -> Duration {
        let now = Instant::now();
        let budget = self.window(name);
        let mut state = budget.state();
        // What was under way when the venue began to refuse is refused, too: that is no further offence.
        if state.blocked_until.is_none_or(|until| until <= now) {
            state.refusals = state.refusals.saturating_add(1);
        }
        let factor = 2u32.saturating_pow(state.refusals.saturating_sub(1).min(20));
        let time = named.unwrap_or(usual.saturating_mul(factor).min(longest));
        state.block(now, time);
        time
    }

    /// The venue served something that drew on these charges: its refusals are over.
    pub(crate) fn served(&self, charges: &[Charge]) {
        for charge in charges {
            self.window(&charge.budget).state().refusals = 0;
        }
    }

    /// How full every budget is, by name.
    pub fn usage(&self) -> Vec<BudgetUsage> {
        let now = Instant::now();
        let windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let usage = windows.iter().map(|(name, window)| {
            let mut state = window.state();
            state.forget_expired(now);
            BudgetUsage {
                name: name.clone(),
                limit: state.limit.map(|limit| limit.units),
                used: state.used(),
                blocked: state.blocked_until.and_then(|until| until.checked_duration_since(now)),
            }
        });
        usage.collect()
    }

    fn window(&self, name: &str) -> Arc<Window> {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        match windows.get(name) {
            Some(window) => Arc::clone(window),
            None => {
                let window = Arc::new(Window::new(name));
                windows.insert(name.to_owned(), Arc::clone(&window));
                window
            }
        }
    }
}

/// Room granted in one or more budgets. Dropping it says that the use is over; a permit that was never used
/// gives its room back at once.
#[derive(Debug)]
#[must_use]
pub struct Permit {
    holds: Vec<Hold>,
}

impl Permit {
    /// Says that the request goes out now.
    pub fn begin_use(&mut self) {
        for hold in &mut self.holds {
            hold.used = true;
        }
    }
}

#[derive(Debug)]
struct Hold {
    window: Arc<Window>,
    id: u64,
    used: bool,
}

impl Drop for Hold {
    fn drop(&mut self) {
        let now = Instant::now();
        let mut state = self.window.state();
        if let Some(at) = state.entries.iter().position(|entry| entry.id == self.id) {
            if self.used {
                if let Some(entry) = state.entries.get_mut(at) {
                    entry.ended = Some(now);
                }
            } else {
                state.entries.remove(at);
            }
        }
        drop(state);
        self.window.changed.notify_waiters();
    }
}

#[derive(Debug, Clone, Copy)]
struct Limit {
    units: u32,
    window: Duration,
}

#[derive(Debug)]
struct Entry {
    id: u64,
    units: u64,
    /// When the use ended; `None` while it goes on.
    ended: Option<Instant>,
}

#[derive(Debug, Default)]
struct State {
    limit: Option<Limit>,
    entries: VecDeque<Entry>,
    blocked_until: Option<Instant>,
    /// Refusals of the venue in a row.
    refusals: u32,
    next_id: u64,
}

impl State {
    fn block(&mut self, now: Instant, time: Duration) {
        let until = now + time;
        self.blocked_until = Some(self.blocked_until.map_or(until, |old| old.max(until)));
    }

    fn forget_expired(&mut self, now: Instant) {
        let age = self.limit.map_or(UNDEFINED_CHARGE_AGE, |limit| limit.window);
        self.entries.retain(|entry| entry.ended.is_none_or(|ended| ended + age > now));
        if self.limit.is_none() && self.entries.len() > UNDEFINED_CHARGES_MAX {
            self.entries.pop_front();
        }
    }

    fn used(&self) -> u64 {
        self.entries.iter().map(|entry| entry.units).sum()
    }

    fn next_expiry(&self) -> Option<Instant> {
        let window = self.limit?.window;
        self.entries.iter().filter_map(|entry| entry.ended).min().map(|ended| ended + window)
    }
}

/// What an attempt to take units came to.
enum Taken {
    Id(u64),
    /// Try again then, or when something changes.
    Later(Option<Instant>),
}

#[derive(Debug)]
struct Window {
    name: String,
    /// Held while waiting for room. Tokio's mutex is fair, so waiters are served in the order of their
    /// arrival.
    turn: tokio::sync::Mutex<()>,
    state: Mutex<State>,
    changed: Notify,
}

impl Window {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            turn: tokio::sync::Mutex::new(()),
            state: Mutex::new(State::default()),
            changed: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn take(&self, units: u64, wait_max: Duration) -> Result<u64, BudgetError> {
        let waiting = async {
            let _turn = self.turn.lock().await;
            loop {
                let changed = self.changed.notified();
                tokio::pin!(changed);
                // Enabled before the look, so that a change between the look and the wait is not missed.
                changed.as_mut().enable();
                match self.try_take(units, wait_max)? {
                    Taken::Id(id) => return Ok(id),
                    Taken::Later(None) => changed.await,
                    Taken::Later(Some(at)) => tokio::select! {
                        () = changed => {}
                        () = tokio::time::sleep_until(at) => {}
                    },
                }
            }
        };
        let exhausted = || BudgetError::Exhausted { budget: self.name.clone(), waited: wait_max };
        tokio::time::timeout(wait_max, waiting).await.unwrap_or_else(|_| Err(exhausted()))
    }

    fn try_take(&self, units: u64, wait_max: Duration) -> Result<Taken, BudgetError> {
        let now = Instant::now();
        let mut state = self.state();
        if let Some(until) = state.blocked_until {
            if until > now {
                let remaining = until - now;
                if remaining > wait_max {
                    return Err(BudgetError::Blocked { budget: self.name.clone(), remaining });
                }
                return Ok(Taken::Later(Some(until)));
            }
            state.blocked_until = None;
        }
        state.forget_expired(now);
        if let Some(Limit { units: limit, .. }) = state.limit {
            if units > u64::from(limit) {
                return Err(BudgetError::TooLarge { budget: self.name.clone(), units, limit });
            }
            if state.used() + units > u64::from(limit) {
                return Ok(Taken::Later(state.next_expiry()));
            }
        }
        let id = state.next_id;
        state.next_id += 1;
        if units > 0 {
            state.entries.push_back(Entry { id, units, ended: None });
        }
        Ok(Taken::Id(id))
    }
}

#[cfg(test)]
mod tests;
