//! Wall clock in the venues' unit.

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970 UTC.
#[must_use]
pub fn now_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}

/// Civil date (year, month, day) of days since 1970-01-01 (Howard Hinnant's `civil_from_days`).
fn civil(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + i64::from(month <= 2), month, doy - (153 * mp + 2) / 5 + 1)
}

/// The next quarterly expiry after `now_ms` (last Friday of March, June, September or December, 08:00 UTC,
/// at least two weeks ahead): its time in ms and its `YYMMDD`.
#[must_use]
pub fn next_quarter(now_ms: i64) -> (i64, String) {
    let mut day = now_ms.div_euclid(86_400_000) + 14;
    loop {
        let (year, month, dom) = civil(day);
        let (_, next_month, _) = civil(day + 7);
        // 1970-01-01 was a Thursday, so Fridays are the days with remainder 1.
        if month % 3 == 0 && day.rem_euclid(7) == 1 && next_month != month {
            return (day * 86_400_000 + 8 * 3_600_000, format!("{:02}{month:02}{dom:02}", year % 100));
        }
        day += 1;
    }
}

/// Year, month and day of a time.
#[must_use]
pub fn date(ms: i64) -> (i64, i64, i64) {
    civil(ms.div_euclid(86_400_000))
}

/// `YYMMDD` of a time.
#[must_use]
pub fn yymmdd(ms: i64) -> String {
    let (year, month, day) = date(ms);
    format!("{:02}{month:02}{day:02}", year % 100)
}

/// Delivery time of a `YYMMDD`, 08:00 UTC; `None` when it is no date of this century.
#[must_use]
pub fn delivery(text: &str) -> Option<i64> {
    let digits = (text.len() == 6 && text.bytes().all(|b| b.is_ascii_digit())).then_some(text)?;
    let two = |range: std::ops::Range<usize>| digits.get(range)?.parse::<i64>().ok();
    let (year, month, day) = (2000 + two(0..2)?, two(2..4)?, two(4..6)?);
    // Hinnant's `days_from_civil`.
    let shifted = if month <= 2 { year - 1 } else { year };
    let era = shifted.div_euclid(400);
    let yoe = shifted - era * 400;
    let doy = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719_468;
    let ms = days * 86_400_000 + 8 * 3_600_000;
    (yymmdd(ms) == digits).then_some(ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: delivery symbols are dated as the venue dates them. Method: known expiries around known days.
    #[test]
    fn quarters_end_on_their_last_friday() {
        // 2026-11-22 00:00 UTC.
        let (ms, text) = next_quarter(1_795_305_600_000);
        assert_eq!((ms, text.as_str()), (1_798_185_600_000, "261225"));
        // 2026-12-20: the December expiry is nearer than two weeks.
        assert_eq!(next_quarter(1_797_724_800_000).1, "270326");
        assert_eq!(delivery("261225"), Some(1_798_185_600_000));
        assert_eq!((delivery("260230"), delivery("x"), delivery("2612250")), (None, None, None));
    }
}
