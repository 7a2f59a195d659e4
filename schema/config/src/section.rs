//! One table of a configuration.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use toml::Value;

use crate::document::Override;
use crate::{Document, Secret};

/// One table of a configuration. Dropping it reports the keys that were never asked for.
#[derive(Debug)]
pub struct Section<'a> {
    document: &'a Document,
    /// As it stands in messages: `feed[0]`.
    path: String,
    /// As it stands in overrides: `feed.0`.
    override_path: String,
    table: Option<&'a toml::Table>,
    known: RefCell<BTreeSet<String>>,
}

/// A value, from the file or the environment.
enum Given<'a> {
    File(&'a Value),
    Environment(&'a Override),
}

impl<'a> Section<'a> {
    pub(crate) fn new(
        document: &'a Document,
        path: String,
        override_path: String,
        table: Option<&'a toml::Table>,
    ) -> Self {
        Self { document, path, override_path, table, known: RefCell::default() }
    }

    /// The document it belongs to.
    #[must_use]
    pub const fn document(&self) -> &'a Document {
        self.document
    }

    /// Path of a key, for messages.
    #[must_use]
    pub fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Whether the section stands in the file.
    #[must_use]
    pub const fn is_present(&self) -> bool {
        self.table.is_some()
    }

    /// Reports a problem with a key's value.
    pub fn report(&self, key: &str, what: impl Into<String>, allowed: impl Into<String>) {
        let path = match self.given(key) {
            Some(Given::Environment(given)) => given.variable.clone(),
            _ => self.path_of(key),
        };
        self.document.report(path, what, allowed);
    }

    /// A table inside; absent ones read as empty.
    #[must_use]
    pub fn section(&self, key: &str) -> Section<'a> {
        self.known.borrow_mut().insert(key.to_owned());
        let table = match self.table.and_then(|table| table.get(key)) {
            None => None,
            Some(Value::Table(table)) => Some(table),
            Some(other) => {
                self.document.report(self.path_of(key), format!("is a {}", other.type_str()), "a table");
                None
            }
        };
        Section::new(self.document, self.path_of(key), self.override_path_of(key), table)
    }

    /// The tables of an array of tables (`[[key]]`).
    #[must_use]
    pub fn sections(&self, key: &str) -> Vec<Section<'a>> {
        self.known.borrow_mut().insert(key.to_owned());
        let path = self.path_of(key);
        let items: &[Value] = match self.table.and_then(|table| table.get(key)) {
            None => &[],
            Some(Value::Array(items)) if items.iter().all(Value::is_table) => items,
            Some(other) => {
                let what = format!("is a {}", other.type_str());
                self.document.report(path, what, format!("tables, each under [[{key}]]"));
                return Vec::new();
            }
        };
        let section = |(i, value): (usize, &'a Value)| {
            let override_path = format!("{}.{i}", self.override_path_of(key));
            Section::new(self.document, format!("{path}[{i}]"), override_path, value.as_table())
        };
        items.iter().enumerate().map(section).collect()
    }

    /// The keys that stand in the file, for tables whose keys are the user's. They count as known.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        let keys: Vec<String> = self.table.map(|table| table.keys().cloned().collect()).unwrap_or_default();
        self.known.borrow_mut().extend(keys.iter().cloned());
        keys
    }

    /// A text, or nothing where the key is absent.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<String> {
        match self.take(key)? {
            Given::Environment(given) => Some(given.value.clone()),
            Given::File(Value::String(text)) => Some(text.clone()),
            Given::File(other) => self.wrong_type(key, other, "a text"),
        }
    }

    /// A text that must be there and not be empty. Where it is not, the problem is reported and the text is empty.
    #[must_use]
    pub fn required_text(&self, key: &str) -> String {
        let present = self.given(key).is_some();
        match self.text(key) {
            Some(text) if !text.is_empty() => text,
            found => {
                if found.is_some() || !present {
                    self.report(key, if present { "is empty" } else { "is missing" }, "a text");
                }
                String::new()
            }
        }
    }

    /// Texts: an array in the file, comma-separated in the environment.
    #[must_use]
    pub fn texts(&self, key: &str) -> Option<Vec<String>> {
        match self.take(key)? {
            Given::Environment(given) => Some(
                given.value.split(',').map(|item| item.trim().to_owned()).filter(|i| !i.is_empty()).collect(),
            ),
            Given::File(Value::Array(items)) if items.iter().all(Value::is_str) => {
                Some(items.iter().filter_map(Value::as_str).map(str::to_owned).collect())
            }
            Given::File(other) => self.wrong_type(key, other, "an array of texts"),
        }
    }

    /// A truth value.
    #[must_use]
    pub fn boolean_or(&self, key: &str, default: bool) -> bool {
        match self.take(key) {
            None => default,
            Some(Given::File(Value::Boolean(value))) => *value,
            Some(Given::File(other)) => self.wrong_type(key, other, "true or false").unwrap_or(default),
            Some(Given::Environment(given)) => given
                .value
                .parse()
                .unwrap_or_else(|_| self.wrong_value(key, &given.value, "true or false", default)),
        }
    }

    /// A whole number within a range.
    #[must_use]
    pub fn integer_or(&self, key: &str, default: u64, range: RangeInclusive<u64>) -> u64 {
        let allowed = format!("a whole number from {} to {}", range.start(), range.end());
        let value = match self.take(key) {
            None => return default,
            Some(Given::File(Value::Integer(value))) => i128::from(*value),
            Some(Given::File(other)) => return self.wrong_type(key, other, &allowed).unwrap_or(default),
            Some(Given::Environment(given)) => match given.value.parse::<i128>() {
                Ok(value) => value,
                Err(_) => return self.wrong_value(key, &given.value, &allowed, default),
            },
        };
        match u64::try_from(value) {
            Ok(fits) if range.contains(&fits) => fits,
            _ => self.wrong_value(key, &value.to_string(), &allowed, default),
        }
    }

    /// A number of milliseconds (the key ends in `_ms`) within a range.
    #[must_use]
    pub fn millis_or(&self, key: &str, default: u64, range: RangeInclusive<u64>) -> Duration {
        Duration::from_millis(self.integer_or(key, default, range))
    }

    /// A text that must parse, such as an address. `allowed` describes what parses.
    #[must_use]
    pub fn parsed<T: FromStr>(&self, key: &str, allowed: &str) -> Option<T>
    where
        T::Err: Display,
    {
        let text = self.text(key)?;
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.report(key, format!("{text:?}: {error}"), allowed);
                None
            }
        }
    }

    /// Path of a file that must exist and be readable.
    #[must_use]
    pub fn existing_file(&self, key: &str) -> Option<PathBuf> {
        let text = self.text(key)?;
        let path = self.document.resolve(&text);
        match std::fs::File::open(&path).and_then(|file| file.metadata()) {
            Ok(metadata) if metadata.is_file() => Some(path),
            Ok(_) => {
                self.report(key, format!("{text:?} is no file"), "a readable file");
                None
            }
            Err(error) => {
                self.report(key, format!("{text:?}: {error}"), "a readable file");
                None
            }
        }
    }

    /// A secret: from the file that `<key>_file` names, or from the environment's override of `key`. Never from the configuration.
    #[must_use]
    pub fn secret(&self, key: &str) -> Option<Secret> {
        let file_key = format!("{key}_file");
        let from_file = self.existing_file(&file_key).and_then(|path| match std::fs::read_to_string(&path) {
            Ok(text) => Some(Secret::new(text.trim_end_matches(['\r', '\n']).to_owned())),
            Err(error) => {
                self.report(&file_key, error.to_string(), "a readable text file");
                None
            }
        });
        match self.take(key) {
            None => from_file,
            Some(Given::Environment(given)) => Some(Secret::new(given.value.clone())),
            Some(Given::File(_)) => {
                let variable =
                    format!("MARKETPRISM_{}", self.override_path_of(key).replace('.', "__").to_uppercase());
                self.document.report(
                    self.path_of(key),
                    "is a secret in the configuration file",
                    format!("{file_key} with the path of a file, or the variable {variable}"),
                );
                from_file
            }
        }
    }

    fn override_path_of(&self, key: &str) -> String {
        if self.override_path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.override_path) }
    }

    fn given(&self, key: &str) -> Option<Given<'a>> {
        let path = self.override_path_of(key);
        match self.document.overrides.get(&path) {
            Some(given) => Some(Given::Environment(given)),
            None => self.table.and_then(|table| table.get(key)).map(Given::File),
        }
    }

    fn take(&self, key: &str) -> Option<Given<'a>> {
        self.known.borrow_mut().insert(key.to_owned());
        self.document.findings.borrow_mut().overrides_used.insert(self.override_path_of(key));
        self.given(key)
    }

    fn wrong_type<T>(&self, key: &str, found: &Value, allowed: &str) -> Option<T> {
        self.report(key, format!("is of type {}: {found}", found.type_str()), allowed);
        None
    }

    fn wrong_value<T>(&self, key: &str, found: &str, allowed: &str, default: T) -> T {
        self.report(key, format!("is {found:?}"), allowed);
        default
    }
}

impl Drop for Section<'_> {
    fn drop(&mut self) {
        let known = self.known.borrow();
        for key in self.table.into_iter().flat_map(|table| table.keys()) {
            if !known.contains(key) {
                let allowed: Vec<&str> = known.iter().map(String::as_str).collect();
                self.document.report(self.path_of(key), "is no known key", allowed.join(", "));
            }
        }
    }
}
