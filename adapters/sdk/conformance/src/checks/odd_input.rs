//! Odd rows of lists, odd elements of frames, and values that are not set: each costs only itself.

use std::rc::Rc;

use marketprism_adapter_host::contract::{Answer, Event, Instrument, Payload, Remark};
use marketprism_adapter_sdk::testkit::OwnedFrame;
use serde_json::{Map, Value};

use crate::case::{Case, Cases, snippet};
use crate::market::Market;
use crate::report::{Check, Findings};
use crate::session::Session;

/// Longer answers and frames are left out: each is read many times.
const BYTES_MAX: usize = 300_000;
const FRAME_BYTES_MAX: usize = 5_000;
/// Rows of a list, frames of a case and members of each that are tried.
const ROWS: usize = 3;
const FRAMES: usize = 6;
const MEMBERS: usize = 24;

#[derive(Default)]
struct Tried {
    rows: usize,
    elements: usize,
    members: usize,
    sides: usize,
}

/// Damages one row, one element and one member at a time in golden answers and frames.
pub(crate) fn odd_input(cases: &Cases<'_>) -> Check {
    let promise =
        "loses only the row or element that is odd, and reads null, an empty string and no member alike";
    let mut findings = Findings::new("odd_input", promise);
    let mut tried = Tried::default();
    if let Some((market, _)) = &cases.start {
        tried.rows = rows(market, &mut findings);
    }
    for case in cases.cases.iter().filter(|case| !case.is_recording()) {
        for (frame, value) in frames(case) {
            let place = format!("{} `{}`", case.name, snippet(&frame.bytes));
            tried.elements += elements(&case.market, frame, &value, &place, &mut findings);
            tried.members += members(&case.market, frame, &value, &place, &mut findings);
            tried.sides += sides(&case.market, frame, &value, &place, &mut findings);
        }
    }
    let Tried { rows, elements, members, sides } = tried;
    if rows + elements + members + sides == 0 {
        return findings.skipped(super::NO_FRAMES);
    }
    findings
        .done(format!("{rows} rows, {elements} elements, {members} members and {sides} book sides made odd"))
}

/// Rows that lose a member one after the other: no refusal, and every other instrument stays as it was.
fn rows(market: &Market<'_>, findings: &mut Findings) -> usize {
    let mut tried = 0;
    for (position, answer) in market.answers.iter().enumerate() {
        let Ok(body) = serde_json::from_slice::<Value>(&answer.body) else { continue };
        let Some(list) = list_of(&body).filter(|_| answer.body.len() <= BYTES_MAX) else { continue };
        let listed = |body: &Value| {
            let mut answers: Vec<Answer> = market.answers.clone();
            if let Some(answer) = answers.get_mut(position) {
                answer.body = body.to_string().into_bytes();
            }
            market.instruments_from(&answers)
        };
        let Ok(before) = listed(&body) else { continue };
        for row in children(&body, &list).into_iter().take(ROWS) {
            for member in scalars(body.pointer(&row), &row).into_iter().take(MEMBERS) {
                tried += 1;
                let mut odd = body.clone();
                set(&mut odd, &member, Value::Null);
                match listed(&odd) {
                    Ok(after) if lost(&before, &after) <= 1 && lost(&after, &before) <= 1 => {}
                    Ok(_) => {
                        findings.cause(format!("a list with null at {member} changes other instruments"))
                    }
                    Err(error) => findings.cause(format!("a list with null at {member}: {error}")),
                }
            }
        }
    }
    tried
}

/// Instruments of `before` that `after` does not have.
fn lost(before: &[Instrument], after: &[Instrument]) -> usize {
    before.iter().filter(|one| !after.contains(one)).count()
}

/// An element that is nothing: the events of the frame are those without it.
fn elements(
    market: &Rc<Market<'_>>,
    frame: &OwnedFrame,
    value: &Value,
    place: &str,
    findings: &mut Findings,
) -> usize {
    let Some(list) = list_of(value).filter(|list| value.pointer(list).is_some_and(Value::is_array)) else {
        return 0;
    };
    let mut tried = 0;
    for element in children(value, &list).into_iter().take(ROWS) {
        let (mut without, mut odd) = (value.clone(), value.clone());
        remove(&mut without, &element);
        set(&mut odd, &element, Value::Object(Map::from_iter([("odd".to_owned(), Value::Null)])));
        let (Some(expected), Some(came)) = (read(market, frame, &without), read(market, frame, &odd)) else {
            continue;
        };
        tried += 1;
        if expected.events != came.events {
            let (came, expected) = (came.events.len(), expected.events.len());
            findings
                .cause(format!("{place}, an odd element at {element}: {came} events, expected {expected}"));
        }
    }
    tried
}

