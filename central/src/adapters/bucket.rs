//! The Object Store bucket of the components.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use async_nats::jetstream::object_store::{
    InfoErrorKind, ObjectInfo, ObjectMetadata, ObjectStore, PutErrorKind,
};
use async_nats::jetstream::stream::DirectGetErrorKind;
use futures_util::TryStreamExt as _;
use marketprism_schema::{
    ADAPTER_OBJECTS_BUCKET, AdapterLabel, AdapterVersion, VerifyingKey, adapter_object_name,
    component_digest, verify_signature,
};
use serde::Serialize;
use tokio::time::timeout;

use super::usage::AdapterUsage;
use crate::broker::{Broker, ObjectBucket, StreamSubjects, within};
use crate::limits::{ADAPTER_LEFTOVER_AGE, ADAPTER_PUSH, ADAPTER_VERSIONS_MAX, ADAPTERS_LISTED};
use crate::time::{Time, nanos};

/// Stream of the bucket.
const STREAM: &str = "OBJ_adapters";
/// Begin of the subjects of the pieces; the identity of their object follows.
const PIECES: &str = "$O.adapters.C.";

/// First bytes of a component, as opposed to a core module.
const MAGIC: &[u8] = b"\0asm\x0d\0\x01\0";

const ADAPTER: &str = "adapter";
const VERSION: &str = "version";
const CONTRACT: &str = "contract";
const DIGEST: &str = "digest";
const SIGNER: &str = "signer";

/// A component in the bucket, as its metadata has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StoredAdapter {
    pub adapter: String,
    #[serde(flatten)]
    pub version: AdapterVersion,
    pub contract: String,
    pub bytes: usize,
    /// Public key of the signature.
    pub signer: String,
    pub pushed: Option<Time>,
}

#[derive(Clone)]
pub struct AdapterBucket {
    objects: ObjectStore,
    broker: Broker,
    /// At the broker.
    pub max_bytes: i64,
    /// It was not there before.
    pub is_new: bool,
}

impl AdapterBucket {
    /// Opens the bucket, creating it with this limit if needed. The limit of an existing one stays.
    pub async fn open(broker: &Broker, replicas: usize, max_bytes: i64) -> anyhow::Result<Self> {
        let description = "signed components of adapters, by name and digest";
        let ObjectBucket { store: objects, max_bytes, is_new } =
            broker.object_bucket(ADAPTER_OBJECTS_BUCKET, description, (replicas, max_bytes)).await?;
        Ok(Self { objects, broker: broker.clone(), max_bytes, is_new })
    }

    /// Stores a component that one of the keys signed. False: it was there.
    pub async fn push(
        &self,
        component: &[u8],
        keys: &[VerifyingKey],
        usage: &AdapterUsage,
    ) -> anyhow::Result<(StoredAdapter, bool)> {
        self.store(checked(component, keys)?, component, usage).await
    }

    pub(super) async fn store(
        &self,
        adapter: StoredAdapter,
        component: &[u8],
        usage: &AdapterUsage,
    ) -> anyhow::Result<(StoredAdapter, bool)> {
        let name = adapter_object_name(&adapter.adapter, &adapter.version.digest);
        self.clean_or_warn(ADAPTER_LEFTOVER_AGE).await;
        let found = within("look up the component", self.objects.info(&name)).await?;
        match found {
            Ok(info) if !info.deleted && info.size == component.len() && self.is_complete(&info).await? => {
                return Ok((stored(&info).unwrap_or(adapter), false));
            }
            Ok(_) => {}
            Err(error) if error.kind() == InfoErrorKind::NotFound => {}
            Err(error) => return Err(error).context("cannot look up the component"),
        }
        self.check_room(component.len(), usage).await?;
        let AdapterVersion { version, digest } = &adapter.version;
        let metadata = [
            (ADAPTER, &adapter.adapter),
            (VERSION, version),
            (CONTRACT, &adapter.contract),
            (DIGEST, digest),
            (SIGNER, &adapter.signer),
        ];
        let metadata = metadata.map(|(key, value)| (key.to_owned(), value.clone()));
        let meta = ObjectMetadata {
            name,
            description: Some(format!("{} {version}", adapter.adapter)),
            metadata: HashMap::from(metadata),
            ..ObjectMetadata::default()
        };
        let put = timeout(ADAPTER_PUSH, self.objects.put(meta, &mut &*component)).await;
        let put = put.with_context(|| format!("component not stored within {ADAPTER_PUSH:?}"))?;
        match put {
            // Its pieces are cleaned up if this process stood still for longer than a push may take.
            Ok(info) if !self.is_complete(&info).await? => {
                bail!("component not whole: pieces were cleaned up during the push; push it again")
            }
            Ok(info) => Ok((stored(&info).unwrap_or(adapter), true)),
            // It is stored; the next cleaning takes the pieces of the earlier object.
            Err(error) if error.kind() == PutErrorKind::PurgeOldChunks => Ok((adapter, true)),
            Err(error) => Err(error).context("cannot store the component"),
        }
    }

