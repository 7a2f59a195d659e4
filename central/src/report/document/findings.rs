//! The report's verdict and the findings that led to it.

use serde::Serialize;
use utoipa::ToSchema;

use super::FindingCode;

/// Overall verdict of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Verdict)]
pub enum ReportVerdict {
    /// Every closed window is verified; nothing is missing or duplicated.
    Whole,
    /// Something is missing, duplicated or different.
    NotWhole,
    /// No error is known, but not everything could be checked.
    CannotTell,
}

impl ReportVerdict {
    pub const fn words(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::NotWhole => "not whole",
            Self::CannotTell => "cannot tell",
        }
    }
}

/// Severity of a finding, the most severe first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Makes the verdict "not whole".
    Fail,
    /// Makes the verdict "cannot tell", unless something fails.
    Unknown,
    /// Needs attention; does not change the verdict.
    Warn,
    /// For information only.
    Info,
}

impl Level {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::Unknown => "unknown",
            Self::Warn => "warn",
            Self::Info => "info",
        }
    }
}

/// One reason for the verdict, or something that needs attention.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Finding {
    /// Stable code: match on this, never on the text.
    pub code: FindingCode,
    pub level: Level,
    /// Object concerned: a table, a stream, `broker`, `clickhouse hot`, ...
    pub subject: String,
    /// Description for people; may be reworded in any release.
    pub text: String,
    /// Recommended action.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub remedy: String,
}

impl Finding {
    pub fn new(
        code: FindingCode,
        level: Level,
        subject: impl Into<String>,
        text: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { code, level, subject: subject.into(), text: text.into(), remedy: remedy.into() }
    }
}

/// A source that did not answer in time; whatever depends on it is unknown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Unanswered {
    /// The source: a server, a table, a stream.
    pub part: String,
    pub reason: String,
}

/// A list that may be truncated.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct TruncatedList<T> {
    /// Number of items in all.
    pub total: u64,
    /// The first of them.
    pub items: Vec<T>,
}

impl<T> Default for TruncatedList<T> {
    fn default() -> Self {
        Self { total: 0, items: Vec::new() }
    }
}
