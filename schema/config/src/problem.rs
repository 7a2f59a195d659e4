//! Errors of a configuration: all of them are reported together.

use std::fmt;

use crate::Document;

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

/// The errors found so far, in the order of reading.
#[derive(Debug)]
pub struct Problems<'a> {
    document: &'a Document,
    pub(crate) list: Vec<Problem>,
}

impl<'a> Problems<'a> {
    pub(crate) const fn new(document: &'a Document) -> Self {
        Self { document, list: Vec::new() }
    }

    /// Adds an error that a rule beyond the form of one value found.
    pub fn report(&mut self, path: &str, what: impl Into<String>, allowed: impl Into<String>) {
        let path = self.document.variable_of(path).unwrap_or(path).to_owned();
        self.list.push(Problem { path, what: what.into(), allowed: allowed.into() });
    }

    /// Adds an error unless the rule holds.
    pub fn demand(&mut self, holds: bool, path: &str, what: impl Into<String>, allowed: impl Into<String>) {
        if !holds {
            self.report(path, what, allowed);
        }
    }

    /// The document that is read.
    pub const fn document(&self) -> &'a Document {
        self.document
    }

    /// All errors as one.
    pub fn finish(self) -> Result<(), ConfigError> {
        if self.list.is_empty() {
            return Ok(());
        }
        Err(ConfigError::Invalid { path: self.document.source.clone(), problems: self.list })
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
