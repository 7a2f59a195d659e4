//! The key reference of a README, generated from the configuration's type.

use std::fmt::Write as _;
use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value as Json;

use crate::validate::{allowed, inner, is, schema_of, type_of};

const BEGIN: &str =
    "<!-- Generated from the configuration's types; the test `key_reference` rewrites it. -->\n";
const END: &str = "<!-- End of the generated part. -->\n";

/// A table of every key with its default, allowed values and meaning.
pub fn key_reference<T: JsonSchema + Serialize + Default>() -> String {
    let schema = schema_of::<T>();
    let defaults = serde_json::to_value(T::default()).unwrap_or_default();
    let mut out = "| key | default | allowed | meaning |\n|---|---|---|---|\n".to_owned();
    rows(&schema, Some(&defaults), "", &mut out);
    out
}

/// Compares the generated part of a README with the types. Where it differs the file is rewritten, and the error says so.
pub fn check_readme<T: JsonSchema + Serialize + Default>(path: &Path) -> Result<(), String> {
    check_generated(path, (BEGIN, END), &key_reference::<T>())
}

/// Compares the part of a README between two lines with `wanted`. Where it differs the file is rewritten, and the error says so.
pub fn check_generated(path: &Path, (begin, end): (&str, &str), wanted: &str) -> Result<(), String> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| format!("{shown}: {error}"))?;
    let parts = text.split_once(begin).and_then(|(before, rest)| Some((before, rest.split_once(end)?)));
    let (before, (found, after)) = parts.ok_or_else(|| format!("{shown} does not have {begin} and {end}"))?;
    if found == wanted {
        return Ok(());
    }
    std::fs::write(path, format!("{before}{begin}{wanted}{end}{after}"))
        .map_err(|error| format!("{shown}: {error}"))?;
    Err(format!("the part of {shown} after {begin} was out of date; it is rewritten: commit it"))
}

fn rows(schema: &Json, defaults: Option<&Json>, path: &str, out: &mut String) {
    let members = schema.get("properties").and_then(Json::as_object);
    for (name, described) in members.into_iter().flatten() {
        let member = inner(described);
        let key = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let default = defaults.and_then(|defaults| defaults.get(name)).or_else(|| described.get("default"));
        let item = member.get("items").filter(|item| type_of(item) == "object");
        if let Some(item) = item {
            rows(item, None, &format!("[[{key}]] "), out);
        } else if member.get("properties").is_some() {
            rows(member, default, &key, out);
        } else {
            row(member, described, default, &key.replace("]] .", "]] "), out);
        }
    }
}

fn row(member: &Json, described: &Json, default: Option<&Json>, key: &str, out: &mut String) {
    let is_map = member.get("additionalProperties").is_some_and(Json::is_object);
    let key = match (is_map, is(member, "x-secret")) {
        (true, _) => format!("{key}.<name>"),
        (_, true) => format!("{key}_file"),
        _ => key.to_owned(),
    };
    let default = match default {
        _ if is(member, "x-required") => "required".to_owned(),
        Some(Json::String(text)) if !text.is_empty() => format!("`{text}`"),
        Some(Json::Array(items)) if !items.is_empty() => {
            let items: Vec<&str> = items.iter().filter_map(Json::as_str).collect();
            format!("`{}`", items.join(", "))
        }
        Some(value @ (Json::Number(_) | Json::Bool(_))) => value.to_string(),
        _ => "none".to_owned(),
    };
    let text = described.get("description").or_else(|| member.get("description"));
    let meaning = text.and_then(Json::as_str).unwrap_or_default().replace('\n', " ");
    let allowed = if is(member, "x-secret") { "a readable file".to_owned() } else { allowed(member) };
    let _ = writeln!(out, "| `{key}` | {default} | {} | {meaning} |", allowed.replace('|', "\\|"));
}
