//! Period of a report: query parameters, scope, time buckets, freshness of data types.

use std::time::Duration;

use clap::Args;
use marketprism_schema::{DataType, Table};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::time::{AGE_MAX_MS, DAY_MS, InvalidParameter, Time, read_time};

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

impl ReportQuery {
    /// Equal for queries of the same report, spelled in full or left out.
    pub fn question(&self) -> String {
        let given = |text: &Option<String>, default: &str| {
            let text = text.as_deref().map(str::trim).filter(|text| !text.is_empty());
            text.unwrap_or(default).to_owned()
        };
        let to = given(&self.to, "now");
        // Before another end the default begin is no age.
        let day = if to == "now" { "24h" } else { "" };
        let from = given(&self.from, day);
        let from = if from == "1d" { "24h".to_owned() } else { from };
        format!("{from} {to} {}", given(&self.table, ""))
    }
}

/// Period and table that a report covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Scope)]
pub struct ReportScope {
    pub from: Time,
    /// End, exclusive.
    pub to: Time,
    /// The only table covered; absent: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<&'static str>,
}

impl ReportScope {
    /// Relative times are cut to whole seconds, so that equal queries within a second share one report.
    pub fn read(query: &ReportQuery, now_ms: i64) -> Result<Self, InvalidParameter> {
        let now = now_ms.div_euclid(1_000) * 1_000;
        let to = read_time("to", query.to.as_deref(), now)?.unwrap_or(now);
        let from = read_time("from", query.from.as_deref(), now)?.unwrap_or_else(|| to - DEFAULT_MS);
        let refuse = |field, value: &Option<String>, allowed: String| {
            Err(InvalidParameter::new(field, value.as_deref(), allowed))
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

/// Most buckets of a heatmap: what fits on a phone.
const BUCKETS_MAX: i64 = 120;
/// Allowed lengths in seconds: whole windows that divide, or are multiples of, an hour.
const LENGTHS: [i64; 14] =
    [60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 14_400, 21_600, 43_200, 86_400, 172_800];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeBuckets {
    pub start_ms: i64,
    pub seconds: i64,
    pub count: usize,
}

impl TimeBuckets {
    /// At most 121 buckets that cover the scope.
    pub fn of(scope: &ReportScope) -> Self {
        let fits = |seconds: &i64| scope.span_ms() <= seconds * 1_000 * BUCKETS_MAX;
        let seconds = LENGTHS.into_iter().find(fits).unwrap_or(172_800);
        let length_ms = seconds * 1_000;
        let start_ms = scope.from.0.div_euclid(length_ms) * length_ms;
        let count = usize::try_from((scope.to.0 - start_ms + length_ms - 1) / length_ms).unwrap_or(1);
        Self { start_ms, seconds, count }
    }

    pub fn begin_ms(&self, bucket: usize) -> i64 {
        self.start_ms + i64::try_from(bucket).unwrap_or_default() * self.seconds * 1_000
    }

    /// Number of the bucket that a window belongs to.
    pub fn of_time(&self, window_ms: i64) -> u32 {
        let number = (window_ms - self.start_ms).div_euclid(self.seconds * 1_000);
        u32::try_from(number).unwrap_or_default()
    }

    /// SQL expression: number of the bucket that a window belongs to.
    pub fn number_sql(&self) -> String {
        format!(
            "toUInt32(intDiv(toUnixTimestamp(window_start) - {}, {}))",
            self.start_ms / 1_000,
            self.seconds
        )
    }
}

/// Age up to which a row counts as recent.
pub const fn recent_window(data_type: DataType) -> Duration {
    match data_type {
        _ if data_type.is_frequent() => Duration::from_secs(5 * 60),
        DataType::Liquidation => Duration::from_secs(3_600),
        _ => Duration::from_secs(8 * 3_600),
    }
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
        assert_eq!((day.span_ms(), day.tables().count()), (DAY_MS, 10));
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

    #[test]
    fn the_same_report_is_the_same_question_however_it_is_spelled() {
        let query = |from: Option<&str>, to: Option<&str>, table: Option<&str>| {
            let [from, to, table] = [from, to, table].map(|text| text.map(str::to_owned));
            ReportQuery { from, to, table, format: None }.question()
        };
        let day = query(None, None, None);
        assert_eq!(day, query(Some("24h"), Some("now"), Some("")));
        assert_eq!(day, query(Some("1d"), Some(" "), None));
        for other in [
            query(Some("23h"), None, None),
            query(None, Some("1h"), None),
            query(Some("24h"), Some("1h"), None),
            query(None, None, Some("trades")),
        ] {
            assert_ne!(day, other);
        }
    }

    const START: i64 = 1_763_769_600_000;

    #[test]
    fn any_scope_has_a_bounded_number_of_buckets_that_cover_it() {
        let scope =
            |hours: i64| ReportScope { from: Time(START), to: Time(START + hours * 3_600_000), table: None };
        for hours in [1, 2, 24, 25, 24 * 30, 24 * 92] {
            let buckets = TimeBuckets::of(&scope(hours));
            assert!((1..=121).contains(&buckets.count), "{hours}: {buckets:?}");
            assert!(buckets.begin_ms(buckets.count) >= scope(hours).to.0);
        }
        assert_eq!(TimeBuckets::of(&scope(1)).seconds, 60);
        assert_eq!(TimeBuckets::of(&scope(24 * 30)).seconds, 21_600);
    }
}