    async fn is_complete(&self, info: &ObjectInfo) -> anyhow::Result<bool> {
        let pieces = self.pieces(&info.nuid).await?;
        Ok(pieces.subjects.values().sum::<u64>() == u64::try_from(info.chunks).unwrap_or(u64::MAX))
    }

    /// Subjects of the pieces of one object, or of all (`>`).
    async fn pieces(&self, object: &str) -> anyhow::Result<StreamSubjects> {
        let listed = self.broker.subjects(STREAM, &format!("{PIECES}{object}")).await?;
        listed.with_context(|| format!("bucket {ADAPTER_OBJECTS_BUCKET} does not exist"))
    }

    async fn check_room(&self, bytes: usize, usage: &AdapterUsage) -> anyhow::Result<()> {
        let all = self.list().await?;
        let unused = || unused_text(&all, usage);
        ensure!(
            all.len() < ADAPTER_VERSIONS_MAX,
            "bucket {ADAPTER_OBJECTS_BUCKET} has {} versions (allowed: {ADAPTER_VERSIONS_MAX}); {}",
            all.len(),
            unused()
        );
        let used = self.pieces(">").await?.bytes;
        let needed = used.saturating_add(stored_bytes(bytes));
        let limit = u64::try_from(self.max_bytes).unwrap_or_default();
        ensure!(
            needed <= limit || limit == 0,
            "bucket {ADAPTER_OBJECTS_BUCKET} has {used} bytes, with this component of {bytes} bytes {needed} \
             (allowed: {limit}, its limit at the broker); {}, or raise adapters.bucket_max_bytes and run `init --apply`",
            unused()
        );
        Ok(())
    }

    /// Removes what no edge needs any more; the caller has checked that.
    pub async fn delete(&self, adapter: &StoredAdapter) -> anyhow::Result<()> {
        let name = adapter_object_name(&adapter.adapter, &adapter.version.digest);
        let deleted = within("delete the component", self.objects.delete(name)).await?;
        deleted.with_context(|| format!("cannot delete {}", shown(adapter)))
    }

    /// Removes pieces without an entry, which a broken-off push leaves: those whose newest piece has this age by the broker's clock. A push
    /// that runs goes on. Returns their number.
    pub async fn clean(&self, age: Duration) -> anyhow::Result<u64> {
        // Before the entries: a component that is complete meanwhile has one.
        let pieces = self.pieces(">").await?;
        let known: BTreeSet<String> = self.entries().await?.into_iter().map(|info| info.nuid).collect();
        let stream = within("open the bucket", self.broker.jetstream.get_stream(STREAM)).await??;
        let mut removed = 0;
        for (subject, count) in &pieces.subjects {
            if subject.strip_prefix(PIECES).is_none_or(|object| known.contains(object)) {
                continue;
            }
            let newest = within("read a piece", stream.direct_get_last_for_subject(subject.as_str())).await?;
            let newest = match newest {
                Ok(newest) => newest,
                // Its push ended meanwhile.
                Err(error) if error.kind() == DirectGetErrorKind::NotFound => continue,
                Err(error) => return Err(error).with_context(|| format!("cannot read piece {subject}")),
            };
            let newest_ns = newest.time.unix_timestamp_nanos();
            if i128::from(pieces.now_ns) - newest_ns < i128::from(nanos(age)) {
                continue;
            }
            within("remove pieces", stream.purge().filter(subject).into_future())
                .await?
                .context("cannot remove pieces")?;
            removed += count;
        }
        Ok(removed)
    }

