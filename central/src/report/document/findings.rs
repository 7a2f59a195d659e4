//! The verdict and what led to it.

use serde::Serialize;
use utoipa::ToSchema;

/// What can be said of everything in the scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Nothing missing, nothing doubled, and every window vouched for.
    Whole,
    /// Something is missing, doubled or different.
    NotWhole,
    /// Nothing is known to be wrong, but not everything can be checked.
    CannotTell,
}

impl Verdict {
    /// In plain words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::NotWhole => "not whole",
            Self::CannotTell => "cannot tell",
        }
    }
}

/// What a finding means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Makes the verdict "not whole".
    Fail,
    /// Makes the verdict "cannot tell", when nothing fails.
    Unknown,
    /// Wants a look; the verdict stays.
    Warn,
    /// Good to know.
    Info,
}

impl Level {
    /// The name in the answer.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::Unknown => "unknown",
            Self::Warn => "warn",
            Self::Info => "info",
        }
    }
}

/// One reason for the verdict, or something that wants a look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Finding {
    /// What it means for the verdict.
    pub level: Level,
    /// What it is about: a table, a stream, `broker`, `clickhouse hot`, ...
    pub subject: String,
    /// What was found, in words.
    pub text: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub remedy: String,
}

impl Finding {
    /// A finding without a remedy.
    pub fn new(level: Level, subject: impl Into<String>, text: impl Into<String>) -> Self {
        Self { level, subject: subject.into(), text: text.into(), remedy: String::new() }
    }

    /// The same with what to do about it.
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = remedy.into();
        self
    }
}

/// A part that gave no answer in time: what it would have said is not known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Unanswered {
    /// The part.
    pub part: String,
    /// Why there is no answer.
    pub reason: String,
}

/// A list that may be cut.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Listed<T> {
    /// How many there are.
    pub total: u64,
    /// The first of them.
    pub items: Vec<T>,
}

impl<T> Default for Listed<T> {
    fn default() -> Self {
        Self { total: 0, items: Vec::new() }
    }
}
