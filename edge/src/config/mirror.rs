//! The mirror on core NATS.

use marketprism_config::Problems;
use marketprism_schema::{SUBJECT_FILTER_ALLOWED, SubjectFilter};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Each is compared with the subject of every event.
const SUBJECTS_MAX: usize = 64;

/// Mirror of live events on core NATS, under `core.<subject>`: at most once, without the wait for storage.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MirrorSettings {
    /// Subjects of the events that are mirrored, such as `trade.>` or `orderbook.*.spot.BTC-USDT`; at most 64. Empty: no mirror.
    pub subjects: Vec<String>,
}

impl MirrorSettings {
    pub fn filters(&self) -> Vec<SubjectFilter> {
        self.subjects.iter().filter_map(|subject| SubjectFilter::parse(subject)).collect()
    }

    pub(super) fn check(&self, problems: &mut Problems<'_>) {
        let (key, count) = ("mirror_to_core.subjects", self.subjects.len());
        problems.demand(
            count <= SUBJECTS_MAX,
            key,
            format!("has {count}"),
            format!("at most {SUBJECTS_MAX}"),
        );
        for (index, subject) in self.subjects.iter().enumerate() {
            let is_filter = SubjectFilter::parse(subject).is_some();
            problems.demand(
                is_filter,
                &format!("{key}[{index}]"),
                format!("is {subject:?}"),
                SUBJECT_FILTER_ALLOWED,
            );
        }
    }
}
