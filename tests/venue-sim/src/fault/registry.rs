//! Registered faults, consulted once per frame and once per request.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::spec::{FaultAction, FaultError, FaultId, FaultSpec, FaultStatus};

/// Bound of the list; the oldest ended fault is dropped first.
const REMEMBERED_MAX: usize = 1000;

#[derive(Debug, Clone, Copy)]
pub struct FrameFacts<'a> {
    pub exchange: &'a str,
    pub symbol: &'a str,
    pub stream: &'a str,
    pub book: bool,
}

#[derive(Debug, Clone, Copy)]
pub struct RestFacts<'a> {
    pub exchange: &'a str,
    pub symbol: &'a str,
    pub path: &'a str,
    pub snapshot: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RestEffect {
    pub delay: Duration,
    pub stale_updates: Option<u64>,
    pub status: Option<(u16, Option<u64>)>,
    /// The venue's own error.
    pub code: Option<u16>,
    pub corrupt: Option<FaultAction>,
    pub hang: Option<Duration>,
}

#[derive(Debug)]
struct Active {
    id: FaultId,
    spec: FaultSpec,
    seen: u64,
    left: u64,
    fired: u64,
    until: Option<Instant>,
    removed: bool,
}

impl Active {
    fn is_active(&self, now: Instant) -> bool {
        !self.removed && self.left > 0 && self.until.is_none_or(|until| now < until)
    }

    fn fires(&mut self) -> bool {
        self.seen += 1;
        if self.seen <= self.spec.after.unwrap_or(0) {
            return false;
        }
        self.left -= 1;
        self.fired += 1;
        true
    }
}

#[derive(Debug, Default)]
pub struct Faults {
    list: Mutex<Vec<Active>>,
    /// Number of active faults; keeps the hot path free of the lock.
    armed: AtomicUsize,
    next_id: AtomicUsize,
}

fn is_frame_action(action: FaultAction) -> bool {
    use FaultAction::*;
    is_corrupting(action)
        || matches!(action, Drop | Duplicate | Reorder | Gap | Checksum | Freeze | Close | Cut | HalfCut)
}

fn is_corrupting(action: FaultAction) -> bool {
    matches!(action, FaultAction::Garbage | FaultAction::Half | FaultAction::WrongTypes)
}

fn equals(filter: Option<&String>, value: &str) -> bool {
    filter.is_none_or(|wanted| wanted == value)
}

fn contained(filter: Option<&String>, value: &str) -> bool {
    filter.is_none_or(|wanted| value.contains(wanted.as_str()))
}

impl Faults {
    /// Registers a fault; true with its id when it must be executed at once.
    pub fn set(&self, spec: FaultSpec) -> Result<(FaultId, bool), FaultError> {
        spec.validate()?;
        let id = self.next_id.fetch_add(1, Ordering::Relaxed) as u64 + 1;
        let duration = spec.duration_ms.map(Duration::from_millis);
        let is_immediate = spec.is_immediate();
        let left = if is_immediate { 0 } else { spec.times() };
        let until = duration.map(|d| Instant::now() + d);
        let mut list = self.lock();
        list.push(Active { id, spec, seen: 0, left, fired: 0, until, removed: false });
        let now = Instant::now();
        if list.len() > REMEMBERED_MAX
            && let Some(ended) = list.iter().position(|f| !f.is_active(now))
        {
            list.remove(ended);
        }
        self.rearm(&list);
        Ok((id, is_immediate))
    }

    pub fn remove(&self, id: FaultId) -> bool {
        let mut list = self.lock();
        let found = list.iter_mut().find(|f| f.id == id).map(|f| f.removed = true).is_some();
        self.rearm(&list);
        found
    }

    /// Counts executions of an immediate fault.
    pub fn add_fired(&self, id: FaultId, times: u64) {
        if let Some(fault) = self.lock().iter_mut().find(|f| f.id == id) {
            fault.fired += times;
        }
    }

    pub fn list(&self) -> Vec<FaultStatus> {
        let now = Instant::now();
        self.lock()
            .iter()
            .map(|f| FaultStatus { id: f.id, fired: f.fired, active: f.is_active(now), spec: f.spec.clone() })
            .collect()
    }

    /// Faults that apply to a frame. Each fault counts a frame once, whatever the number of receivers; with a connection filter only
    /// frames of that connection.
    pub fn on_frame(&self, facts: FrameFacts<'_>, receives: impl Fn(u64) -> bool) -> Vec<FaultSpec> {
        if self.armed.load(Ordering::Acquire) == 0 {
            return Vec::new();
        }
        let now = Instant::now();
        let mut list = self.lock();
        let mut effects = Vec::new();
        for fault in list.iter_mut().filter(|f| f.is_active(now) && is_frame_action(f.spec.action)) {
            let matches = equals(fault.spec.exchange.as_ref(), facts.exchange)
                && equals(fault.spec.symbol.as_ref(), facts.symbol)
                && fault.spec.path.is_none()
                && contained(fault.spec.stream.as_ref(), facts.stream)
                && (facts.book || !matches!(fault.spec.action, FaultAction::Gap | FaultAction::Checksum))
                && fault.spec.connection.is_none_or(&receives);
            if matches && fault.fires() {
                effects.push(fault.spec.clone());
            }
        }
        self.rearm(&list);
        effects
    }

    pub fn on_rest(&self, facts: RestFacts<'_>) -> RestEffect {
        let mut effect = RestEffect::default();
        if self.armed.load(Ordering::Acquire) == 0 {
            return effect;
        }
        let now = Instant::now();
        let mut list = self.lock();
        for fault in list.iter_mut().filter(|f| f.is_active(now)) {
            let wanted = match fault.spec.action {
                FaultAction::SlowSnapshot | FaultAction::StaleSnapshot => facts.snapshot,
                FaultAction::RestStatus | FaultAction::RestTimeout => true,
                action => is_corrupting(action) && fault.spec.path.is_some(),
            };
            let matches = wanted
                && equals(fault.spec.exchange.as_ref(), facts.exchange)
                && equals(fault.spec.symbol.as_ref(), facts.symbol)
                && contained(fault.spec.path.as_ref(), facts.path);
            if !matches || !fault.fires() {
                continue;
            }
            let delay = fault.spec.delay_ms.map(Duration::from_millis);
            match fault.spec.action {
                FaultAction::SlowSnapshot => effect.delay += delay.unwrap_or_default(),
                FaultAction::StaleSnapshot => effect.stale_updates = Some(fault.spec.updates.unwrap_or(100)),
                FaultAction::RestStatus if fault.spec.code.is_some() => effect.code = fault.spec.code,
                FaultAction::RestStatus => {
                    effect.status = Some((fault.spec.status.unwrap_or(500), fault.spec.retry_after_s));
                }
                action if is_corrupting(action) => effect.corrupt = Some(action),
                _ => effect.hang = Some(delay.unwrap_or(Duration::from_secs(60))),
            }
        }
        self.rearm(&list);
        effect
    }

    pub fn refuses(&self, exchange: &str) -> bool {
        if self.armed.load(Ordering::Acquire) == 0 {
            return false;
        }
        let now = Instant::now();
        let mut list = self.lock();
        let refused = list
            .iter_mut()
            .filter(|f| f.is_active(now) && f.spec.action == FaultAction::Refuse)
            .any(|f| equals(f.spec.exchange.as_ref(), exchange) && f.fires());
        self.rearm(&list);
        refused
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Active>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rearm(&self, list: &[Active]) {
        let now = Instant::now();
        self.armed.store(list.iter().filter(|f| f.is_active(now)).count(), Ordering::Release);
    }
}
