//! Corrections by other versions of adapters.

use serde::Serialize;
use utoipa::ToSchema;

use crate::time::Time;

/// Correction of one data type: another version of an adapter normalized the kept raw frames of a span again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Correction)]
pub struct ReportedCorrection {
    /// 32 hex digits; the window log names it too.
    pub correction: String,
    /// Time at which the edge closed it.
    pub at: Time,
    pub edge: String,
    pub exchange: String,
    pub data_type: String,
    /// Span of receive time.
    pub from: Time,
    pub to: Time,
    /// Version whose events were corrected, as `name@version+digest`.
    pub old_adapter: String,
    /// Version whose events win.
    pub new_adapter: String,
    /// Number, XOR and sum of the hashes of the content of all events that the old version gives.
    pub old_digest: String,
    /// Those of the new version.
    pub new_digest: String,
    /// Events with other content.
    pub changed: u64,
    /// Events that only the new version gives.
    pub added: u64,
    /// Events that only the old version gives.
    pub withdrawn: u64,
    pub state: CorrectionState,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub applied: Option<AppliedCorrection>,
    /// The command that makes it again, if it is `lost`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub again: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CorrectionState {
    /// Until all events have arrived and the windows of their rows are copied.
    Pending,
    Applied,
    /// It was carried out, and hot, which was put back to a state before it, does not know it. It has no digests, and its counts are those of rows.
    Lost,
}

impl CorrectionState {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Applied => "applied",
            Self::Lost => "lost",
        }
    }
}

/// Effect of a correction on the rows of hot and cold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct AppliedCorrection {
    pub at: Time,
    /// Events whose row is now one of the new version.
    pub replaced: u64,
    pub added: u64,
    pub withdrawn: u64,
    /// Events whose row neither hot nor cold had, and added ones that are older than hot keeps rows.
    pub absent: u64,
}
