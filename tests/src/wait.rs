//! Waiting for a condition, never for a time.

use std::fmt::Debug;
use std::future::Future;
use std::time::{Duration, Instant};

/// Limit of a wait for what must come: reached only by a fault, also on a machine that is busy with other things.
pub const PATIENCE: Duration = Duration::from_secs(180);
/// Pauses between checks grow with the time waited, up to 400 ms: what takes seconds need not be asked fifty times in each.
const POLL: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(400));

/// Longest pause after a check that took long.
const POLL_MAX: Duration = Duration::from_secs(1);

/// A check is load for what is checked: at most a seventh of the time is spent on one of less than a sixth of a second.
fn pause(started: Instant, checked: Instant) -> Duration {
    let after_long = (checked.elapsed() * 6).min(POLL_MAX);
    after_long.max((started.elapsed() / 12).clamp(POLL.0, POLL.1))
}

/// Result of one check of a condition.
pub trait Check<T> {
    /// The value, or the state seen instead.
    fn outcome(self) -> Result<T, String>;
}

impl<T> Check<T> for Result<T, String> {
    fn outcome(self) -> Result<T, String> {
        self
    }
}

impl<T> Check<T> for Option<T> {
    fn outcome(self) -> Result<T, String> {
        self.ok_or_else(|| "nothing".to_owned())
    }
}

impl Check<()> for bool {
    fn outcome(self) -> Result<(), String> {
        self.then_some(()).outcome()
    }
}

/// Checks until `condition` gives a value; fails with `what` and the last state seen after [`PATIENCE`].
pub async fn eventually<T, C: Check<T>, F: Future<Output = C>>(
    what: &str,
    condition: impl FnMut() -> F,
) -> T {
    until(what, PATIENCE, condition).await
}

/// Waits until a value meets a condition; fails with the last one seen after [`PATIENCE`].
pub async fn becomes<V: Debug, F: Future<Output = V>>(
    what: &str,
    mut value: impl FnMut() -> F,
    holds: impl Fn(&V) -> bool,
) {
    let holds = &holds;
    eventually(what, || {
        let next = value();
        async move {
            let seen = next.await;
            if holds(&seen) { Ok(()) } else { Err(format!("{seen:?}")) }
        }
    })
    .await;
}

/// As [`eventually`], for what must come within `limit` or takes longer than [`PATIENCE`].
pub async fn until<T, C: Check<T>, F: Future<Output = C>>(
    what: &str,
    limit: Duration,
    mut condition: impl FnMut() -> F,
) -> T {
    let started = Instant::now();
    loop {
        let began = Instant::now();
        match condition().await.outcome() {
            Ok(value) => return value,
            Err(last) if began > started + limit => panic!("not within {limit:?}: {what}; last seen: {last}"),
            Err(_) => tokio::time::sleep(pause(started, began)).await,
        }
    }
}

/// As `until`, for tests without a runtime.
pub fn until_blocking<T, C: Check<T>>(what: &str, limit: Duration, mut condition: impl FnMut() -> C) -> T {
    let started = Instant::now();
    loop {
        let began = Instant::now();
        match condition().outcome() {
            Ok(value) => return value,
            Err(last) if began > started + limit => panic!("not within {limit:?}: {what}; last seen: {last}"),
            Err(_) => std::thread::sleep(pause(started, began)),
        }
    }
}