    /// Pieces that stay take room only.
    pub async fn clean_or_warn(&self, age: Duration) {
        match self.clean(age).await {
            Ok(0) => {}
            Ok(pieces) => tracing::info!(pieces, "removed what broken-off pushes of adapters left"),
            Err(error) => {
                let error = format!("{error:#}");
                tracing::warn!(error, "pieces of broken-off pushes of adapters not removed");
            }
        }
    }

    async fn entries(&self) -> anyhow::Result<Vec<ObjectInfo>> {
        let listed = async {
            let objects = self.objects.list().await.context("cannot list the bucket")?;
            objects.try_collect::<Vec<ObjectInfo>>().await.context("cannot list the bucket")
        };
        within("list the bucket", listed).await?
    }

    /// All components, by adapter and age.
    pub async fn list(&self) -> anyhow::Result<Vec<StoredAdapter>> {
        let listed = self.entries().await?;
        // Objects that others put there have no such metadata.
        let mut all: Vec<StoredAdapter> = listed.iter().filter_map(stored).collect();
        all.sort_by(|one, other| (&one.adapter, one.pushed).cmp(&(&other.adapter, other.pushed)));
        Ok(all)
    }

    /// The one component that a name, `@` and a version or the beginning of a digest mean, or a digest alone.
    pub async fn find(&self, wanted: &str) -> anyhow::Result<StoredAdapter> {
        find(self.list().await?, wanted)
    }
}

fn find(all: Vec<StoredAdapter>, wanted: &str) -> anyhow::Result<StoredAdapter> {
    let (name, version) =
        wanted.split_once('@').map_or((None, wanted), |(name, version)| (Some(name), version));
    let digest = version.strip_prefix("sha256:").unwrap_or(version);
    let is_digest = digest.len() >= 8 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
    ensure!(
        name.is_some() || is_digest,
        "version {wanted:?} is not allowed (allowed: NAME@VERSION, NAME@DIGEST or DIGEST, of which 8 digits do)"
    );
    let is_it = |one: &&StoredAdapter| {
        let is_version =
            one.version.version == version || is_digest && one.version.digest.starts_with(digest);
        name.is_none_or(|name| one.adapter == name) && is_version
    };
    let found: Vec<&StoredAdapter> = all.iter().filter(is_it).collect();
    match found.as_slice() {
        [one] => Ok((*one).clone()),
        [] => {
            let known: Vec<String> = all.iter().map(shown).collect();
            let known = if known.is_empty() { "nothing".to_owned() } else { known.join(", ") };
            bail!("bucket {ADAPTER_OBJECTS_BUCKET} has no {wanted:?} (it has: {known}); push it first")
        }
        several => {
            let several: Vec<String> = several.iter().map(|one| shown(one)).collect();
            bail!("{wanted:?} is several components: {}; give the digest", several.join(", "))
        }
    }
}

/// Name, version and the beginning of the digest.
pub fn shown(adapter: &StoredAdapter) -> String {
    let AdapterVersion { version, digest } = &adapter.version;
    format!("{}@{version}+{}", adapter.adapter, digest.get(..12).unwrap_or(digest))
}

/// Bytes with the frames of the messages: pieces of 128 KiB, and the entry.
fn stored_bytes(component: usize) -> u64 {
    u64::try_from(component.saturating_add(component / 512).saturating_add(4_096)).unwrap_or(u64::MAX)
}

fn unused_text(all: &[StoredAdapter], usage: &AdapterUsage) -> String {
    let mut unused: Vec<&StoredAdapter> = all.iter().filter(|one| usage.of(one).is_empty()).collect();
    unused.sort_by_key(|one| one.pushed);
    if unused.is_empty() {
        return "every version is in use: promote others, then `adapters delete` these".to_owned();
    }
    let (count, listed) = (unused.len(), unused.into_iter().take(ADAPTERS_LISTED).map(shown));
    let listed = listed.collect::<Vec<_>>().join(", ");
    format!("delete versions that no edge uses ({count}, the oldest: {listed}) with `adapters delete`")
}

