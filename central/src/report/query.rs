//! Query of a report: the period and the table that it covers.

use clap::Args;
use marketprism_schema::Table;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::time::{AGE_MAX_MS, ALLOWED_TIME, DAY_MS, Time};

/// Default period.
const DEFAULT_MS: i64 = DAY_MS;
/// Longest period: ledger tables are kept for 35 days by default.
const SPAN_MAX_MS: i64 = 92 * DAY_MS;

/// Parameters as given, over HTTP or on the command line.
#[derive(Debug, Clone, Default, Args, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ReportQuery {
    /// Begin: RFC 3339, or an age such as `90s`, `30m`, `24h`, `7d` [default: one day before `to`]
    #[arg(long)]
    #[param(example = "24h")]
    pub from: Option<String>,
    /// End, exclusive, at most 92 days after `from`: RFC 3339, an age, or `now` [default: now]
    #[arg(long)]
    #[param(example = "now")]
    pub to: Option<String>,
    /// Only this table and its streams
    #[arg(long)]
    #[param(example = "trades")]
    pub table: Option<String>,
    /// `json` or `html`; overrides the header Accept
    #[arg(skip)]
    #[param(example = "json")]
    pub format: Option<String>,
}

/// Period and table that a report covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Scope)]
pub struct ReportScope {
    /// Begin.
    pub from: Time,
    /// End, exclusive.
    pub to: Time,
    /// The only table covered; absent: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<&'static str>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {value:?} is not allowed (allowed: {allowed})")]
pub struct InvalidParameter {
    pub field: &'static str,
    pub value: String,
    pub allowed: String,
}

impl ReportScope {
    /// Relative times are cut to whole seconds, so that equal queries within a second share one report.
    pub fn read(query: &ReportQuery, now_ms: i64) -> Result<Self, InvalidParameter> {
        let now = now_ms.div_euclid(1_000) * 1_000;
        let to = read_time("to", query.to.as_deref(), now)?.unwrap_or(now);
        let from = read_time("from", query.from.as_deref(), now)?.unwrap_or_else(|| to - DEFAULT_MS);
        let refuse = |field, value: &Option<String>, allowed: String| {
            Err(InvalidParameter { field, value: value.clone().unwrap_or_default(), allowed })
        };
        if to > now + DAY_MS || to < now - AGE_MAX_MS {
            return refuse("to", &query.to, "at most one day ahead and ten years back".to_owned());
        }
        if from >= to {
            return refuse("from", &query.from, format!("a time before to, {}", Time(to)));
        }
        if to - from > SPAN_MAX_MS {
            let days = SPAN_MAX_MS / DAY_MS;
            return refuse("from", &query.from, format!("at most {days} days before to, {}", Time(to)));
        }
        let table = match query.table.as_deref() {
            None | Some("") => None,
            Some(name) => match Table::ALL.iter().find(|table| table.name == name) {
                Some(table) => Some(table.name),
                None => return refuse("table", &query.table, Table::ALL.map(|table| table.name).join(", ")),
            },
        };
        Ok(Self { from: Time(from), to: Time(to), table })
    }

    pub fn tables(&self) -> impl Iterator<Item = &'static Table> {
        let wanted = self.table;
        Table::ALL
            .iter()
            .map(|table| Table::of(table.data_type))
            .filter(move |table| wanted.is_none_or(|name| name == table.name))
    }

    /// SQL condition for the data type of the only table covered; empty for all.
    pub fn data_type_sql(&self) -> String {
        let table = self.tables().next().filter(|_| self.table.is_some());
        table.map(|table| format!(" AND data_type = '{}'", table.data_type)).unwrap_or_default()
    }

    pub fn span_ms(&self) -> i64 {
        self.to.0 - self.from.0
    }
}

fn read_time(field: &'static str, text: Option<&str>, now_ms: i64) -> Result<Option<i64>, InvalidParameter> {
    let Some(text) = text.map(str::trim).filter(|text| !text.is_empty()) else { return Ok(None) };
    Time::asked(text, now_ms).map(|time| Some(time.0)).ok_or_else(|| InvalidParameter {
        field,
        value: text.to_owned(),
        allowed: ALLOWED_TIME.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_763_828_645_007;

    fn read(from: &str, to: &str, table: &str) -> Result<ReportScope, InvalidParameter> {
        let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        ReportScope::read(
            &ReportQuery { from: some(from), to: some(to), table: some(table), format: None },
            NOW,
        )
    }

    #[test]
    fn ages_and_moments_are_read_and_an_empty_query_is_the_last_day() {
        let day = read("", "", "").unwrap();
        assert_eq!((day.span_ms(), day.tables().count()), (DAY_MS, 8));
        let hour = read("2h", "1h", "trades").unwrap();
        assert_eq!((hour.span_ms(), hour.table), (3_600_000, Some("trades")));
        let fixed = read("2025-11-22T00:00:00+01:00", "2025-11-22T00:00:00Z", "").unwrap();
        assert_eq!(fixed.span_ms(), 3_600_000);
    }

    #[test]
    fn invalid_parameters_are_refused_with_field_value_and_allowed_values() {
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
