//! A document against the schema of its type: every error is reported, wrong values are left out.
//!
//! Keywords beyond JSON schema: `x-required`, `x-file` (a readable file), `x-address` (host and port), `x-url` (masked in errors)
//! with `x-schemes`, `x-secret` (from the environment or the file that `<key>_file` names), `x-allowed` (text for errors).

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;

use marketprism_service::{open_file, read_text};
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value as Json};
use toml::Value as Toml;

use crate::document::{Document, Override, Problems};
use crate::masked_url::MaskedUrl;
use crate::problem::UNKNOWN_KEY;

/// Largest file of a secret; a token has some ten bytes, a JWT some kilobytes.
const SECRET_BYTES_MAX: u64 = 64 << 10;

impl Document {
    /// Validates the document against a type and reads it. Wrong values read as their defaults and are among the problems; the caller
    /// adds what its own rules find and ends with [`Problems::finish`].
    pub fn read<T: DeserializeOwned + Serialize + Default + JsonSchema>(&self) -> (T, Problems<'_>) {
        let mut problems = Problems::new(self);
        let schema = schema_of::<T>();
        let given = Validator::new(self, &mut problems).document(&schema, &self.table);
        let mut whole = serde_json::to_value(T::default()).unwrap_or_default();
        merge(&mut whole, given);
        let value = serde_json::from_value(whole).unwrap_or_else(|error| {
            problems.report("", error.to_string(), "");
            T::default()
        });
        (value, problems)
    }
}

fn merge(into: &mut Json, given: Json) {
    match (into, given) {
        (Json::Object(into), Json::Object(given)) => {
            for (key, value) in given {
                merge(into.entry(key).or_insert(Json::Null), value);
            }
        }
        (into, given) => *into = given,
    }
}

