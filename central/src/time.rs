//! Times as people and other programs read and write them.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::{Interval, MissedTickBehavior, interval};
use utoipa::ToSchema;

pub const DAY_MS: i64 = 86_400_000;
/// Largest age that can be requested.
pub const AGE_MAX_MS: i64 = 3_660 * DAY_MS;
/// Formats of [`Time::asked`], for messages.
const ALLOWED_TIME: &str =
    "RFC 3339 such as 2026-11-22T16:00:00Z, an age such as 90s, 30m, 24h or 7d, or now";

/// Milliseconds since 1970 inside, RFC 3339 in UTC outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ToSchema)]
#[schema(value_type = String, format = DateTime, examples("2026-11-22T16:00:00.000Z"))]
pub struct Time(pub i64);

impl Time {
    /// `None` where zero or the database's minimum means absent.
    pub fn some(ms: i64) -> Option<Self> {
        (ms > 0).then_some(Self(ms))
    }

    /// Reads RFC 3339.
    pub fn parse(text: &str) -> Option<Self> {
        let moment = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        i64::try_from(moment.unix_timestamp_nanos() / 1_000_000).ok().map(Self)
    }

    /// Reads user input: RFC 3339, an age, or `now`.
    pub fn asked(text: &str, now_ms: i64) -> Option<Self> {
        if text == "now" {
            return Some(Self(now_ms));
        }
        // A plus in a query string arrives as a blank.
        let moment = Self::parse(text).or_else(|| Self::parse(&text.replace(' ', "+")));
        moment.or_else(|| age_ms(text).map(|age| Self(now_ms - age)))
    }
}

/// Ticks at once, then once a period; late ticks are not caught up.
pub fn ticks(period: Duration) -> Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

pub fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

pub fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

/// RFC 3339 in UTC with six decimals.
pub fn rfc3339_micros(us: i64) -> String {
    let moment = OffsetDateTime::from_unix_timestamp(us.div_euclid(1_000_000)).ok();
    let text = moment.and_then(|moment| moment.format(&Rfc3339).ok()).unwrap_or_default();
    format!("{}.{:06}Z", text.trim_end_matches('Z'), us.rem_euclid(1_000_000))
}

/// A length of time as people read it: `17 us`, `1.2 ms`, `3 s`.
pub fn micros(us: u64) -> String {
    let (unit, name) = match us {
        0..1_000 => return format!("{us} us"),
        1_000..1_000_000 => (1_000, "ms"),
        _ => (1_000_000, "s"),
    };
    match us % unit * 10 / unit {
        0 => format!("{} {name}", us / unit),
        tenths => format!("{}.{tenths} {name}", us / unit),
    }
}

/// A parameter that a user gave and that is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {value:?} is not allowed (allowed: {allowed})")]
pub struct InvalidParameter {
    pub field: &'static str,
    pub value: String,
    pub allowed: String,
}

impl InvalidParameter {
    pub fn new(field: &'static str, value: Option<&str>, allowed: impl Into<String>) -> Self {
        Self { field, value: value.unwrap_or_default().to_owned(), allowed: allowed.into() }
    }
}

/// Milliseconds of a parameter of [`Time::asked`]; none when it is blank.
pub fn read_time(
    field: &'static str,
    text: Option<&str>,
    now_ms: i64,
) -> Result<Option<i64>, InvalidParameter> {
    let Some(text) = text.map(str::trim).filter(|text| !text.is_empty()) else { return Ok(None) };
    let time = Time::asked(text, now_ms);
    time.map(|time| Some(time.0)).ok_or_else(|| InvalidParameter::new(field, Some(text), ALLOWED_TIME))
}

/// Reads a duration such as `30s`, `5m` or `1h`.
pub fn read_duration(text: &str) -> Result<Duration, String> {
    let duration = age_ms(text).and_then(|ms| u64::try_from(ms).ok());
    duration
        .map(Duration::from_millis)
        .ok_or_else(|| "expected a duration such as 90s, 30m, 24h or 7d".to_owned())
}

/// Milliseconds of `24h`.
fn age_ms(text: &str) -> Option<i64> {
    let (last, unit) = text.char_indices().next_back()?;
    let unit_ms = match unit {
        's' => 1_000,
        'm' => 60_000,
        'h' => 3_600_000,
        'd' => DAY_MS,
        _ => return None,
    };
    let digits = text.get(..last)?;
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse::<i64>().ok()?.checked_mul(unit_ms).filter(|age| *age <= AGE_MAX_MS)
}

impl std::fmt::Display for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let whole = OffsetDateTime::from_unix_timestamp(self.0.div_euclid(1_000));
        let Ok(moment) = whole else { return write!(f, "{} ms since 1970", self.0) };
        let (date, time) = (moment.date(), moment.time());
        write!(
            f,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
            date.year(),
            u8::from(date.month()),
            date.day(),
            time.hour(),
            time.minute(),
            time.second(),
            self.0.rem_euclid(1_000)
        )
    }
}

/// As queries return it: milliseconds since 1970.
impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        i64::deserialize(deserializer).map(Self)
    }
}

/// [`Time::some`] of what a query returns.
pub fn optional<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Time>, D::Error> {
    i64::deserialize(deserializer).map(Time::some)
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_round_trip_through_text() {
        let time = Time(1_763_828_645_007);
        assert_eq!(time.to_string(), "2025-11-22T16:24:05.007Z");
        assert_eq!(Time::parse(&time.to_string()), Some(time));
        assert_eq!(Time::parse("2025-11-22T17:24:05.007+01:00"), Some(time));
        assert_eq!(Time::parse("yesterday"), None);
    }
}
