//! A configuration file with the environment laid over it. Reading does no input or output beyond the files that it names.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use marketprism_service::{mask, read_text};

use crate::problem::{ConfigError, Problem};

/// Variables with this prefix and a double underscore override a key: `MARKETPRISM_<SECTION>__<KEY>`.
const PREFIX: &str = "MARKETPRISM_";
const SEPARATOR: &str = "__";

/// Largest configuration file; one with thousands of symbols has some ten kilobytes.
const CONFIG_BYTES_MAX: u64 = 4 << 20;

/// Variables without the prefix that programs of this project read.
const OTHER_VARIABLES: [&str; 17] = [
    "NATS_URL",
    "CLICKHOUSE_URL",
    "CLICKHOUSE_USER",
    "CLICKHOUSE_PASSWORD",
    "HEALTH_GRACE_SECONDS",
    "HTTPS_PROXY",
    "https_proxy",
    "HTTP_PROXY",
    "http_proxy",
    "ALL_PROXY",
    "all_proxy",
    "NO_PROXY",
    "no_proxy",
    "HEALTH_CHECK_PORT",
    "METRICS_PORT",
    "HOT_STORAGE_HTTP_PORT",
    "LOG_LEVEL",
];

/// The variables that are text in UTF-8: others are legal, and none of our business.
///
/// # Errors
/// A MarketPrism variable that is not UTF-8.
pub fn environment(
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> Result<BTreeMap<String, String>, ConfigError> {
    let (mut texts, mut problems) = (BTreeMap::new(), Vec::new());
    for (name, value) in variables {
        let Ok(name) = name.into_string() else { continue };
        match value.into_string() {
            Ok(value) => drop(texts.insert(name, value)),
            Err(_) if name.starts_with(PREFIX) || OTHER_VARIABLES.contains(&name.as_str()) => {
                let (what, allowed) = ("is not UTF-8".to_owned(), "text in UTF-8".to_owned());
                problems.push(Problem { path: name, what, allowed });
            }
            Err(_) => {}
        }
    }
    if problems.is_empty() {
        return Ok(texts);
    }
    Err(ConfigError::Invalid { path: "(environment)".to_owned(), problems })
}

/// A parsed configuration that is not validated yet.
#[derive(Debug)]
pub struct Document {
    pub(crate) source: String,
    directory: PathBuf,
    pub(crate) table: toml::Table,
    /// Values from the environment by lower-case path, such as `nats.urls` or `feed.0.depth`.
    pub(crate) overrides: BTreeMap<String, Override>,
    environment: BTreeMap<String, String>,
}

/// A value from the environment.
#[derive(Debug, Clone)]
pub(crate) struct Override {
    pub(crate) variable: String,
    pub(crate) value: String,
}

impl Document {
    /// Parses a file and takes the process's environment.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let source = path.display().to_string();
        let text = read_text(path, CONFIG_BYTES_MAX)
            .map_err(|error| ConfigError::File { path: source.clone(), source: error })?;
        let directory = path.parent().map(Path::to_path_buf).unwrap_or_default();
        let variables = environment(std::env::vars_os())?;
        Self::parse(&source, &text, directory, variables.into_iter())
    }

    /// Parses a text. Relative paths in it are looked up in the working directory and then in `directory`.
    pub fn parse(
        source: &str,
        text: &str,
        directory: PathBuf,
        variables: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let table = text.parse::<toml::Table>().map_err(|error| ConfigError::syntax(source, text, &error))?;
        // A secret that `echo` made ends its variable with a line.
        let without_line_end =
            |(name, value): (String, String)| (name, value.trim_end_matches(['\r', '\n']).to_owned());
        let environment: BTreeMap<String, String> = variables.map(without_line_end).collect();
        let overrides = environment.iter().filter_map(|(name, value)| {
            let path = name.strip_prefix(PREFIX).filter(|rest| rest.contains(SEPARATOR))?;
            let path = path.replace(SEPARATOR, ".").to_lowercase();
            Some((path, Override { variable: name.clone(), value: value.clone() }))
        });
        let overrides = overrides.collect();
        Ok(Self { source: source.to_owned(), directory, table, overrides, environment })
    }

    /// A variable of the environment outside the `__` scheme, such as `NATS_URL`. Empty counts as unset.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.environment.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Relative paths start at the working directory, as a command line's do, unless the file exists next to the configuration only.
    pub(crate) fn resolve(&self, path: &str) -> PathBuf {
        let given = PathBuf::from(path);
        let beside = self.directory.join(path);
        if given.is_absolute() || given.exists() || !beside.exists() { given } else { beside }
    }

    /// The variable that gives a key its value.
    fn variable_of(&self, path: &str) -> Option<&str> {
        self.overrides.get(&key_of(path)).map(|given| given.variable.as_str())
    }

    pub(crate) fn unused_overrides(&self, used: &BTreeSet<String>) -> Vec<Problem> {
        let unused = self.overrides.iter().filter(|(path, _)| !used.contains(*path));
        let problem = |(path, given): (&String, &Override)| Problem {
            path: given.variable.clone(),
            what: format!("overrides {path:?}, which is no key of this configuration"),
            allowed: String::new(),
        };
        unused.map(problem).collect()
    }
}

/// The key of a path such as `feed[0].depth` in [`Document::overrides`].
fn key_of(path: &str) -> String {
    path.replace('[', ".").replace(']', "")
}

/// The errors found so far, in the order of reading.
#[derive(Debug)]
pub struct Problems<'a> {
    document: &'a Document,
    pub(crate) list: Vec<Problem>,
    /// Variables of the earlier system by the key that they give.
    pub(crate) predecessors: BTreeMap<String, &'static str>,
    /// Keys whose variable is empty and counts as not set.
    pub(crate) unset: BTreeSet<String>,
}

impl<'a> Problems<'a> {
    pub(crate) const fn new(document: &'a Document) -> Self {
        Self { document, list: Vec::new(), predecessors: BTreeMap::new(), unset: BTreeSet::new() }
    }

    /// Adds an error that a rule beyond the form of one value found.
    pub fn report(&mut self, path: &str, what: impl Into<String>, allowed: impl Into<String>) {
        let predecessor = self.predecessors.get(path).copied();
        let path = self.variable_of(path).or(predecessor).unwrap_or(path).to_owned();
        let problem = Problem { path, what: mask(&what.into()).into_owned(), allowed: allowed.into() };
        // Two rules may meet the same mistake.
        if !self.list.contains(&problem) {
            self.list.push(problem);
        }
    }

    /// Adds an error unless the rule holds.
    pub fn demand(&mut self, holds: bool, path: &str, what: impl Into<String>, allowed: impl Into<String>) {
        if !holds {
            self.report(path, what, allowed);
        }
    }

    /// The variable that gives a key its value.
    pub(crate) fn variable_of(&self, path: &str) -> Option<&'a str> {
        self.document.variable_of(path).filter(|_| !self.unset.contains(&key_of(path)))
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
