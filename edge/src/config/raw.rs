//! `raw` of a feed: the frames that it receives, kept on disk.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::limits;

/// Raw frames on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RawSettings {
    /// Keep every frame and answer of this feed in `raw/<exchange>` of `edge.data_dir`, for `replay`.
    pub enabled: bool,
    /// Bytes on disk. Full: the oldest segment is deleted.
    #[schemars(range(min = 16_777_216, max = 17_592_186_044_416_u64))]
    pub max_bytes: u64,
    /// Oldest frames on disk; older segments are deleted.
    #[serde(rename = "max_age_seconds", with = "marketprism_config::seconds")]
    #[schemars(with = "u64", range(min = 60, max = 31_536_000))]
    pub max_age: Duration,
    /// Bytes of a segment; at most a quarter of `max_bytes` is used.
    #[schemars(range(min = 1_048_576, max = 1_073_741_824))]
    pub segment_bytes: u64,
}

impl Default for RawSettings {
    fn default() -> Self {
        Self {
            enabled: false,
            max_bytes: limits::RAW_BYTES_MAX,
            max_age: limits::RAW_AGE_MAX,
            segment_bytes: limits::RAW_SEGMENT_BYTES,
        }
    }
}
