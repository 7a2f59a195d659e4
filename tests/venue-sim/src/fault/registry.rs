//! The faults that are set, asked once per frame and once per request.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::spec::{FaultAction, FaultError, FaultId, FaultSpec, FaultStatus};

/// Faults remembered after they ended. The oldest ended one is forgotten first.
const REMEMBERED_MAX: usize = 1000;

/// A frame about to be sent, as filters see it.
#[derive(Debug, Clone, Copy)]
pub struct FrameFacts<'a> {
    /// Exchange id.
    pub exchange: &'a str,
    /// The venue's symbol, empty when the frame speaks of none.
    pub symbol: &'a str,
    /// Stream name.
    pub stream: &'a str,
    /// Whether it is a book update.
    pub book: bool,
}

/// A request about to be answered, as filters see it.
#[derive(Debug, Clone, Copy)]
pub struct RestFacts<'a> {
    /// Exchange id.
    pub exchange: &'a str,
    /// The venue's symbol, empty when there is none.
    pub symbol: &'a str,
    /// Path behind the exchange's prefix.
    pub path: &'a str,
    /// Whether the answer is a book snapshot.
    pub snapshot: bool,
}

/// What is to be done with a frame, for one connection or for all that get it.
#[derive(Debug, Clone)]
pub struct Effect {
    /// The fault, for its parameters.
    pub spec: FaultSpec,
}

/// What is to be done with a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RestEffect {
    /// Wait this long before the answer.
    pub delay: Duration,
    /// Show the book of this many changes ago.
    pub stale_updates: Option<u64>,
    /// Answer with this status and `Retry-After`.
    pub status: Option<(u16, Option<u64>)>,
    /// Spoil the answer's body in this way.
    pub spoil: Option<FaultAction>,
    /// Never answer; end the connection after this long.
    pub hang: Option<Duration>,
}

/// What must be done right now, when a fault is set.
#[derive(Debug, Clone)]
pub enum Immediate {
    /// Nothing: it waits for frames or requests.
    None,
    /// End every matching connection, at most this many.
    EndConnections(Box<FaultSpec>, u64),
    /// Announce the end of matching connections, at most this many.
    Retire(Box<FaultSpec>, u64),
    /// Let update numbers start anew.
    RestartSequence(Box<FaultSpec>),
    /// Take the listener down.
    ListenerDown(Duration),
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

    /// Counts a match; true when the fault happens to it.
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

/// All faults of a simulator.
#[derive(Debug, Default)]
pub struct Faults {
    list: Mutex<Vec<Active>>,
    /// Faults that may still happen; keeps the hot path free of the lock.
    armed: AtomicUsize,
    next_id: AtomicUsize,
}

fn is_frame_action(action: FaultAction) -> bool {
    matches!(
        action,
        FaultAction::Drop
            | FaultAction::Duplicate
            | FaultAction::Reorder
            | FaultAction::Gap
            | FaultAction::Freeze
            | FaultAction::Garbage
            | FaultAction::Half
            | FaultAction::WrongTypes
            | FaultAction::Close
            | FaultAction::Cut
            | FaultAction::HalfCut
    )
}

fn is_spoiling(action: FaultAction) -> bool {
    matches!(action, FaultAction::Garbage | FaultAction::Half | FaultAction::WrongTypes)
}

fn absent_or(filter: Option<&String>, value: &str) -> bool {
    filter.is_none_or(|wanted| wanted == value)
}

fn absent_or_in(filter: Option<&String>, value: &str) -> bool {
    filter.is_none_or(|wanted| value.contains(wanted.as_str()))
}

impl Faults {
    /// Sets a fault.
    ///
    /// # Errors
    /// A field the action cannot be done with.
    pub fn set(&self, spec: FaultSpec) -> Result<(FaultId, Immediate), FaultError> {
        spec.validate()?;
        let id = self.next_id.fetch_add(1, Ordering::Relaxed) as u64 + 1;
        let duration = spec.duration_ms.map(Duration::from_millis);
        let immediate = match spec.action {
            FaultAction::ListenerDown => Immediate::ListenerDown(duration.unwrap_or_default()),
            FaultAction::Notice => Immediate::Retire(Box::new(spec.clone()), spec.times()),
            FaultAction::RestartSequence => Immediate::RestartSequence(Box::new(spec.clone())),
            _ if spec.is_immediate() => Immediate::EndConnections(Box::new(spec.clone()), spec.times()),
            _ => Immediate::None,
        };
        let left = if matches!(immediate, Immediate::None) { spec.times() } else { 0 };
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
        Ok((id, immediate))
    }

