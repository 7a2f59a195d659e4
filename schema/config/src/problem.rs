//! Errors of a configuration: all of them are reported together.

use std::fmt;

pub(crate) const UNKNOWN_KEY: &str = "unknown key";

/// One error: the key, the value seen, and the values allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Path of the key, such as `feed[0].depth`; the variable's name where the environment gave the value.
    pub path: String,
    /// The error with the value seen.
    pub what: String,
    /// The values allowed; a suggestion for an unknown key.
    pub allowed: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, what, allowed } = self;
        match (what.as_str(), allowed.as_str()) {
            (UNKNOWN_KEY, hint) => write!(f, "{UNKNOWN_KEY} `{path}` ({hint})"),
            (what, "") => write!(f, "{path}: {what}"),
            (what, allowed) => write!(f, "{path}: {what} (allowed: {allowed})"),
        }
    }
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("configuration {path}: {source}")]
    File {
        /// The file.
        path: String,
        /// The cause.
        source: std::io::Error,
    },
    /// The file is not TOML. The text names line and column.
    #[error("configuration {path} is not TOML: {source}")]
    Syntax {
        /// The file.
        path: String,
        /// The parser's error.
        source: Box<toml::de::Error>,
    },
    /// Values are wrong.
    #[error("configuration {path} has {} error{}:{}", .problems.len(), if .problems.len() == 1 { "" } else { "s" }, lines(.problems))]
    Invalid {
        /// The file.
        path: String,
        /// All errors.
        problems: Vec<Problem>,
    },
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("\n  {problem}")).collect()
}
