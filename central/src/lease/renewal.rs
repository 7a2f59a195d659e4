//! Renewal of a held lease.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::bucket::{Bucket, Claim};
use super::leases::{OwnLeases, RevisionAge, is_wanted};
use crate::config::LeaseTimes;

/// A held lease, renewed until it is released or dropped. After a drop the key expires.
#[derive(Debug)]
pub struct Lease {
    held: Arc<RenewedLease>,
    renewal: JoinHandle<()>,
}

#[derive(Debug)]
struct RenewedLease {
    bucket: Arc<Bucket>,
    here: Arc<OwnLeases>,
    key: String,
    claim: Claim,
    times: LeaseTimes,
    state: Mutex<Renewal>,
    is_wanted: AtomicBool,
    lost: CancellationToken,
}

#[derive(Debug, Clone, Copy)]
struct Renewal {
    revision: u64,
    renewed: Moment,
}

/// A time by two clocks: the monotonic one does not go on while the machine is suspended, and the wall clock may be set back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    monotonic: Instant,
    wall: SystemTime,
}

impl Moment {
    pub(super) fn now() -> Self {
        Self { monotonic: Instant::now(), wall: SystemTime::now() }
    }

    /// The longer of the two. A wall clock that is set forward ends a lease early; it is acquired again.
    fn elapsed(self) -> Duration {
        self.monotonic.elapsed().max(self.wall.elapsed().unwrap_or_default())
    }
}

impl Lease {
    pub(super) fn start(
        bucket: Arc<Bucket>,
        here: Arc<OwnLeases>,
        key: &str,
        claim: Claim,
        (revision, renewed): (u64, Moment),
        times: LeaseTimes,
    ) -> Self {
        here.add(key);
        let held = Arc::new(RenewedLease {
            bucket,
            here,
            key: key.to_owned(),
            claim,
            times,
            state: Mutex::new(Renewal { revision, renewed }),
            is_wanted: AtomicBool::new(false),
            lost: CancellationToken::new(),
        });
        let renewal = tokio::spawn(Arc::clone(&held).renew());
        Self { held, renewal }
    }

    /// Cancelled when the lease could not be renewed in time: all work under it must stop at once.
    pub fn lost(&self) -> &CancellationToken {
        &self.held.lost
    }

    /// Another process wants it: finish the current step, then release.
    pub fn is_wanted(&self) -> bool {
        self.held.is_wanted.load(Ordering::Relaxed)
    }

    /// Remaining validity without a further renewal. Check it right before a step that must not outlive the lease: a process
    /// that was suspended does not know yet that the lease is lost.
    pub fn valid_for(&self) -> Duration {
        if self.held.lost.is_cancelled() {
            return Duration::ZERO;
        }
        self.held.left()
    }

    pub fn times(&self) -> LeaseTimes {
        self.held.times
    }

    /// Releases it, so that the next holder need not wait for its expiry.
    pub async fn release(self) {
        self.renewal.abort();
        let held = &self.held;
        held.lost.cancel();
        let revision = held.state().revision;
        if let Err(error) = held.bucket.remove(&held.key, Some(revision)).await {
            tracing::debug!(
                lease = held.key,
                error = format!("{error:#}"),
                "cannot release the lease; it expires by itself"
            );
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.renewal.abort();
        self.held.lost.cancel();
        self.held.here.remove(&self.held.key);
    }
}

impl RenewedLease {
    async fn renew(self: Arc<Self>) {
        let mut watched = RevisionAge::default();
        loop {
            // Neither the pause nor a slow answer may delay the detection of a lost lease: others may take it soon after its validity.
            sleep(self.times.poll().min(self.left())).await;
            let left = self.left();
            if left.is_zero() {
                tracing::warn!(lease = self.key, "the lease could not be renewed in time; its work stops");
                return self.lost.cancel();
            }
            let tried = tokio::time::timeout(left, self.step(&mut watched)).await;
            match tried {
                Ok(Ok(true)) => {}
                Ok(Ok(false)) => {
                    tracing::warn!(lease = self.key, "another process has the lease; its work stops");
                    return self.lost.cancel();
                }
                Ok(Err(error)) => {
                    tracing::warn!(
                        lease = self.key,
                        error = format!("{error:#}"),
                        "cannot renew the lease; retrying"
                    );
                }
                Err(_) => {}
            }
        }
    }

