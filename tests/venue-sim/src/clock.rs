//! Wall clock in the venues' unit.

pub use marketprism_service::clock::now_ms;
use time::{Date, Duration, Month, OffsetDateTime, Weekday};

/// Day of a time; the first day of 1970 when out of range.
fn day_of(ms: i64) -> Date {
    OffsetDateTime::from_unix_timestamp(ms.div_euclid(1_000)).unwrap_or(OffsetDateTime::UNIX_EPOCH).date()
}

/// Delivery time of contracts: 08:00 UTC of a day, ms.
fn delivery_of(day: Date) -> i64 {
    day.midnight().assume_utc().unix_timestamp() * 1_000 + 8 * 3_600_000
}

/// The next quarterly expiry after `now_ms` (last Friday of March, June, September or December, 08:00 UTC,
/// at least two weeks ahead): its time in ms and its `YYMMDD`.
pub fn next_quarter(now_ms: i64) -> (i64, String) {
    let mut day = day_of(now_ms) + Duration::days(14);
    loop {
        let is_last_of_month = (day + Duration::days(7)).month() != day.month();
        if u8::from(day.month()) % 3 == 0 && day.weekday() == Weekday::Friday && is_last_of_month {
            let ms = delivery_of(day);
            return (ms, yymmdd(ms));
        }
        day += Duration::DAY;
    }
}

pub fn date(ms: i64) -> (i64, i64, i64) {
    let (year, month, day) = day_of(ms).to_calendar_date();
    (year.into(), u8::from(month).into(), day.into())
}

pub fn yymmdd(ms: i64) -> String {
    let (year, month, day) = date(ms);
    format!("{:02}{month:02}{day:02}", year % 100)
}

/// RFC 3339 in UTC with six places of a second; empty when out of range.
pub fn rfc3339(us: i64) -> String {
    let Ok(at) = OffsetDateTime::from_unix_timestamp_nanos(i128::from(us) * 1000) else {
        return String::new();
    };
    let (year, month, day) = at.to_calendar_date();
    let (hour, minute, second, micros) = at.to_hms_micro();
    format!("{year:04}-{:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z", u8::from(month))
}

/// Delivery time of a `YYMMDD`, 08:00 UTC; `None` for no date.
pub fn delivery(text: &str) -> Option<i64> {
    let digits = (text.len() == 6 && text.bytes().all(|b| b.is_ascii_digit())).then_some(text)?;
    let two = |range: std::ops::Range<usize>| digits.get(range)?.parse::<u8>().ok();
    let month = Month::try_from(two(2..4)?).ok()?;
    Date::from_calendar_date(2000 + i32::from(two(0..2)?), month, two(4..6)?).ok().map(delivery_of)
}

const MONTHS: [&str; 12] =
    ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];

/// Delivery time of a `DMMMYY` or `DDMMMYY`, 08:00 UTC; `None` for no date.
pub fn named_delivery(text: &str) -> Option<i64> {
    let cut = text.len().checked_sub(5)?;
    let (day, month, year) = (text.get(..cut)?, text.get(cut..cut + 3)?, text.get(cut + 3..)?);
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    delivery(&format!("{year}{month:02}{:02}", day.parse::<u8>().ok()?))
}

/// The day as `DMMMYY`.
pub fn day_name(ms: i64) -> String {
    let (year, month, day) = date(ms);
    let name = usize::try_from(month - 1).ok().and_then(|n| MONTHS.get(n)).copied().unwrap_or("JAN");
    format!("{day}{name}{:02}", year % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quarters_end_on_their_last_friday() {
        // 2026-11-22 00:00 UTC.
        let (ms, text) = next_quarter(1_795_305_600_000);
        assert_eq!((ms, text.as_str()), (1_798_185_600_000, "261225"));
        // 2026-12-20: the December expiry is nearer than two weeks.
        assert_eq!(next_quarter(1_797_724_800_000).1, "270326");
        assert_eq!(delivery("261225"), Some(1_798_185_600_000));
        assert_eq!(rfc3339(1_696_613_755_040_295), "2023-10-06T17:35:55.040295Z");
        assert_eq!((delivery("260230"), delivery("x"), delivery("2612250")), (None, None, None));
    }
}
