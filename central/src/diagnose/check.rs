//! One check of `diagnose`: object, result, remedy.

use marketprism_service::Exit;
use serde::Serialize;

use crate::report::document::{Finding, FindingCode, Level};
use crate::report::terminal::{Paint, clean};

/// Ordered by weight for the exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckStatus {
    Ok,
    Warn,
    /// The part did not answer.
    Unknown,
    Fail,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Object that was checked.
    pub check: String,
    /// Stable code as in the report; absent when nothing is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<FindingCode>,
    pub found: CheckStatus,
    pub text: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub remedy: String,
}

impl Check {
    pub fn ok(check: impl Into<String>, text: impl Into<String>) -> Self {
        let (check, text) = (check.into(), text.into());
        Self { check, code: None, found: CheckStatus::Ok, text, remedy: String::new() }
    }

    pub fn new(
        code: FindingCode,
        check: impl Into<String>,
        found: CheckStatus,
        text: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        let (check, text, remedy) = (check.into(), text.into(), remedy.into());
        Self { check, code: Some(code), found, text, remedy }
    }

    pub fn unavailable(check: impl Into<String>, reason: impl Into<String>, remedy: &str) -> Self {
        Self::new(FindingCode::SourceUnavailable, check, CheckStatus::Unknown, reason, remedy)
    }
}

impl From<Finding> for Check {
    fn from(finding: Finding) -> Self {
        let found = match finding.level {
            Level::Fail => CheckStatus::Fail,
            Level::Unknown => CheckStatus::Unknown,
            Level::Downtime | Level::Warn => CheckStatus::Warn,
            Level::Info => CheckStatus::Ok,
        };
        Self::new(finding.code, finding.subject, found, finding.text, finding.remedy)
    }
}

/// Result of the worst check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckVerdict {
    /// No check fails, and every part answered.
    Passed,
    Failed,
    Unknown,
}

impl CheckVerdict {
    pub fn of(checks: &[Check]) -> Self {
        match checks.iter().map(|check| check.found).max() {
            Some(CheckStatus::Fail) => Self::Failed,
            Some(CheckStatus::Unknown) => Self::Unknown,
            _ => Self::Passed,
        }
    }

    pub const fn exit_code(self) -> Exit {
        match self {
            Self::Passed => Exit::SUCCESS,
            Self::Failed => Exit::FAILED,
            Self::Unknown => Exit::NOT_DONE,
        }
    }
}

/// A line per check, and its remedy below.
pub fn render_checks(checks: &[Check], paint: Paint) -> String {
    let line = |check: &Check| {
        let (word, colour) = match check.found {
            CheckStatus::Ok => ("ok  ", Paint::GOOD),
            CheckStatus::Warn => ("warn", Paint::WARN),
            CheckStatus::Unknown => ("?   ", Paint::UNKNOWN),
            CheckStatus::Fail => ("FAIL", Paint::BAD),
        };
        let code = check.code.map(|code| format!(" [{}]", code.as_str())).unwrap_or_default();
        let remedy = match check.remedy.as_str() {
            "" => String::new(),
            remedy => format!("      {}\n", paint.with(Paint::SOFT, &clean(remedy))),
        };
        let (object, text) = (clean(&check.check), clean(&check.text));
        let code = paint.with(Paint::SOFT, &code);
        format!("{}  {object}: {text}{code}\n{remedy}", paint.with(colour, word))
    };
    checks.iter().map(line).collect()
}
