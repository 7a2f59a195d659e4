//! Comparison of hot with cold and with the edges' audits, made for one report.

use serde::Serialize;
use utoipa::ToSchema;

use super::WindowCounts;
use crate::report::Time;

/// Own count of `integrity --verify`. Absent in reports that rely on the window log and the stored verdicts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Verification {
    pub started_at: Time,
    pub took_ms: u64,
    /// Hot compared with cold, by table.
    pub tables: Vec<VerifiedTable>,
    /// Hot compared with the edges' audits; absent when that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audits: Option<VerifiedAudits>,
}

/// One table, counted and digested on both sides.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct VerifiedTable {
    pub table: &'static str,
    /// Windows with the same rows on both sides.
    pub equal: u64,
    /// Windows that hot no longer holds, and cold as verified before.
    pub cold_only: u64,
    pub different: u64,
    /// Windows to be copied, or copied again for late rows.
    pub waiting: u64,
    /// Windows whose rows cold refused.
    pub failed: u64,
    /// Rows counted in the compared windows.
    pub hot_rows: u64,
    pub cold_rows: u64,
    /// Rows of hot beyond the replication watermark: not compared.
    pub not_copied_rows: u64,
    /// End of the compared windows; absent when nothing has been copied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compared_upto: Option<Time>,
    /// Reason why the comparison stopped early.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
}

/// Windows of all streams, evaluated against hot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct VerifiedAudits {
    /// Windows by state, counted per edge.
    pub windows: WindowCounts,
    /// Windows that are not verified now, though their stored verdict was, or there was none.
    pub newly_unsound: u64,
    /// Those of them that differ from hot.
    pub newly_mismatched: u64,
    /// Windows that are verified now, though their stored verdict was not.
    pub newly_verified: u64,
}
