//! `[log]`: the filter of the lines.

use marketprism_config::Problems;
use marketprism_service::{LOG_FILTER_ALLOWED, check_log_filter};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Log lines.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Logging {
    /// Filter of the lines: a level, or a list such as `info,marketprism_edge=debug`. Not given:
    /// `info,async_nats=warn,async_nats::connector=off`. The variables `MARKETPRISM_LOG` and `LOG_LEVEL` win.
    pub filter: Option<String>,
}

impl Logging {
    pub(super) fn check(&self, problems: &mut Problems<'_>) {
        if let Some(filter) = &self.filter
            && let Err(error) = check_log_filter(filter)
        {
            problems.report("log.filter", error, LOG_FILTER_ALLOWED);
        }
    }
}