    /// Renews the lease when due and checks for another demand. Returns false if the lease is lost.
    async fn step(&self, watched: &mut RevisionAge) -> anyhow::Result<bool> {
        let Renewal { revision, renewed } = self.state();
        if renewed.elapsed() >= self.times.renewal() {
            let began = Moment::now();
            match self.bucket.update(&self.key, &self.claim, revision).await? {
                Some(revision) => self.set(Renewal { revision, renewed: began }),
                // A renewal whose answer was lost conflicts with itself.
                None => match self.bucket.read(&self.key).await? {
                    Some(found) if found.claim == self.claim => {
                        self.set(Renewal { revision: found.revision, ..self.state() });
                    }
                    // The bucket was deleted and recreated; others wait for the expiry.
                    None if self.bucket.since_recreation().is_some_and(|since| since < self.times.expiry) => {
                        match self.bucket.create(&self.key, &self.claim).await? {
                            Some(revision) => self.set(Renewal { revision, renewed: began }),
                            None => return Ok(false),
                        }
                    }
                    _ => return Ok(false),
                },
            }
        }
        let wanted = is_wanted(&self.bucket, &self.key, watched, self.times).await?;
        self.is_wanted.store(wanted, Ordering::Relaxed);
        Ok(true)
    }

    /// Validity without a further renewal.
    fn left(&self) -> Duration {
        self.times.validity().saturating_sub(self.state().renewed.elapsed())
    }

    fn state(&self) -> Renewal {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, state: Renewal) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }
}

#[cfg(test)]
mod tests {
    use marketprism_config::Nats;

    use super::*;
    use crate::broker::Broker;

    fn broker_without_answers() -> Nats {
        Nats { urls: vec!["nats://127.0.0.1:9".into()], ..Nats::default() }
    }

    /// The monotonic clock stops with the machine, at other machines the lease expires meanwhile.
    #[tokio::test]
    async fn a_lease_that_expired_while_the_machine_was_suspended_is_not_valid_when_it_resumes() {
        let broker = Broker::start(&broker_without_answers()).await.unwrap();
        let bucket = Arc::new(Bucket::new(broker, 1));
        let claim = Claim { holder: "central".to_owned(), term: "1".to_owned(), since_ns: 0, time_ms: 0 };
        let times = LeaseTimes { expiry: Duration::from_secs(30) };
        let valid_for = |renewed| {
            let acquired = (1, renewed);
            let bucket = Arc::clone(&bucket);
            Lease::start(bucket, Arc::default(), "task", claim.clone(), acquired, times).valid_for()
        };
        let now = Moment::now();
        let hour = Duration::from_secs(3_600);
        assert_eq!(valid_for(Moment { wall: now.wall - hour, ..now }), Duration::ZERO);
        let set_back = valid_for(Moment { wall: now.wall + hour, ..now });
        assert!(set_back > Duration::ZERO && set_back <= times.validity(), "{set_back:?}");
    }

    /// Nothing listens there, so every request hangs. A stall may make one try late, not all of them.
    #[tokio::test]
    async fn the_loss_is_reported_before_another_process_may_take_the_lease() {
        let broker = Broker::start(&broker_without_answers()).await.unwrap();
        let bucket = Arc::new(Bucket::new(broker, 1));
        let claim = Claim { holder: "central".to_owned(), term: "1".to_owned(), since_ns: 0, time_ms: 0 };
        let times = LeaseTimes { expiry: Duration::from_secs(1) };
        let mut ages = Vec::new();
        for _ in 0..10 {
            let acquired = (1, Moment::now());
            let lease =
                Lease::start(Arc::clone(&bucket), Arc::default(), "task", claim.clone(), acquired, times);
            lease.lost().cancelled().await;
            ages.push(acquired.1.elapsed());
            if ages.last().is_some_and(|age| *age < times.expiry) {
                return;
            }
        }
        panic!("others may take it after {:?}, the loss was noticed after {ages:?}", times.expiry);
    }
}
