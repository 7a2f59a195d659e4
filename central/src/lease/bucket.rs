//! The KV bucket of the leases.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use async_nats::jetstream::kv::{CreateErrorKind, Operation, Store, UpdateErrorKind};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::broker::{Broker, OpenBucket, within};
use crate::config::LeaseTimes;
use crate::limits;

pub const BUCKET: &str = "MARKETPRISM_LEASES";
pub const BUCKET_DESCRIPTION: &str = "leases of tasks that one central does at a time";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Claim {
    pub(super) holder: String,
    /// Unique per acquisition, so that a holder recognizes its own write.
    pub(super) term: String,
    /// Acquired at, nanoseconds since 1970 by the holder's clock; informational.
    pub(super) since_ns: i64,
    /// `lease.time_ms` of the process that wrote it; 0 of a version that does not tell it.
    #[serde(default)]
    pub(super) time_ms: u64,
}

impl Claim {
    /// The longer of the own times and those of the process that wrote it, which goes by its own.
    pub(super) fn longer_times(&self, own: LeaseTimes) -> LeaseTimes {
        LeaseTimes { expiry: own.expiry.max(Duration::from_millis(self.time_ms)) }
    }
}

#[derive(Debug, Clone)]
pub(super) struct StoredClaim {
    pub(super) claim: Claim,
    pub(super) revision: u64,
    /// Stored by the broker at, nanoseconds since 1970; informational.
    pub(super) stored_ns: i64,
}

/// Why leases cannot be read or written now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaseProblem {
    /// The broker answers no reads: it is away, cut off or slow, and the leases are used again as soon as it answers.
    Unreadable(String),
    /// The broker answers reads and refuses writes, as with a full disk.
    Unwritable(String),
}

impl LeaseProblem {
    pub fn reason(&self) -> &str {
        match self {
            Self::Unreadable(reason) | Self::Unwritable(reason) => reason,
        }
    }
}

/// New revision of a successful compare-and-swap; `None` if another process wrote in between.
pub(super) type Swapped = Option<u64>;

/// The bucket, opened on first use because the broker may start later, and again after a failure: it may have been deleted.
#[derive(Debug)]
pub(super) struct Bucket {
    broker: Broker,
    replicas: usize,
    state: Mutex<BucketState>,
}

#[derive(Debug, Default)]
struct BucketState {
    store: Option<Store>,
    created_ns: Option<i128>,
    /// When this process found another bucket than before. The leases of the earlier one are lost, but their holders may still work.
    recreated: Option<Instant>,
    /// Failure of the last read, and of the last writes: a broker with a full disk answers reads.
    read_problem: Option<String>,
    write_failures: Option<WriteFailures>,
}

/// Failed writes without a successful one in between.
#[derive(Debug)]
struct WriteFailures {
    problem: String,
    first: Instant,
    last: Instant,
}

impl WriteFailures {
    fn after(earlier: Option<&Self>, problem: String, now: Instant) -> Self {
        let earlier = earlier.filter(|earlier| now - earlier.last < limits::LEASE_PROBLEM);
        Self { problem, first: earlier.map_or(now, |earlier| earlier.first), last: now }
    }

    /// Whoever could not write tries again within seconds, unless another process has the lease meanwhile.
    fn is_problem(&self, now: Instant) -> bool {
        now - self.last < limits::LEASE_PROBLEM && self.last - self.first >= limits::LEASE_PROBLEM_MIN
    }
}

impl Bucket {
    pub(super) fn new(broker: Broker, replicas: usize) -> Self {
        Self { broker, replicas, state: Mutex::default() }
    }

    pub(super) fn problem(&self) -> Option<LeaseProblem> {
        let state = self.lock();
        if let Some(problem) = &state.read_problem {
            return Some(LeaseProblem::Unreadable(problem.clone()));
        }
        let failures = state.write_failures.as_ref()?;
        let is_problem = failures.is_problem(Instant::now());
        is_problem.then(|| LeaseProblem::Unwritable(failures.problem.clone()))
    }

    /// Time since this process found the bucket recreated; `None` if it never was.
    pub(super) fn since_recreation(&self) -> Option<Duration> {
        self.lock().recreated.map(|since| since.elapsed())
    }

    /// The claim under a key; `None` if the lease is free.
    pub(super) async fn read(&self, key: &str) -> anyhow::Result<Option<StoredClaim>> {
        let read = async {
            let store = self.store().await?;
            bounded("read a lease", store.entry(key)).await
        };
        let entry = self.noted(read.await)?;
        let Some(entry) = entry.filter(|entry| entry.operation == Operation::Put) else { return Ok(None) };
        let claim = serde_json::from_slice(&entry.value)
            .with_context(|| format!("bucket {BUCKET}, key {key}: not a lease claim"))?;
        let stored_ns = i64::try_from(entry.created.unix_timestamp_nanos()).unwrap_or_default();
        Ok(Some(StoredClaim { claim, revision: entry.revision, stored_ns }))
    }

