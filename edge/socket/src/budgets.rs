//! Rate limits as exact rolling windows, shared by all feeds of the process by name.
//! A charge counts from its grant until a full window after its use *ended*: whenever during the use the
//! venue counted it, no window of the venue exceeds the limit. Waiters are served in order. (Crates such as
//! governor count only the moment of the grant and cannot block a budget for a time that the venue names.)

mod blocks;

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use marketprism_adapter_host::contract::Charge;
use tokio::sync::Notify;
use tokio::time::Instant;

use self::blocks::BlockFile;
use crate::error::BudgetError;
use crate::limits::{BLOCK_KEPT_MIN, SPARE_CHECK_EVERY, UNDEFINED_CHARGE_AGE, UNDEFINED_CHARGES_MAX};

#[derive(Debug, Clone, Default)]
pub struct Budgets {
    windows: Arc<Mutex<BTreeMap<String, Arc<RateWindow>>>>,
    /// `None`: blocks end with the process.
    file: Option<Arc<BlockFile>>,
}

impl Budgets {
    pub fn new() -> Self {
        Self::default()
    }

    /// Blocks what the file says, and keeps long blocks in it over restarts.
    pub fn kept_in(path: PathBuf) -> Self {
        Self { file: Some(Arc::new(BlockFile::new(path.clone()))), ..Self::blocked_by(&path) }
    }

    /// Blocks what the file of another process says, and does not write it.
    pub fn blocked_by(path: &Path) -> Self {
        let (budgets, now) = (Self::default(), Instant::now());
        for (name, time) in blocks::read(path) {
            tracing::warn!(
                budget = name,
                ?time,
                ?path,
                "blocked by the venue in an earlier run: no request is charged to this budget until the block ends; if this machine or its \
                 proxy has another address now, stop the edge and delete the file"
            );
            let window = budgets.window(&name);
            let mut state = window.state();
            (state.blocked_until, state.refusals) = (Some(now + time), 1);
        }
        budgets
    }

    /// Waits until every block is on disk, at most `limit`. False: the disk does not have them.
    pub async fn written(&self, limit: Duration) -> bool {
        match &self.file {
            Some(file) => file.written(limit).await,
            None => true,
        }
    }

    /// Allows at most `units` in any `window`. Of two definitions the stricter values apply: the venue
    /// counts all feeds together.
    pub fn define(&self, name: &str, units: u32, window: Duration) {
        let budget = self.window(name);
        let mut state = budget.state();
        let limit = state.limit.get_or_insert(WindowLimit { units, window });
        if limit.units != units || limit.window != window {
            tracing::warn!(budget = name, units, ?window, old = ?limit, "budget has two definitions: the stricter values apply");
        }
        *limit = WindowLimit { units: limit.units.min(units), window: limit.window.max(window) };
        drop(state);
        budget.changed.notify_waiters();
    }

    /// Waits until every charge is granted, at most `wait_max` each.
    pub async fn reserve(&self, charges: &[Charge], wait_max: Duration) -> Result<BudgetPermit, BudgetError> {
        // One sum per budget in the order of names, so that callers cannot deadlock.
        let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
        for charge in charges {
            *sums.entry(charge.budget.as_str()).or_insert(0) += u64::from(charge.units);
        }
        let mut permit = BudgetPermit { holds: Vec::with_capacity(sums.len()) };
        for (name, units) in sums {
            let window = self.window(name);
            let id = window.take(units, wait_max).await?;
            permit.holds.push(ReservedUnits { window, id, used: false });
        }
        Ok(permit)
    }

    /// Waits until the charges leave half of each budget to other requests and none of them waits, at most `wait_max`.
    pub(crate) async fn spare(&self, charges: &[Charge], wait_max: Duration) -> Result<(), BudgetError> {
        let scarce = || {
            let mut windows = charges.iter().map(|charge| (self.window(&charge.budget), charge.units));
            windows.find(|(window, units)| !window.has_spare(u64::from(*units))).map(|(window, _)| window)
        };
        let waiting = async {
            while scarce().is_some() {
                tokio::time::sleep(SPARE_CHECK_EVERY).await;
            }
        };
        tokio::time::timeout(wait_max, waiting).await.or_else(|_| match scarce() {
            Some(window) => Err(BudgetError::Exhausted { budget: window.name.clone(), waited: wait_max }),
            None => Ok(()),
        })
    }