fn checked(component: &[u8], keys: &[VerifyingKey]) -> anyhow::Result<StoredAdapter> {
    ensure!(
        component.starts_with(MAGIC),
        "file is no WebAssembly component: it begins with {:02x?}, expected {MAGIC:02x?}",
        component.get(..MAGIC.len()).unwrap_or(component)
    );
    ensure!(
        !keys.is_empty(),
        "adapters.trusted_keys is empty, expected the public keys of those who sign adapters"
    );
    let signer = verify_signature(component, keys)?.to_string();
    let AdapterLabel { name, version, contract } = AdapterLabel::of(component)?;
    let version = AdapterVersion { version, digest: component_digest(component) };
    Ok(StoredAdapter { adapter: name, version, contract, bytes: component.len(), signer, pushed: None })
}

fn stored(info: &ObjectInfo) -> Option<StoredAdapter> {
    let text = |key: &str| info.metadata.get(key).cloned();
    let pushed = info.modified.and_then(|at| i64::try_from(at.unix_timestamp_nanos() / 1_000_000).ok());
    Some(StoredAdapter {
        adapter: text(ADAPTER)?,
        version: AdapterVersion { version: text(VERSION)?, digest: text(DIGEST)? },
        contract: text(CONTRACT)?,
        bytes: info.size,
        signer: text(SIGNER)?,
        pushed: pushed.map(Time),
    })
}

#[cfg(test)]
impl StoredAdapter {
    pub(super) fn fixture(name: &str, version: &str, digest: &str) -> Self {
        Self {
            adapter: name.into(),
            version: AdapterVersion { version: version.into(), digest: digest.into() },
            contract: "1.0.0".into(),
            bytes: 1,
            signer: "k".into(),
            pushed: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_found_by_name_and_number_or_by_its_digest() {
        let all = || {
            vec![
                StoredAdapter::fixture("one", "1.0.0", "aaaaaaaa00"),
                StoredAdapter::fixture("one", "1.1.0", "bbbbbbbb00"),
                StoredAdapter::fixture("one", "1.1.0", "cccccccc00"),
                StoredAdapter::fixture("two", "1.0.0", "dddddddd00"),
            ]
        };
        let digest = |wanted: &str| find(all(), wanted).map(|one| one.version.digest);
        assert_eq!(digest("one@1.0.0").unwrap(), "aaaaaaaa00");
        assert_eq!(digest("two@1.0.0").unwrap(), "dddddddd00");
        assert_eq!(digest("one@cccccccc").unwrap(), "cccccccc00");
        assert_eq!(digest("sha256:bbbbbbbb00").unwrap(), "bbbbbbbb00");
        let refused = |wanted: &str| digest(wanted).unwrap_err().to_string();
        assert!(refused("one@1.1.0").contains("one@1.1.0+bbbbbbbb00, one@1.1.0+cccccccc00; give the digest"));
        assert!(refused("two@cccccccc").contains("has no \"two@cccccccc\" (it has: one@1.0.0+aaaaaaaa00, "));
        assert!(refused("one").contains("allowed: NAME@VERSION"));
    }

    #[test]
    fn what_is_no_signed_component_is_refused_with_its_cause() {
        let key = VerifyingKey::from([1; 32]);
        let refused =
            |component: &[u8], keys: &[VerifyingKey]| checked(component, keys).unwrap_err().to_string();
        assert!(
            refused(b"\0asm\x01\0\0\0", &[key])
                .contains("is no WebAssembly component: it begins with [00, 61")
        );
        assert!(refused(b"", &[key]).contains("is no WebAssembly component"));
        assert!(refused(MAGIC, &[]).contains("adapters.trusted_keys is empty"));
        assert!(refused(MAGIC, &[key]).contains("has no signature"));
    }
}