/// A member that may be missing may be null and empty as well.
fn members(
    market: &Rc<Market<'_>>,
    frame: &OwnedFrame,
    value: &Value,
    place: &str,
    findings: &mut Findings,
) -> usize {
    let Some(whole) = read(market, frame, value).filter(|whole| !whole.events.is_empty()) else { return 0 };
    let mut tried = 0;
    for member in scalars(Some(value), "").into_iter().take(MEMBERS) {
        let mut without = value.clone();
        remove(&mut without, &member);
        let Some(missing) = read(market, frame, &without) else { continue };
        if missing.is_malformed || missing.events.len() != whole.events.len() {
            continue;
        }
        tried += 1;
        for unset in [Value::Null, Value::String(String::new())] {
            let mut odd = value.clone();
            set(&mut odd, &member, unset.clone());
            if read(market, frame, &odd).is_none_or(|came| came != missing) {
                findings.cause(format!("{place}, {unset} at {member} is not read as if it were missing"));
            }
        }
    }
    tried
}

/// A side of a book that is null or missing is an empty one, while the other side is there.
fn sides(
    market: &Rc<Market<'_>>,
    frame: &OwnedFrame,
    value: &Value,
    place: &str,
    findings: &mut Findings,
) -> usize {
    let with = |side: &str, levels: Option<Value>| {
        let mut odd = value.clone();
        match levels {
            Some(levels) => set(&mut odd, side, levels),
            None => remove(&mut odd, side),
        }
        read(market, frame, &odd)
    };
    // A list whose end leaves nothing of the book is not a side.
    let emptied = |side: String| {
        let empty = with(&side, Some(Value::Array(Vec::new()))).filter(FrameResult::has_book)?;
        Some((side, empty))
    };
    let found: Vec<(String, FrameResult)> = lists(value, "").into_iter().filter_map(emptied).collect();
    let book = |side: &str| side.rsplit_once('/').map(|(book, _)| book.to_owned());
    let mut tried = 0;
    for (side, empty) in &found {
        if found.iter().filter(|(other, _)| book(other) == book(side)).count() < 2 {
            continue;
        }
        tried += 1;
        for (name, odd) in [("null", Some(Value::Null)), ("missing", None)] {
            if with(side, odd).is_none_or(|came| came != *empty) {
                findings.cause(format!("{place}, a {name} side at {side} is not read as an empty one"));
            }
        }
    }
    tried
}

#[derive(PartialEq)]
struct FrameResult {
    events: Vec<Event>,
    levels: Vec<i64>,
    is_malformed: bool,
}

impl FrameResult {
    fn has_book(&self) -> bool {
        !self.is_malformed && self.events.iter().any(|event| matches!(event.payload, Payload::Book(_)))
    }
}

/// The result of one frame in a new instance.
fn read(market: &Market<'_>, frame: &OwnedFrame, value: &Value) -> Option<FrameResult> {
    let frame = OwnedFrame { bytes: value.to_string().into_bytes(), ..frame.clone() };
    let normalized = Session::open(market).ok()?.normalize(std::slice::from_ref(&frame), 1).ok()?;
    let is_malformed = normalized.notes.iter().any(|note| matches!(note.remark, Remark::Malformed(_)));
    Some(FrameResult { events: normalized.events, levels: normalized.levels, is_malformed })
}

/// Some frames with events of a case, no two of one shape, with the value that they hold.
fn frames<'c>(case: &'c Case<'_>) -> Vec<(&'c OwnedFrame, Value)> {
    let mut chosen: Vec<(&OwnedFrame, Value)> = Vec::new();
    let mut shapes = Vec::new();
    for frame in case.frames.iter().filter(|frame| frame.bytes.len() <= FRAME_BYTES_MAX) {
        let Ok(value) = serde_json::from_slice::<Value>(&frame.bytes) else { continue };
        let Some(result) = read(&case.market, frame, &value) else { continue };
        let kinds: Vec<_> = result.events.iter().map(|event| event.payload.data_type()).collect();
        let shape = (frame.source, kinds, scalars(Some(&value), "").len());
        if !result.events.is_empty() && !shapes.contains(&shape) {
            shapes.push(shape);
            chosen.push((frame, value));
        }
        if chosen.len() == FRAMES {
            break;
        }
    }
    chosen
}

