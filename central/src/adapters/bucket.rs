//! The Object Store bucket of the components.

use std::collections::HashMap;

use anyhow::{Context as _, bail, ensure};
use async_nats::jetstream::object_store::{
    InfoErrorKind, ObjectInfo, ObjectMetadata, ObjectStore, PutErrorKind,
};
use futures_util::TryStreamExt as _;
use marketprism_schema::{
    ADAPTER_OBJECTS_BUCKET, AdapterLabel, AdapterVersion, VerifyingKey, adapter_object_name,
    component_digest, verify_signature,
};
use serde::Serialize;
use tokio::time::timeout;

use crate::broker::{Broker, within};
use crate::limits::{ADAPTER_BUCKET_BYTES, ADAPTER_PUSH, ADAPTER_VERSIONS_MAX};
use crate::time::Time;

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
pub struct AdapterBucket(ObjectStore);

impl AdapterBucket {
    /// Opens the bucket, creating it if needed.
    pub async fn open(broker: &Broker, replicas: usize) -> anyhow::Result<Self> {
        let description = "signed components of adapters, by name and digest";
        broker.object_bucket(ADAPTER_OBJECTS_BUCKET, description, replicas).await.map(Self)
    }

    /// Stores a component that one of the keys signed. False: it was there.
    pub async fn push(
        &self,
        component: &[u8],
        keys: &[VerifyingKey],
    ) -> anyhow::Result<(StoredAdapter, bool)> {
        let adapter = checked(component, keys)?;
        let name = adapter_object_name(&adapter.adapter, &adapter.version.digest);
        let found = within("look up the component", self.0.info(&name)).await?;
        match found {
            Ok(info) if !info.deleted && info.size == component.len() => {
                return Ok((stored(&info).unwrap_or(adapter), false));
            }
            Ok(_) => {}
            Err(error) if error.kind() == InfoErrorKind::NotFound => {}
            Err(error) => return Err(error).context("cannot look up the component"),
        }
        self.check_room(component.len()).await?;
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
        let put = timeout(ADAPTER_PUSH, self.0.put(meta, &mut &*component)).await;
        let put = put.with_context(|| format!("component not stored within {ADAPTER_PUSH:?}"))?;
        match put {
            Ok(info) => Ok((stored(&info).unwrap_or(adapter), true)),
            // It is stored. Central may purge nothing, and who removed the earlier object removed its pieces.
            Err(error) if error.kind() == PutErrorKind::PurgeOldChunks => Ok((adapter, true)),
            Err(error) => Err(error).context("cannot store the component"),
        }
    }

    async fn check_room(&self, bytes: usize) -> anyhow::Result<()> {
        let all = self.list().await?;
        let used: usize = all.iter().map(|one| one.bytes).sum();
        let remedy = "remove versions that no edge needs: `nats object rm adapters NAME/DIGEST`";
        ensure!(
            all.len() < ADAPTER_VERSIONS_MAX,
            "bucket {ADAPTER_OBJECTS_BUCKET} has {} versions (allowed: {ADAPTER_VERSIONS_MAX}); {remedy}",
            all.len()
        );
        ensure!(
            used.saturating_add(bytes) <= ADAPTER_BUCKET_BYTES,
            "bucket {ADAPTER_OBJECTS_BUCKET} has {used} bytes, with this component {} (allowed: {ADAPTER_BUCKET_BYTES}); {remedy}",
            used.saturating_add(bytes)
        );
        Ok(())
    }

    /// All components, by adapter and age.
    pub async fn list(&self) -> anyhow::Result<Vec<StoredAdapter>> {
        let listed = async {
            let objects = self.0.list().await.context("cannot list the bucket")?;
            objects.try_collect::<Vec<ObjectInfo>>().await.context("cannot list the bucket")
        };
        let listed = within("list the bucket", listed).await??;
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
pub(super) fn shown(adapter: &StoredAdapter) -> String {
    let AdapterVersion { version, digest } = &adapter.version;
    format!("{}@{version}+{}", adapter.adapter, digest.get(..12).unwrap_or(digest))
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
mod tests {
    use super::*;

    fn adapter(name: &str, version: &str, digest: &str) -> StoredAdapter {
        StoredAdapter {
            adapter: name.into(),
            version: AdapterVersion { version: version.into(), digest: digest.into() },
            contract: "1.0.0".into(),
            bytes: 1,
            signer: "k".into(),
            pushed: None,
        }
    }

    #[test]
    fn a_version_is_found_by_name_and_number_or_by_its_digest() {
        let all = || {
            vec![
                adapter("one", "1.0.0", "aaaaaaaa00"),
                adapter("one", "1.1.0", "bbbbbbbb00"),
                adapter("one", "1.1.0", "cccccccc00"),
                adapter("two", "1.0.0", "dddddddd00"),
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
