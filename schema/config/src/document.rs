//! A configuration file with the environment laid over it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::{ConfigError, Problem, Section};

/// Variables with this prefix and a double underscore override a key: `MARKETPRISM_<SECTION>__<KEY>`.
const PREFIX: &str = "MARKETPRISM_";
const SEPARATOR: &str = "__";

/// A configuration file with the environment laid over it.
#[derive(Debug)]
pub struct Document {
    origin: String,
    directory: PathBuf,
    table: toml::Table,
    /// Values from the environment by lower-case path, such as `nats.urls` or `feed.0.depth`.
    pub(crate) overrides: BTreeMap<String, Override>,
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) findings: RefCell<Findings>,
}

/// A value that the environment gives.
#[derive(Debug, Clone)]
pub(crate) struct Override {
    pub(crate) variable: String,
    pub(crate) value: String,
}

/// What the readers found so far.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) problems: Vec<Problem>,
    pub(crate) overrides_used: BTreeSet<String>,
}

impl Document {
    /// Reads a file and the process's environment.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let origin = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::File { path: origin.clone(), source })?;
        let directory = path.parent().map(Path::to_path_buf).unwrap_or_default();
        Self::parse(&origin, &text, directory, std::env::vars())
    }

    /// Reads a text and the variables given. `directory` is where relative paths of the text start.
    pub fn parse(
        origin: &str,
        text: &str,
        directory: PathBuf,
        variables: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let table = text
            .parse::<toml::Table>()
            .map_err(|source| ConfigError::Syntax { path: origin.to_owned(), source: Box::new(source) })?;
        let environment: BTreeMap<String, String> = variables.collect();
        let overrides = environment
            .iter()
            .filter_map(|(name, value)| {
                let path = name.strip_prefix(PREFIX).filter(|rest| rest.contains(SEPARATOR))?;
                let path = path.replace(SEPARATOR, ".").to_lowercase();
                Some((path, Override { variable: name.clone(), value: value.clone() }))
            })
            .collect();
        Ok(Self {
            origin: origin.to_owned(),
            directory,
            table,
            overrides,
            environment,
            findings: RefCell::default(),
        })
    }

    /// The top of the document.
    #[must_use]
    pub fn root(&self) -> Section<'_> {
        Section::new(self, String::new(), String::new(), Some(&self.table))
    }

    /// A variable of the environment that stands outside the `__` scheme, such as `NATS_URL`. Empty counts as unset.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.environment.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// A path of the configuration: relative ones start at the working directory, as a command line's would, unless the file exists
    /// beside the configuration only.
    #[must_use]
    pub fn resolve(&self, path: &str) -> PathBuf {
        let given = PathBuf::from(path);
        let beside = self.directory.join(path);
        if given.is_absolute() || given.exists() || !beside.exists() { given } else { beside }
    }

    /// Adds a problem that a reader found beyond the form of a value.
    pub fn report(&self, path: impl Into<String>, what: impl Into<String>, allowed: impl Into<String>) {
        let problem = Problem { path: path.into(), what: what.into(), allowed: allowed.into() };
        self.findings.borrow_mut().problems.push(problem);
    }

    /// Ends reading: all problems, among them overrides that no reader asked for.
    pub fn finish(self) -> Result<(), ConfigError> {
        let Findings { mut problems, overrides_used } = self.findings.into_inner();
        for (path, given) in &self.overrides {
            if !overrides_used.contains(path) {
                problems.push(Problem {
                    path: given.variable.clone(),
                    what: format!("overrides {path:?}, which is no key of this configuration"),
                    allowed: String::new(),
                });
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(ConfigError::Invalid { path: self.origin, problems }) }
    }
}