    /// Writes a claim where there is none.
    pub(super) async fn create(&self, key: &str, claim: &Claim) -> anyhow::Result<Swapped> {
        let created = async {
            let store = self.store().await?;
            match within("take a lease", store.create(key, json(claim)?)).await? {
                Ok(revision) => Ok(Some(revision)),
                Err(error) if error.kind() == CreateErrorKind::AlreadyExists => Ok(None),
                Err(error) => Err(error).context("cannot take a lease"),
            }
        };
        self.noted_write(created.await)
    }

    /// Writes a claim over the one with the revision.
    pub(super) async fn update(&self, key: &str, claim: &Claim, revision: u64) -> anyhow::Result<Swapped> {
        let updated = async {
            let store = self.store().await?;
            match within("renew a lease", store.update(key, json(claim)?, revision)).await? {
                Ok(revision) => Ok(Some(revision)),
                Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => Ok(None),
                Err(error) => Err(error).context("cannot renew a lease"),
            }
        };
        self.noted_write(updated.await)
    }

    pub(super) async fn put(&self, key: &str, claim: &Claim) -> anyhow::Result<()> {
        let put = async {
            let store = self.store().await?;
            bounded("request a lease", store.put(key, json(claim)?)).await
        };
        self.noted_write(put.await).map(drop)
    }

    /// Deletes a claim if it still has the revision.
    pub(super) async fn remove(&self, key: &str, revision: Option<u64>) -> anyhow::Result<()> {
        let store = self.store().await?;
        bounded("release a lease", store.delete_expect_revision(key, revision)).await
    }

    pub(super) async fn keys(&self) -> anyhow::Result<Vec<String>> {
        use futures_util::TryStreamExt as _;
        let listed = async {
            let store = self.store().await?;
            let listed =
                async { store.keys().await?.try_collect::<Vec<String>>().await.map_err(anyhow::Error::from) };
            within("list the leases", listed).await?
        };
        self.noted(listed.await)
    }

    async fn store(&self) -> anyhow::Result<Store> {
        if let Some(store) = self.lock().store.clone() {
            return Ok(store);
        }
        let OpenBucket { store, created_ns } =
            self.broker.bucket(BUCKET, BUCKET_DESCRIPTION, self.replicas).await?;
        let mut state = self.lock();
        if state.created_ns.replace(created_ns).is_some_and(|before| before != created_ns) {
            state.recreated = Some(Instant::now());
            tracing::error!(bucket = BUCKET, "the bucket was deleted at the broker; it is created again");
        }
        state.store = Some(store.clone());
        Ok(store)
    }

    /// Remembers the failure of a read, after which the bucket is opened again.
    fn noted<T>(&self, result: anyhow::Result<T>) -> anyhow::Result<T> {
        let mut state = self.lock();
        state.read_problem = result.as_ref().err().map(|error| format!("{error:#}"));
        if result.is_err() {
            state.store = None;
        }
        result
    }

    fn noted_write<T>(&self, result: anyhow::Result<T>) -> anyhow::Result<T> {
        let mut state = self.lock();
        let failed = result.as_ref().err().map(|error| format!("{error:#}"));
        let earlier = state.write_failures.take();
        state.write_failures =
            failed.map(|problem| WriteFailures::after(earlier.as_ref(), problem, Instant::now()));
        if result.is_err() {
            state.store = None;
        }
        result
    }

    // Every change is complete within one lock, so a panic of another holder does not matter.
    fn lock(&self) -> MutexGuard<'_, BucketState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn json(claim: &Claim) -> anyhow::Result<Bytes> {
    Ok(serde_json::to_vec(claim)?.into())
}

async fn bounded<T, E>(what: &str, answer: impl Future<Output = Result<T, E>>) -> anyhow::Result<T>
where
    E: std::error::Error + Send + Sync + 'static,
{
    within(what, answer).await?.with_context(|| format!("cannot {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_that_fail_all_at_once_are_no_problem_yet() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let after = |earlier: Option<&WriteFailures>, ms| {
            WriteFailures::after(earlier, "no answer".to_owned(), at(ms))
        };
        let first = after(None, 0);
        let burst = after(Some(&first), 900);
        assert!(!first.is_problem(at(5_000)) && !burst.is_problem(at(5_000)));
        let lasting = after(Some(&burst), 1_000);
        assert!(lasting.is_problem(at(1_000)) && lasting.is_problem(at(30_999)));
        assert!(!lasting.is_problem(at(31_000)), "another process has the lease");
        assert!(!after(Some(&burst), 30_900).is_problem(at(30_900)), "a burst much later is another one");
    }
}