pub(crate) fn schema_of<T: JsonSchema>() -> Json {
    let settings = SchemaSettings::draft2020_12().with(|s| s.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<T>().to_value()
}

struct Validator<'v, 'a> {
    document: &'a Document,
    problems: &'v mut Problems<'a>,
    overrides_used: BTreeSet<String>,
}

/// A key as it is in messages (`feed[0].depth`) and in overrides (`feed.0.depth`).
struct KeyPath {
    shown: String,
    key: String,
}

impl KeyPath {
    fn child(&self, name: &str) -> Self {
        let join =
            |parent: &str| if parent.is_empty() { name.to_owned() } else { format!("{parent}.{name}") };
        Self { shown: join(&self.shown), key: join(&self.key) }
    }

    fn item(&self, index: usize) -> Self {
        Self { shown: format!("{}[{index}]", self.shown), key: format!("{}.{index}", self.key) }
    }
}

enum GivenValue<'a> {
    File(&'a Toml),
    Environment(&'a Override),
}

impl<'v, 'a> Validator<'v, 'a> {
    const fn new(document: &'a Document, problems: &'v mut Problems<'a>) -> Self {
        Self { document, problems, overrides_used: BTreeSet::new() }
    }

    /// The valid values of the document, and the errors of all others.
    fn document(mut self, schema: &Json, table: &'a toml::Table) -> Json {
        let root = KeyPath { shown: String::new(), key: String::new() };
        let values = self.table(schema, Some(table), &root);
        self.problems.list.extend(self.document.unused_overrides(&self.overrides_used));
        Json::Object(values)
    }

    fn table(&mut self, schema: &Json, table: Option<&'a toml::Table>, at: &KeyPath) -> Map<String, Json> {
        let none = Map::new();
        let properties = schema.get("properties").and_then(Json::as_object).unwrap_or(&none);
        let open = schema.get("additionalProperties").filter(|schema| schema.is_object());
        let mut members: BTreeMap<&str, &Json> =
            properties.iter().map(|(name, schema)| (name.as_str(), inner(schema))).collect();
        if let Some(schema) = open {
            members.extend(table.into_iter().flat_map(toml::Table::keys).map(|key| (key.as_str(), schema)));
        }
        let mut values = Map::new();
        for (name, schema) in &members {
            let found = table.and_then(|table| table.get(*name));
            if let Some(value) = self.member(schema, found, table, &at.child(name)) {
                values.insert((*name).to_owned(), value);
            }
        }
        let known: BTreeSet<String> = members
            .iter()
            .map(
                |(name, schema)| {
                    if is(schema, "x-secret") { format!("{name}_file") } else { (*name).to_owned() }
                },
            )
            .collect();
        for key in table.into_iter().flat_map(toml::Table::keys) {
            if !known.contains(key) && !members.contains_key(key.as_str()) {
                self.problems.report(&at.child(key).shown, UNKNOWN_KEY, suggestion(key, &known));
            }
        }
        values
    }

    fn member(
        &mut self,
        schema: &Json,
        found: Option<&'a Toml>,
        table: Option<&'a toml::Table>,
        at: &KeyPath,
    ) -> Option<Json> {
        if is(schema, "x-secret") {
            return self.secret(schema, found, table, at);
        }
        match type_of(schema) {
            "object" => {
                let inside = match found {
                    Some(Toml::Table(inside)) => Some(inside),
                    Some(other) => {
                        self.wrong_type(at, other, "a table");
                        None
                    }
                    None => None,
                };
                Some(Json::Object(self.table(schema, inside, at)))
            }
            "array" if schema.get("items").is_some_and(|item| type_of(item) == "object") => {
                self.tables(schema, found, at)
            }
            _ => self.required_leaf(schema, found, at),
        }
    }

    fn tables(&mut self, schema: &Json, found: Option<&'a Toml>, at: &KeyPath) -> Option<Json> {
        let item = schema.get("items")?;
        match found {
            Some(Toml::Array(items)) if !items.is_empty() && items.iter().all(Toml::is_table) => {
                let tables = items.iter().enumerate();
                let read =
                    tables.map(|(i, value)| Json::Object(self.table(item, value.as_table(), &at.item(i))));
                return Some(Json::Array(read.collect()));
            }
            Some(other) if other.as_array().is_none_or(|items| !items.is_empty()) => {
                self.wrong_type(at, other, &format!("tables, each under [[{}]]", at.shown));
            }
            _ if is(schema, "x-required") => {
                self.problems.report(&at.shown, "is missing", format!("at least one [[{}]]", at.shown));
            }
            _ => {}
        }
        None
    }

    fn required_leaf(&mut self, schema: &Json, found: Option<&'a Toml>, at: &KeyPath) -> Option<Json> {
        let required = is(schema, "x-required");
        let Some(given) = self.given(schema, found, at) else {
            let what = if type_of(schema) == "array" { "is missing or empty" } else { "is missing" };
            if required {
                self.problems.report(&at.shown, what, allowed(schema));
            }
            return None;
        };
        let value = self.leaf(schema, &given, at)?;
        if required && value.as_str() == Some("") {
            self.problems.report(&at.shown, "is empty", allowed(schema));
        }
        Some(value)
    }

    /// An empty variable replaces a text or a list. That of another value is one that nobody set, as compose files pass it on.
    fn given(&mut self, schema: &Json, found: Option<&'a Toml>, at: &KeyPath) -> Option<GivenValue<'a>> {
        self.overrides_used.insert(at.key.clone());
        let Some(given) = self.document.overrides.get(&at.key) else { return found.map(GivenValue::File) };
        if given.value.is_empty() && !may_be_empty(schema) {
            self.problems.unset.insert(at.key.clone());
            return found.map(GivenValue::File);
        }
        Some(GivenValue::Environment(given))
    }

    fn leaf(&mut self, schema: &Json, given: &GivenValue<'a>, at: &KeyPath) -> Option<Json> {
        match type_of(schema) {
            "integer" => self.integer(schema, given, at),
            "boolean" => match given {
                GivenValue::File(Toml::Boolean(value)) => Some(Json::Bool(*value)),
                GivenValue::Environment(given) if given.value.parse::<bool>().is_ok() => {
                    Some(Json::Bool(given.value == "true"))
                }
                _ => self.refuse(schema, given, at),
            },
            "array" => self.list(schema, given, at),
            _ => match given {
                GivenValue::File(Toml::String(text)) => self.text(schema, text, at),
                GivenValue::Environment(given) => self.text(schema, &given.value, at),
                GivenValue::File(_) => self.refuse(schema, given, at),
            },
        }
    }

    fn integer(&mut self, schema: &Json, given: &GivenValue<'a>, at: &KeyPath) -> Option<Json> {
        let value = match given {
            GivenValue::File(Toml::Integer(value)) => i128::from(*value),
            GivenValue::Environment(text) if text.value.parse::<i128>().is_ok() => text.value.parse().ok()?,
            _ => return self.refuse(schema, given, at),
        };
        let (least, most) = bounds(schema);
        if value < i128::from(least) || value > i128::from(most) {
            self.problems.report(&at.shown, format!("is {value}"), allowed(schema));
            return None;
        }
        u64::try_from(value).ok().map(Json::from)
    }

    /// An array in the file, comma-separated in the environment.
    fn list(&mut self, schema: &Json, given: &GivenValue<'a>, at: &KeyPath) -> Option<Json> {
        let items: Vec<&str> = match given {
            GivenValue::File(Toml::Array(items)) if items.iter().all(Toml::is_str) => {
                items.iter().filter_map(Toml::as_str).collect()
            }
            GivenValue::Environment(given) => {
                given.value.split(',').map(str::trim).filter(|item| !item.is_empty()).collect()
            }
            GivenValue::File(_) => return self.refuse(schema, given, at),
        };
        if items.is_empty() && is(schema, "x-required") {
            self.problems.report(&at.shown, "is missing or empty", allowed(schema));
        }
        let names = schema.get("items").map(names).unwrap_or_default();
        let mut values: Vec<&str> = Vec::new();
        for item in items {
            if !names.is_empty() && !names.contains(&item) {
                self.problems.report(&at.shown, format!("names {item:?}"), names.join(", "));
            } else if is(schema, "uniqueItems") && values.contains(&item) {
                self.problems.report(&at.shown, format!("names {item:?} twice"), "each once");
            } else {
                values.push(item);
            }
        }
        Some(Json::from(values))
    }

    fn text(&mut self, schema: &Json, text: &str, at: &KeyPath) -> Option<Json> {
        let names = names(schema);
        if !names.is_empty() && !names.contains(&text) {
            self.problems.report(&at.shown, format!("is {text:?}"), names.join(", "));
            return None;
        }
        if text.is_empty() && schema.get("minLength").is_some() {
            self.problems.report(&at.shown, "is empty", allowed(schema));
            return None;
        }
        let schemes = texts(schema, "x-schemes");
        if !schemes.is_empty()
            && let Err(error) = MaskedUrl::from(text).parse(&schemes)
        {
            self.problems.report(&at.shown, format!("{:?}: {error}", MaskedUrl::from(text)), allowed(schema));
            return None;
        }
        if is(schema, "x-address")
            && let Err(error) = text.parse::<SocketAddr>()
        {
            self.problems.report(&at.shown, format!("{text:?}: {error}"), allowed(schema));
            return None;
        }
        if is(schema, "x-file") {
            let path = self.document.resolve(text);
            if let Err(error) = open_file(&path) {
                self.problems.report(&at.shown, format!("{text:?}: {error}"), "a readable file");
                return None;
            }
            return Some(Json::from(path.to_string_lossy()));
        }
        Some(Json::from(text))
    }

    fn secret(
        &mut self,
        schema: &Json,
        found: Option<&Toml>,
        table: Option<&'a toml::Table>,
        at: &KeyPath,
    ) -> Option<Json> {
        let file_at = KeyPath { shown: format!("{}_file", at.shown), key: format!("{}_file", at.key) };
        let name = file_at.shown.rsplit('.').next().unwrap_or_default().to_owned();
        let file_schema = serde_json::json!({ "type": "string", "x-file": true });
        let given = self.given(&file_schema, table.and_then(|table| table.get(&name)), &file_at);
        let path = given.and_then(|given| self.leaf(&file_schema, &given, &file_at));
        let from_file = path.as_ref().and_then(Json::as_str).and_then(|path| {
            let text = read_text(Path::new(path), SECRET_BYTES_MAX);
            let text = text.map(|text| text.trim_end_matches(['\r', '\n']).to_owned());
            text.map_err(|error| {
                self.problems.report(&file_at.shown, error.to_string(), "a readable text file")
            })
            .ok()
        });
        if found.is_some() {
            let variable = format!("MARKETPRISM_{}", at.key.replace('.', "__").to_uppercase());
            let allowed = format!("{name} with the path of a file, or the variable {variable}");
            self.problems.report(&at.shown, "is a secret in the configuration file", allowed);
        }
        match self.given(schema, None, at) {
            Some(GivenValue::Environment(given)) => Some(Json::from(given.value.as_str())),
            _ => from_file.map(Json::from),
        }
    }

    fn refuse(&mut self, schema: &Json, given: &GivenValue<'a>, at: &KeyPath) -> Option<Json> {
        match given {
            GivenValue::File(found) if holds_urls(schema) => {
                self.problems.report(&at.shown, format!("is of type {}", found.type_str()), allowed(schema));
            }
            GivenValue::File(found) => self.wrong_type(at, found, &allowed(schema)),
            GivenValue::Environment(given) => {
                self.problems.report(&at.shown, format!("is {:?}", given.value), allowed(schema));
            }
        }
        None
    }

    fn wrong_type(&mut self, at: &KeyPath, found: &Toml, allowed: &str) {
        self.problems.report(&at.shown, format!("is of type {}: {found}", found.type_str()), allowed);
    }
}

fn may_be_empty(schema: &Json) -> bool {
    let is_bound =
        ["x-secret", "x-file", "x-address", "minLength"].iter().any(|rule| schema.get(rule).is_some());
    match type_of(schema) {
        "array" => true,
        "string" => !is_bound && names(schema).is_empty(),
        _ => false,
    }
}

fn suggestion(key: &str, known: &BTreeSet<String>) -> String {
    let near = known.iter().map(|name| (strsim::osa_distance(key, name), name)).min();
    match near {
        Some((distance, name)) if distance <= 1 + key.len() / 4 => format!("did you mean `{name}`?"),
        _ => format!("allowed: {}", known.iter().map(String::as_str).collect::<Vec<_>>().join(", ")),
    }
}

/// The schema of an optional value is that of the value.
pub(crate) fn inner(schema: &Json) -> &Json {
    let choices = schema.get("anyOf").and_then(Json::as_array);
    choices.and_then(|choices| choices.iter().find(|choice| type_of(choice) != "null")).unwrap_or(schema)
}

/// An address, or a list of addresses: the value must not show.
fn holds_urls(schema: &Json) -> bool {
    is(schema, "x-url") || schema.get("items").is_some_and(|item| is(item, "x-url"))
}

fn texts<'s>(schema: &'s Json, keyword: &str) -> Vec<&'s str> {
    schema.get(keyword).and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str).collect()
}

