//! Settings of changes of adapters while the edge runs.

use std::path::PathBuf;
use std::time::Duration;

use marketprism_adapter_host::VerifyingKey;
use marketprism_config::Problems;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::limits;

/// Changes of adapters while the edge runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SwapSettings {
    /// Public keys (base64, as `marketprism-edge adapter keygen` prints them); a new adapter must be signed with one of them.
    pub trusted_keys: Vec<String>,
    /// Accept new adapters without a signature of a trusted key.
    pub allow_unsigned: bool,
    /// Folder of new adapters: each `*.wasm` that appears or changes in it is loaded.
    pub watch_dir: Option<PathBuf>,
    /// Live frames that a new adapter gets in parallel with the running one before the switch, all its feeds together.
    #[schemars(range(min = 1, max = 100_000_000))]
    pub shadow_frames: u64,
    /// Least time of it.
    #[serde(rename = "shadow_ms", with = "marketprism_config::millis")]
    #[schemars(with = "u64", range(min = 0, max = 86_400_000))]
    pub shadow: Duration,
    /// Time after the switch in which the earlier adapter gets the frames too and takes over if the new one is worse.
    #[serde(rename = "probation_ms", with = "marketprism_config::millis")]
    #[schemars(with = "u64", range(min = 0, max = 86_400_000))]
    pub probation: Duration,
}

impl Default for SwapSettings {
    fn default() -> Self {
        Self {
            trusted_keys: Vec::new(),
            allow_unsigned: false,
            watch_dir: None,
            shadow_frames: limits::SHADOW_FRAMES,
            shadow: limits::SHADOW_TIME,
            probation: limits::PROBATION_TIME,
        }
    }
}

impl SwapSettings {
    pub(super) fn check(&self, problems: &mut Problems<'_>) {
        for (index, key) in self.trusted_keys.iter().enumerate() {
            let is_key = VerifyingKey::parse(key).is_some();
            let path = format!("adapters.trusted_keys[{index}]");
            problems.demand(is_key, &path, format!("is {key:?}"), VerifyingKey::ALLOWED);
        }
    }

    pub fn verifying_keys(&self) -> Vec<VerifyingKey> {
        self.trusted_keys.iter().filter_map(|key| VerifyingKey::parse(key)).collect()
    }
}
