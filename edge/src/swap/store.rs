//! Last good versions of adapters and the history of their changes, on disk: a restart begins with them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use marketprism_adapter_host::{Adapter, Engine, Limits, component_digest, verify_signature};
use marketprism_service::{error_text, read_file, replace_file};
use serde::{Deserialize, Serialize};

use super::record::SwapRecord;
use crate::config::{Adapters, Config, SwapSettings};
use crate::limits::COMPONENT_BYTES_MAX;

/// Folder inside the data folder.
const FOLDER: &str = "adapters";

const STATE: &str = "swaps.json";

/// The history is bounded; this is above its largest size.
const STATE_BYTES_MAX: u64 = 16 << 20;

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct StoredSwaps {
    /// By the digest of the configured component. Another configured component begins without a history.
    kept: BTreeMap<String, KeptVersion>,
    history: Vec<SwapRecord>,
}

#[derive(Debug, Serialize, Deserialize)]
struct KeptVersion {
    /// Of the last good component.
    digest: String,
    /// Of the good one before it, which a rollback returns to. `None` after a rollback: a version that was left is not returned to.
    previous: Option<String>,
}

#[derive(Debug)]
pub(super) struct AdapterStore {
    folder: PathBuf,
    stored: StoredSwaps,
    /// Digest of the running component by that of the configured one, where they differ or did.
    running: BTreeMap<String, String>,
}