pub(crate) fn is(schema: &Json, keyword: &str) -> bool {
    schema.get(keyword).and_then(Json::as_bool).unwrap_or(false)
}

pub(crate) fn type_of(schema: &Json) -> &str {
    match schema.get("type") {
        Some(Json::Array(types)) => types.first().and_then(Json::as_str).unwrap_or_default(),
        Some(Json::String(one)) => one,
        _ => "",
    }
}

/// The values of a closed set.
pub(crate) fn names(schema: &Json) -> Vec<&str> {
    let listed = schema.get("enum").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str);
    let choices = schema.get("oneOf").and_then(Json::as_array).into_iter().flatten();
    let constants = choices.clone().filter_map(|choice| choice.get("const").and_then(Json::as_str));
    let nested = choices.filter_map(|choice| choice.get("enum").and_then(Json::as_array)).flatten();
    listed.chain(constants).chain(nested.filter_map(Json::as_str)).collect()
}

fn bounds(schema: &Json) -> (u64, u64) {
    let bound = |keyword, default| schema.get(keyword).and_then(Json::as_u64).unwrap_or(default);
    (bound("minimum", 0), bound("maximum", i64::MAX.unsigned_abs()))
}

/// The values allowed, in words.
pub(crate) fn allowed(schema: &Json) -> String {
    if let Some(text) = schema.get("x-allowed").and_then(Json::as_str) {
        return text.to_owned();
    }
    let names = names(schema);
    match type_of(schema) {
        _ if !names.is_empty() => names.join(", "),
        "integer" => {
            let (least, most) = bounds(schema);
            format!("a whole number from {least} to {most}")
        }
        "boolean" => "true or false".to_owned(),
        "array" => match schema.get("items").map(self::names) {
            Some(names) if !names.is_empty() => names.join(", "),
            _ => "an array of texts".to_owned(),
        },
        _ if !texts(schema, "x-schemes").is_empty() => {
            let form = |scheme: &&str| format!("{scheme}://host[:port]");
            texts(schema, "x-schemes").iter().map(form).collect::<Vec<_>>().join(" or ")
        }
        _ if is(schema, "x-url") => "an address".to_owned(),
        _ if is(schema, "x-address") => "an address and port such as 127.0.0.1:8087".to_owned(),
        _ if is(schema, "x-file") => "a readable file".to_owned(),
        _ => "a text".to_owned(),
    }
}
