//! What a report is asked about.

use marketprism_schema::Table;
use serde::Serialize;
use utoipa::ToSchema;

use crate::time::{AGE_MAX_MS, ALLOWED_TIME, DAY_MS, Time};

/// Without a wish: the last day.
const DEFAULT_MS: i64 = DAY_MS;
/// Longest span of a report: ledger tables live 35 days by default.
const SPAN_MAX_MS: i64 = 92 * DAY_MS;

/// The wish as it was asked.
#[derive(Debug, Clone, Default)]
pub struct Wish {
    /// Begin: RFC 3339 or an age such as `90s`, `30m`, `24h`, `7d`. Default: one day before `to`.
    pub from: Option<String>,
    /// End, exclusive: RFC 3339, an age, or `now`. Default: now.
    pub to: Option<String>,
    /// Only this table and its streams.
    pub table: Option<String>,
}

/// What the report is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct Scope {
    /// Begin.
    pub from: Time,
    /// End, exclusive.
    pub to: Time,
    /// The table it is limited to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<&'static str>,
}

/// A wish that cannot be fulfilled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {value:?} is not allowed (allowed: {allowed})")]
pub struct BadWish {
    /// The parameter.
    pub field: &'static str,
    /// Its value.
    pub value: String,
    /// What is allowed.
    pub allowed: String,
}

impl Scope {
    /// Reads a wish. Times without a fixed end move with the clock, so they are cut to whole seconds: equal wishes within a second
    /// are one report.
    pub fn read(wish: &Wish, now_ms: i64) -> Result<Self, BadWish> {
        let now = now_ms.div_euclid(1_000) * 1_000;
        let to = read_time("to", wish.to.as_deref(), now)?.unwrap_or(now);
        let from = read_time("from", wish.from.as_deref(), now)?.unwrap_or_else(|| to - DEFAULT_MS);
        let refuse = |field, value: &Option<String>, allowed: String| {
            Err(BadWish { field, value: value.clone().unwrap_or_default(), allowed })
        };
        if to > now + DAY_MS || to < now - AGE_MAX_MS {
            return refuse("to", &wish.to, "at most one day ahead and ten years back".to_owned());
        }
        if from >= to {
            return refuse("from", &wish.from, format!("a time before to, {}", Time(to)));
        }
        if to - from > SPAN_MAX_MS {
            let days = SPAN_MAX_MS / DAY_MS;
            return refuse("from", &wish.from, format!("at most {days} days before to, {}", Time(to)));
        }
        let table = match wish.table.as_deref() {
            None | Some("") => None,
            Some(name) => match Table::ALL.iter().find(|table| table.name == name) {
                Some(table) => Some(table.name),
                None => return refuse("table", &wish.table, Table::ALL.map(|table| table.name).join(", ")),
            },
        };
        Ok(Self { from: Time(from), to: Time(to), table })
    }

    /// The tables it is about.
    pub fn tables(&self) -> impl Iterator<Item = &'static Table> {
        let wanted = self.table;
        Table::ALL
            .iter()
            .map(|table| Table::of(table.data_type))
            .filter(move |table| wanted.is_none_or(|name| name == table.name))
    }

    /// Milliseconds from begin to end.
    pub fn span_ms(&self) -> i64 {
        self.to.0 - self.from.0
    }
}

fn read_time(field: &'static str, text: Option<&str>, now_ms: i64) -> Result<Option<i64>, BadWish> {
    let Some(text) = text.map(str::trim).filter(|text| !text.is_empty()) else { return Ok(None) };
    Time::asked(text, now_ms).map(|time| Some(time.0)).ok_or_else(|| BadWish {
        field,
        value: text.to_owned(),
        allowed: ALLOWED_TIME.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_763_828_645_007;

    fn read(from: &str, to: &str, table: &str) -> Result<Scope, BadWish> {
        let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        Scope::read(&Wish { from: some(from), to: some(to), table: some(table) }, NOW)
    }

    /// Goal: ages and moments mean what they say, and an empty wish is the last day of everything.
    #[test]
    fn wishes_are_read() {
        let day = read("", "", "").unwrap();
        assert_eq!((day.span_ms(), day.tables().count()), (DAY_MS, 8));
        let hour = read("2h", "1h", "trades").unwrap();
        assert_eq!((hour.span_ms(), hour.table), (3_600_000, Some("trades")));
        let fixed = read("2025-11-22T00:00:00+01:00", "2025-11-22T00:00:00Z", "").unwrap();
        assert_eq!(fixed.span_ms(), 3_600_000);
    }

    /// Goal: every bad wish is refused by the name of its field, its value and what is allowed.
    #[test]
    fn bad_wishes_are_named() {
        let bad = [
            ("x", "", "", "from"),
            ("", "99999999999999999999d", "", "to"),
            ("1h", "2h", "", "from"),
            ("400d", "", "", "from"),
            ("", "2027-01-01T00:00:00Z", "", "to"),
            ("", "", "trades; DROP", "table"),
            ("-5h", "", "", "from"),
            ("\u{20ac}", "", "", "from"),
        ];
        for (from, to, table, field) in bad {
            let error = read(from, to, table).unwrap_err();
            assert_eq!(error.field, field, "{error}");
            assert!(!error.allowed.is_empty());
        }
    }
}
