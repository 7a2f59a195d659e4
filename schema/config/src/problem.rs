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
    /// The file is not TOML. The text of the line is not shown: it may hold a secret.
    #[error("configuration {path} is not TOML: line {line}, column {column}: {what}")]
    Syntax {
        /// The file.
        path: String,
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
        /// The parser's text.
        what: String,
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

impl ConfigError {
    pub(crate) fn syntax(path: &str, text: &str, error: &toml::de::Error) -> Self {
        let before = text.get(..error.span().map_or(0, |span| span.start)).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Self::Syntax { path: path.to_owned(), line, column, what: error.message().to_owned() }
    }
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("\n  {problem}")).collect()
}
