//! What is wrong with a configuration.

use std::fmt;

/// One thing that is wrong: where, what stands there, and what was allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Path of the key, such as `feed[0].depth`; the variable's name where the environment gave the value.
    pub path: String,
    /// What is wrong, with the value.
    pub what: String,
    /// What was allowed.
    pub allowed: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.what)?;
        if self.allowed.is_empty() { Ok(()) } else { write!(f, " (allowed: {})", self.allowed) }
    }
}

/// Everything that is wrong with a configuration, in the order of reading.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("configuration {path}: {source}")]
    File {
        /// The file.
        path: String,
        /// Why not.
        source: std::io::Error,
    },
    /// The file is not TOML. The text names line and column.
    #[error("configuration {path} is not TOML: {source}")]
    Syntax {
        /// The file.
        path: String,
        /// Where and what.
        source: Box<toml::de::Error>,
    },
    /// Values are wrong.
    #[error("configuration {path} has {} error{}:{}", .problems.len(), if .problems.len() == 1 { "" } else { "s" }, lines(.problems))]
    Invalid {
        /// The file.
        path: String,
        /// All of them.
        problems: Vec<Problem>,
    },
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("\n  {problem}")).collect()
}