    /// Takes a fault away; true when it was there.
    pub fn remove(&self, id: FaultId) -> bool {
        let mut list = self.lock();
        let found = list.iter_mut().find(|f| f.id == id).map(|f| f.removed = true).is_some();
        self.rearm(&list);
        found
    }

    /// Adds to the count of a fault that was done when it was set.
    pub fn add_fired(&self, id: FaultId, times: u64) {
        if let Some(fault) = self.lock().iter_mut().find(|f| f.id == id) {
            fault.fired += times;
        }
    }

    /// Every remembered fault.
    #[must_use]
    pub fn list(&self) -> Vec<FaultStatus> {
        let now = Instant::now();
        self.lock()
            .iter()
            .map(|f| FaultStatus { id: f.id, fired: f.fired, active: f.is_active(now), spec: f.spec.clone() })
            .collect()
    }

    /// What happens to a frame that has receivers. Each fault counts a frame once, however many receive it;
    /// one with a connection filter counts only frames that this connection receives.
    #[must_use]
    pub fn on_frame(&self, facts: FrameFacts<'_>, receives: impl Fn(u64) -> bool) -> Vec<Effect> {
        if self.armed.load(Ordering::Acquire) == 0 {
            return Vec::new();
        }
        let now = Instant::now();
        let mut list = self.lock();
        let mut effects = Vec::new();
        for fault in list.iter_mut().filter(|f| f.is_active(now) && is_frame_action(f.spec.action)) {
            let matches = absent_or(fault.spec.exchange.as_ref(), facts.exchange)
                && absent_or(fault.spec.symbol.as_ref(), facts.symbol)
                && fault.spec.path.is_none()
                && absent_or_in(fault.spec.stream.as_ref(), facts.stream)
                && (facts.book || fault.spec.action != FaultAction::Gap)
                && fault.spec.connection.is_none_or(&receives);
            if matches && fault.fires() {
                effects.push(Effect { spec: fault.spec.clone() });
            }
        }
        self.rearm(&list);
        effects
    }

    /// What happens to a REST request.
    #[must_use]
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
                action => is_spoiling(action) && fault.spec.path.is_some(),
            };
            let matches = wanted
                && absent_or(fault.spec.exchange.as_ref(), facts.exchange)
                && absent_or(fault.spec.symbol.as_ref(), facts.symbol)
                && absent_or_in(fault.spec.path.as_ref(), facts.path);
            if !matches || !fault.fires() {
                continue;
            }
            let delay = fault.spec.delay_ms.map(Duration::from_millis);
            match fault.spec.action {
                FaultAction::SlowSnapshot => effect.delay += delay.unwrap_or_default(),
                FaultAction::StaleSnapshot => effect.stale_updates = Some(fault.spec.updates.unwrap_or(100)),
                FaultAction::RestStatus => {
                    effect.status = Some((fault.spec.status.unwrap_or(500), fault.spec.retry_after_s));
                }
                action if is_spoiling(action) => effect.spoil = Some(action),
                _ => effect.hang = Some(delay.unwrap_or(Duration::from_secs(60))),
            }
        }
        self.rearm(&list);
        effect
    }

    /// Whether a new connection or request of an exchange is refused.
    #[must_use]
    pub fn refuses(&self, exchange: &str) -> bool {
        if self.armed.load(Ordering::Acquire) == 0 {
            return false;
        }
        let now = Instant::now();
        let mut list = self.lock();
        let refused = list
            .iter_mut()
            .filter(|f| f.is_active(now) && f.spec.action == FaultAction::Refuse)
            .any(|f| absent_or(f.spec.exchange.as_ref(), exchange) && f.fires());
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