/// Pointer of the list nearest to the root: an array, or an object of objects, of two members or more.
fn list_of(value: &Value) -> Option<String> {
    let mut level = vec![String::new()];
    while !level.is_empty() {
        let is_list = |path: &&String| match value.pointer(path) {
            Some(Value::Array(items)) => items.len() >= 2 && items.iter().all(Value::is_object),
            Some(Value::Object(members)) => members.len() >= 2 && members.values().all(Value::is_object),
            _ => false,
        };
        if let Some(list) = level.iter().find(is_list) {
            return Some(list.clone());
        }
        // An array of something else is data, not a list of rows.
        let deeper = level.iter().filter(|path| value.pointer(path).is_some_and(Value::is_object));
        level = deeper.flat_map(|path| children(value, path)).collect();
    }
    None
}

/// Pointers of the direct members or elements.
fn children(value: &Value, path: &str) -> Vec<String> {
    let escaped = |key: &String| key.replace('~', "~0").replace('/', "~1");
    match value.pointer(path) {
        Some(Value::Array(items)) => (0..items.len()).map(|index| format!("{path}/{index}")).collect(),
        Some(Value::Object(members)) => {
            members.keys().map(|key| format!("{path}/{}", escaped(key))).collect()
        }
        _ => Vec::new(),
    }
}

/// Pointers of all members of objects below `path` that are neither objects nor arrays.
fn scalars(value: Option<&Value>, path: &str) -> Vec<String> {
    let Some(value) = value else { return Vec::new() };
    let below = children(value, "");
    let mut found = Vec::new();
    for child in below {
        let at = format!("{path}{child}");
        match value.pointer(&child) {
            Some(inner @ (Value::Object(_) | Value::Array(_))) => found.extend(scalars(Some(inner), &at)),
            Some(_) if value.is_object() => found.push(at),
            _ => {}
        }
    }
    found
}

/// Pointers of all arrays that are members of objects.
fn lists(value: &Value, path: &str) -> Vec<String> {
    let mut found = Vec::new();
    for child in children(value, "") {
        let Some(inner) = value.pointer(&child) else { continue };
        let at = format!("{path}{child}");
        if value.is_object() && inner.is_array() {
            found.push(at.clone());
        }
        found.extend(lists(inner, &at));
    }
    found
}

fn set(value: &mut Value, path: &str, to: Value) {
    if let Some(place) = value.pointer_mut(path) {
        *place = to;
    }
}

fn remove(value: &mut Value, path: &str) {
    let Some((parent, key)) = path.rsplit_once('/') else { return };
    match value.pointer_mut(parent) {
        Some(Value::Object(members)) => {
            members.remove(&key.replace("~1", "/").replace("~0", "~"));
        }
        Some(Value::Array(items)) => {
            if let Ok(index) = key.parse::<usize>()
                && index < items.len()
            {
                items.remove(index);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rows_and_members_are_found_changed_and_removed() {
        let value =
            json!({"code": 0, "data": {"rows": [{"a": 1, "b": [{"c": "x"}]}, {"a": null}]}, "e": [1, 2]});
        let list = list_of(&value).unwrap();
        assert_eq!((list.as_str(), children(&value, &list).len()), ("/data/rows", 2));
        assert_eq!(
            scalars(value.pointer("/data"), "/data"),
            ["/data/rows/0/a", "/data/rows/0/b/0/c", "/data/rows/1/a"]
        );
        let mut changed = value.clone();
        set(&mut changed, "/data/rows/0/b/0/c", Value::Null);
        remove(&mut changed, "/data/rows/1");
        assert_eq!(changed["data"], json!({"rows": [{"a": 1, "b": [{"c": null}]}]}));
        assert_eq!(list_of(&json!({"result": {"A/B": {}, "C": {}}})).as_deref(), Some("/result"));
        assert_eq!(list_of(&json!({"bids": [[1, 2], [3, 4]]})), None);
        assert_eq!(lists(&json!({"data": [{"bids": [[1, 2]], "n": 1}]}), ""), ["/data", "/data/0/bids"]);
    }
}