    /// Blocks after a refusal: for the `named` time, else for `usual`, doubled with each further refusal up
    /// to `longest`. Returns the time.
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
        // Refusals of requests that were already sent do not count again.
        if state.blocked_until.is_none_or(|until| until <= now) {
            state.refusals = state.refusals.saturating_add(1);
        }
        let factor = 2u32.saturating_pow(state.refusals.saturating_sub(1).min(20));
        let time = named.unwrap_or(usual.saturating_mul(factor).min(longest));
        state.blocked_until = state.blocked_until.max(Some(now + time));
        time
    }

    /// Keeps a block over a restart.
    pub(crate) fn keep(&self, name: &str, time: Duration) {
        if let Some(file) = self.file.as_ref().filter(|_| time >= BLOCK_KEPT_MIN) {
            file.add(name, time);
        }
    }

    pub(crate) fn served(&self, charges: &[Charge]) {
        for charge in charges {
            self.window(&charge.budget).state().refusals = 0;
        }
    }

    fn window(&self, name: &str) -> Arc<RateWindow> {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let window = windows
            .entry(name.to_owned())
            .or_insert_with(|| Arc::new(RateWindow { name: name.to_owned(), ..RateWindow::default() }));
        Arc::clone(window)
    }
}

/// Dropping it ends the use; a permit that was never used returns its units at once.
#[derive(Debug)]
pub struct BudgetPermit {
    holds: Vec<ReservedUnits>,
}

impl BudgetPermit {
    pub fn begin_use(&mut self) {
        for hold in &mut self.holds {
            hold.used = true;
        }
    }
}

#[derive(Debug)]
struct ReservedUnits {
    window: Arc<RateWindow>,
    id: u64,
    used: bool,
}

impl Drop for ReservedUnits {
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
struct WindowLimit {
    units: u32,
    window: Duration,
}

#[derive(Debug)]
struct WindowCharge {
    id: u64,
    units: u64,
    ended: Option<Instant>,
}

#[derive(Debug, Default)]
struct WindowState {
    limit: Option<WindowLimit>,
    entries: VecDeque<WindowCharge>,
    blocked_until: Option<Instant>,
    /// Consecutive refusals.
    refusals: u32,
    next_id: u64,
}

impl WindowState {
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

enum Reservation {
    Id(u64),
    /// Retry at this time, or at a change.
    Later(Option<Instant>),
}

#[derive(Debug, Default)]
struct RateWindow {
    name: String,
    /// Held while waiting. Tokio's mutex is fair, so waiters are served in order.
    turn: tokio::sync::Mutex<()>,
    state: Mutex<WindowState>,
    changed: Notify,
}

impl RateWindow {
    fn state(&self) -> MutexGuard<'_, WindowState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_spare(&self, units: u64) -> bool {
        if self.turn.try_lock().is_err() {
            return false;
        }
        let now = Instant::now();
        let mut state = self.state();
        state.forget_expired(now);
        let is_blocked = state.blocked_until.is_some_and(|until| until > now);
        let half = state.limit.map_or(u64::MAX, |limit| u64::from(limit.units) / 2);
        // What is dearer than the half goes alone.
        !is_blocked && (state.used() == 0 || state.used() + units <= half)
    }

    async fn take(&self, units: u64, wait_max: Duration) -> Result<u64, BudgetError> {
        let waiting = async {
            let _turn = self.turn.lock().await;
            loop {
                let changed = self.changed.notified();
                tokio::pin!(changed);
                // Enabled before the check, so that a change before the wait is not missed.
                changed.as_mut().enable();
                match self.try_take(units, wait_max)? {
                    Reservation::Id(id) => return Ok(id),
                    Reservation::Later(None) => changed.await,
                    Reservation::Later(Some(at)) => tokio::select! {
                        () = changed => {}
                        () = tokio::time::sleep_until(at) => {}
                    },
                }
            }
        };
        let exhausted = || BudgetError::Exhausted { budget: self.name.clone(), waited: wait_max };
        tokio::time::timeout(wait_max, waiting).await.unwrap_or_else(|_| Err(exhausted()))
    }

    fn try_take(&self, units: u64, wait_max: Duration) -> Result<Reservation, BudgetError> {
        let now = Instant::now();
        let mut state = self.state();
        if let Some(until) = state.blocked_until {
            if until > now {
                let remaining = until - now;
                if remaining > wait_max {
                    return Err(BudgetError::Blocked { budget: self.name.clone(), remaining });
                }
                return Ok(Reservation::Later(Some(until)));
            }
            state.blocked_until = None;
        }
        state.forget_expired(now);
        if let Some(WindowLimit { units: limit, .. }) = state.limit {
            if units > u64::from(limit) {
                return Err(BudgetError::TooLarge { budget: self.name.clone(), units, limit });
            }
            if state.used() + units > u64::from(limit) {
                return Ok(Reservation::Later(state.next_expiry()));
            }
        }
        let id = state.next_id;
        state.next_id += 1;
        if units > 0 {
            state.entries.push_back(WindowCharge { id, units, ended: None });
        }
        Ok(Reservation::Id(id))
    }
}

#[cfg(test)]
mod tests;