impl AdapterStore {
    /// A state that cannot be read is an error in the log, and an empty one.
    pub(super) fn open(data_dir: &Path) -> Self {
        let folder = data_dir.join(FOLDER);
        let path = folder.join(STATE);
        let stored = match read_file(&path, STATE_BYTES_MAX) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::from),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(StoredSwaps::default()),
            Err(error) => Err(error),
        };
        let mut stored = stored.unwrap_or_else(|error| {
            let path = path.display().to_string();
            tracing::error!(path, %error, "changes of adapters not readable: the configured adapters run");
            StoredSwaps::default()
        });
        stored.history.iter_mut().for_each(SwapRecord::end_with_process);
        Self { folder, stored, running: BTreeMap::new() }
    }

    /// A component runs in place of the configured one since the start.
    pub(super) fn set_running(&mut self, configured: &str, running: &str) {
        self.running.insert(configured.to_owned(), running.to_owned());
    }

    pub(super) fn history(&self) -> Vec<SwapRecord> {
        self.stored.history.clone()
    }

    /// File of what was tried of the watched folder.
    pub(super) fn watched(&self) -> PathBuf {
        self.folder.join("watched.json")
    }

    /// Folder for the golden files of a component that is checked.
    pub(super) fn scratch(&self) -> PathBuf {
        self.folder.join("golden")
    }

    fn component(&self, digest: &str) -> PathBuf {
        self.folder.join(format!("{digest}.wasm"))
    }

    /// A stored component. It is as trusted as one that is loaded.
    fn read(&self, digest: &str, settings: &SwapSettings) -> anyhow::Result<Vec<u8>> {
        let path = self.component(digest);
        let bytes = read_file(&path, COMPONENT_BYTES_MAX).with_context(|| path.display().to_string())?;
        ensure!(component_digest(&bytes) == *digest, "{} was changed", path.display());
        if !settings.allow_unsigned {
            verify_signature(&bytes, &settings.verifying_keys())?;
        }
        Ok(bytes)
    }

    fn kept(&self, configured: &Adapter, settings: &SwapSettings) -> anyhow::Result<Option<Vec<u8>>> {
        let kept = self.stored.kept.get(configured.digest());
        kept.map(|kept| self.read(&kept.digest, settings)).transpose()
    }

    /// The good version before the one that runs in place of this configured one. `None`: there is none to return to.
    pub(super) fn previous(
        &self,
        configured: &Adapter,
        settings: &SwapSettings,
        engine: &Engine,
    ) -> anyhow::Result<Option<Adapter>> {
        let kept = self.stored.kept.get(configured.digest());
        let Some(digest) = kept.and_then(|kept| kept.previous.as_deref()) else { return Ok(None) };
        if digest == configured.digest() {
            return Ok(Some(configured.clone()));
        }
        let component = self.read(digest, settings)?;
        Ok(Some(Adapter::from_bytes(engine, &component, &Limits::default())?))
    }

    /// Notes for the next start that `to` runs in place of each of these. Without a component it is one that was kept, and a rollback.
    pub(super) fn replace(
        &mut self,
        replaced: &BTreeSet<&str>,
        to: &str,
        component: Option<&[u8]>,
    ) -> io::Result<()> {
        let mut changed: Vec<(String, &str)> = Vec::new();
        for from in replaced.iter().copied().filter(|from| *from != to) {
            let before = changed.len();
            let of = self.running.iter().filter(|(_, running)| *running == from);
            changed.extend(of.map(|(configured, _)| (configured.clone(), from)));
            if changed.len() == before {
                changed.push((from.to_owned(), from));
            }
        }
        for (configured, _) in &changed {
            self.set_running(configured, to);
        }
        fs::create_dir_all(&self.folder)?;
        if changed.iter().any(|(configured, _)| configured != to) {
            let path = self.component(to);
            component.map_or_else(|| fs::metadata(&path).map(drop), |bytes| replace_file(&path, bytes))?;
        }
        for (configured, from) in changed {
            if configured == to {
                self.stored.kept.remove(&configured);
            } else {
                let previous = component.map(|_| from.to_owned());
                let kept = KeptVersion { digest: to.to_owned(), previous };
                self.stored.kept.insert(configured, kept);
            }
        }
        self.write()?;
        self.remove_others()
    }

    pub(super) fn set_history(&mut self, history: Vec<SwapRecord>) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        self.stored.history = history;
        self.write()
    }

    fn write(&self) -> io::Result<()> {
        replace_file(&self.folder.join(STATE), &serde_json::to_vec(&self.stored)?)
    }

    /// Removes components that no start needs, and those of which a full disk took a part.
    fn remove_others(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            // Another thread writes that of the watched folder.
            let is_part = path.extension().is_some_and(|extension| extension == "part")
                && path != self.watched().with_extension("part");
            let is_component = path.extension().is_some_and(|extension| extension == "wasm");
            let is_kept = |kept: &KeptVersion| {
                [Some(&kept.digest), kept.previous.as_ref()]
                    .into_iter()
                    .flatten()
                    .any(|digest| path == self.component(digest))
            };
            if is_part || (is_component && !self.stored.kept.values().any(is_kept)) {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}

/// Puts the last good version in place of each configured adapter that has one. A version that cannot be used is an error in the log.
pub fn resume_adapters(config: &Config, adapters: &mut Adapters) {
    let store = AdapterStore::open(&config.data_dir);
    for feed in &config.feeds {
        let Some(configured) = adapters.get(&feed.adapter) else { continue };
        let adapter = configured.id();
        match resumed(&store, &configured, config, adapters) {
            Ok(Some(kept)) => {
                let (exchange, runs) = (&feed.exchange, kept.id());
                tracing::info!(
                    exchange,
                    adapter,
                    runs,
                    "the last good version runs instead of the configured one"
                );
                adapters.resume(&feed.adapter, kept);
            }
            Ok(None) => {}
            Err(error) => {
                let error = error_text(error.as_ref());
                tracing::error!(adapter, error, "last good version not usable: the configured one runs");
            }
        }
    }
}

fn resumed(
    store: &AdapterStore,
    configured: &Adapter,
    config: &Config,
    adapters: &Adapters,
) -> anyhow::Result<Option<Adapter>> {
    let Some(bytes) = store.kept(configured, &config.adapters)? else { return Ok(None) };
    let engine = adapters.engine().context("no engine runs")?;
    let kept = Adapter::from_bytes(engine, &bytes, &Limits::default())?;
    for feed in config
        .feeds
        .iter()
        .filter(|feed| adapters.get(&feed.adapter).is_some_and(|of| of.digest() == configured.digest()))
    {
        let is_same = kept.venue(&feed.exchange) == configured.venue(&feed.exchange);
        ensure!(is_same, "it describes {} differently", feed.exchange);
    }
    Ok(Some(kept))
}

#[cfg(test)]
mod tests {
    use marketprism_adapter_host::fixtures::{FixtureKind, component};
    use marketprism_adapter_host::with_custom_section;

    use super::*;

    #[test]
    fn the_next_start_begins_with_the_last_good_version() {
        let folder = tempfile::tempdir().unwrap();
        let [first, second] = [b"first".as_slice(), b"second"];
        let (one, two) = (component_digest(first), component_digest(second));
        let mut store = AdapterStore::open(folder.path());
        let kept = |store: &AdapterStore| -> Vec<(String, String)> {
            let kept = AdapterStore::open(folder.path()).stored.kept;
            assert_eq!(kept.len(), store.stored.kept.len());
            kept.into_iter().map(|(configured, kept)| (configured, kept.digest)).collect()
        };
        let runs = |digest: &str| vec![("configured".to_owned(), digest.to_owned())];

        let part = store.component(&two).with_extension("part");
        fs::create_dir_all(&store.folder).unwrap();
        fs::write(&part, "of a disk that was full").unwrap();
        store.replace(&["configured"].into(), &one, Some(first)).unwrap();
        assert_eq!(kept(&store), runs(&one));
        assert!(!part.exists(), "it would stay for ever");
        // A part that started meanwhile runs the new version already.
        store.replace(&[one.as_str(), two.as_str()].into(), &two, Some(second)).unwrap();
        assert_eq!(kept(&store), runs(&two));
        store.replace(&[two.as_str()].into(), &one, None).unwrap();
        assert_eq!(kept(&store), runs(&one));
        store.replace(&[one.as_str()].into(), "configured", None).unwrap();
        assert_eq!(kept(&store), Vec::new());
        assert!(store.replace(&["configured"].into(), &one, None).is_err(), "its component is missing");
    }

    #[test]
    fn a_restart_knows_the_good_version_before_the_running_one_and_not_one_that_was_left() {
        let (folder, engine) = (tempfile::tempdir().unwrap(), Engine::new(None).unwrap());
        let bytes = [1, 2, 3]
            .map(|number| with_custom_section(&component(FixtureKind::WellBehaved), "version", &[number]));
        let digests = bytes.each_ref().map(|bytes| component_digest(bytes));
        let [configured, first, second] = digests.each_ref().map(String::as_str);
        let adapter = Adapter::from_bytes(&engine, &bytes[0], &Limits::default()).unwrap();
        let unsigned = SwapSettings { allow_unsigned: true, ..SwapSettings::default() };
        let previous = |settings: &SwapSettings| {
            let found = AdapterStore::open(folder.path()).previous(&adapter, settings, &engine);
            found.map(|found| found.map(|found| found.digest().to_owned())).map_err(|error| error.to_string())
        };
        let mut store = AdapterStore::open(folder.path());
        assert_eq!(previous(&unsigned), Ok(None));
        store.replace(&[configured].into(), first, Some(&bytes[1])).unwrap();
        assert_eq!(previous(&SwapSettings::default()), Ok(Some(configured.to_owned())));
        store.replace(&[first].into(), second, Some(&bytes[2])).unwrap();
        assert_eq!(previous(&unsigned), Ok(Some(first.to_owned())));
        assert!(previous(&SwapSettings::default()).unwrap_err().contains("component has no signature"));
        store.replace(&[second].into(), first, None).unwrap();
        assert_eq!(previous(&unsigned), Ok(None), "the version that was rolled back is not returned to");

        store.replace(&[first].into(), second, Some(&bytes[2])).unwrap();
        fs::write(store.component(first), "other bytes").unwrap();
        assert!(previous(&unsigned).unwrap_err().ends_with("was changed"));
    }

    #[test]
    fn a_version_in_place_of_two_configured_ones_is_kept_for_both() {
        let folder = tempfile::tempdir().unwrap();
        let new = component_digest(b"new");
        let mut store = AdapterStore::open(folder.path());
        store.set_running("second", "resumed");
        store.replace(&["first", "resumed"].into(), &new, Some(b"new")).unwrap();
        let kept = AdapterStore::open(folder.path()).stored.kept;
        assert_eq!(kept.keys().collect::<Vec<_>>(), ["first", "second"]);
        assert!(kept.values().all(|kept| kept.digest == new));
    }
}
