//! Acquisition of leases.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::bail;
use serde::Serialize;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::bucket::{Bucket, Claim, LeaseProblem, StoredClaim};
use super::renewal::{Lease, Moment};
use crate::broker::Broker;
use crate::clock;
use crate::config::{Config, LeaseTimes};

/// Suffix of the key under which a process demands the lease.
const WANTED: &str = ".wanted";

#[derive(Debug, Clone)]
pub struct Leases {
    bucket: Arc<Bucket>,
    name: Arc<str>,
    times: LeaseTimes,
    /// Leases held here: another task must not mistake the own name for that of a dead process.
    held: Arc<OwnLeases>,
    /// Of another central's lease time.
    warned: Arc<AtomicBool>,
}

#[derive(Debug, Default)]
pub(super) struct OwnLeases(Mutex<BTreeSet<String>>);

impl OwnLeases {
    fn contains(&self, lease: &str) -> bool {
        self.lock().contains(lease)
    }

    pub(super) fn add(&self, lease: &str) {
        self.lock().insert(lease.to_owned());
    }

    pub(super) fn remove(&self, lease: &str) {
        self.lock().remove(lease);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Holder {
    pub lease: String,
    /// The central that holds it, or held it without a release.
    pub holder: String,
    pub since_ns: i64,
    pub renewed_ns: i64,
}

/// Last revision seen of a claim, and since when it is unchanged.
#[derive(Debug, Default)]
pub(super) struct RevisionAge(Option<(u64, Instant)>);

impl RevisionAge {
    /// Time for which this revision has been the newest seen.
    pub(super) fn age(&mut self, revision: u64) -> Duration {
        match self.0 {
            Some((seen, since)) if seen == revision => since.elapsed(),
            _ => {
                self.0 = Some((revision, Instant::now()));
                Duration::ZERO
            }
        }
    }
}

impl Leases {
    /// `name` must be unique among living processes.
    pub fn new(broker: &Broker, config: &Config, name: &str) -> Self {
        Self {
            bucket: Arc::new(Bucket::new(broker.clone(), config.replicas())),
            name: name.into(),
            times: config.lease,
            held: Arc::default(),
            warned: Arc::default(),
        }
    }

    pub fn problem(&self) -> Option<LeaseProblem> {
        self.bucket.problem()
    }

    pub fn own_name(&self) -> &str {
        &self.name
    }

    /// Waits for the lease. `None` if `stop` comes first. Also waits while the broker is unreachable.
    pub async fn acquire(&self, lease: &str, stop: &CancellationToken) -> Option<Lease> {
        let (mut claimed, mut wanted) = (RevisionAge::default(), RevisionAge::default());
        loop {
            let tried = tokio::select! {
                () = stop.cancelled() => return None,
                tried = self.try_acquire(lease, &mut claimed, Some(&mut wanted)) => tried,
            };
            let pause = match tried {
                Ok(Some(lease)) => return Some(lease),
                Ok(None) => self.times.poll(),
                Err(error) => {
                    tracing::debug!(lease, error = format!("{error:#}"), "cannot acquire the lease yet");
                    self.times.renewal()
                }
            };
            tokio::select! {
                () = stop.cancelled() => return None,
                () = sleep(pause) => {}
            }
        }
    }

    /// Takes the lease before others, asking its holder to hand it over. Fails if that does not happen within `patience`.
    pub async fn demand(&self, lease: &str, patience: Duration) -> anyhow::Result<Lease> {
        let key = format!("{lease}{WANTED}");
        let deadline = Instant::now() + patience;
        let mut claimed = RevisionAge::default();
        let demanded = loop {
            self.bucket.put(&key, &self.claim()).await?;
            if let Some(lease) = self.try_acquire(lease, &mut claimed, None).await? {
                break Ok(lease);
            }
            if Instant::now() >= deadline {
                let holder = self.bucket.read(lease).await?.map(|found| found.claim.holder);
                break Err(holder.unwrap_or_else(|| "nobody".to_owned()));
            }
            sleep(self.times.poll()).await;
        };
        self.bucket.remove(&key, None).await?;
        match demanded {
            Ok(lease) => Ok(lease),
            Err(holder) => bail!("{holder} did not hand over {lease} within {} s", patience.as_secs()),
        }
    }

    pub async fn holders(&self) -> anyhow::Result<Vec<Holder>> {
        let mut holders = Vec::new();
        for key in self.bucket.keys().await? {
            if key.ends_with(WANTED) {
                continue;
            }
            if let Some(StoredClaim { claim, stored_ns, .. }) = self.bucket.read(&key).await? {
                holders.push(Holder {
                    lease: key,
                    holder: claim.holder,
                    since_ns: claim.since_ns,
                    renewed_ns: stored_ns,
                });
            }
        }
        holders.sort_by(|a, b| a.lease.cmp(&b.lease));
        Ok(holders)
    }

    /// One try. `wanted` makes it yield to processes that demand the lease.
    async fn try_acquire(
        &self,
        lease: &str,
        claimed: &mut RevisionAge,
        wanted: Option<&mut RevisionAge>,
    ) -> anyhow::Result<Option<Lease>> {
        if let Some(wanted) = wanted
            && is_wanted(&self.bucket, lease, wanted, self.times).await?
        {
            return Ok(None);
        }
        let found = self.bucket.read(lease).await?;
        let began = Moment::now();
        let claim = self.claim();
        // The holder under an earlier bucket renews its claim in the new one, or stops within its expiry.
        let may_be_held = self.bucket.since_recreation().is_some_and(|since| since < self.times.expiry);
        let swapped = match &found {
            None if may_be_held => return Ok(None),
            None => self.bucket.create(lease, &claim).await?,
            Some(found) => {
                let is_own = found.claim.holder == *self.name && !self.held.contains(lease);
                self.warn_of_other_times(&found.claim);
                if !is_own && claimed.age(found.revision) < found.claim.longer_times(self.times).expiry {
                    return Ok(None);
                }
                self.bucket.update(lease, &claim, found.revision).await?
            }
        };
        let Some(revision) = swapped else { return Ok(None) };
        let before = found.map(|found| found.claim.holder);
        tracing::info!(lease, before, "lease acquired");
        Ok(Some(Lease::start(
            Arc::clone(&self.bucket),
            Arc::clone(&self.held),
            lease,
            claim,
            (revision, began),
            self.times,
        )))
    }

    fn claim(&self) -> Claim {
        let term = format!("{:016x}", rand::random::<u64>());
        let time_ms = u64::try_from(self.times.expiry.as_millis()).unwrap_or(u64::MAX);
        Claim { holder: self.name.to_string(), term, since_ns: clock::now_ns(), time_ms }
    }

    /// Once: other centrals may keep theirs for long.
    fn warn_of_other_times(&self, claim: &Claim) {
        let own_ms = self.times.expiry.as_millis();
        let is_known = claim.holder != *self.name && claim.time_ms != 0;
        let is_other = is_known && u128::from(claim.time_ms) != own_ms;
        if is_other && !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                holder = claim.holder,
                "lease.time_ms is {own_ms} here and {} there: give every central the same; leases are taken over after the longer time",
                claim.time_ms
            );
        }
    }
}

/// Another process demands the lease now. It rewrites its demand periodically; an unchanged one is a leftover.
pub(super) async fn is_wanted(
    bucket: &Bucket,
    lease: &str,
    watched: &mut RevisionAge,
    times: LeaseTimes,
) -> anyhow::Result<bool> {
    let Some(found) = bucket.read(&format!("{lease}{WANTED}")).await? else { return Ok(false) };
    Ok(watched.age(found.revision) < found.claim.longer_times(times).renewal() * 2)
}
