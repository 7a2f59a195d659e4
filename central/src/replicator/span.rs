//! Pieces of `created_at`.

/// A half-open piece of `created_at`, milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// First millisecond.
    pub from_ms: i64,
    /// First millisecond after it.
    pub to_ms: i64,
}

impl Span {
    /// From one moment up to another.
    pub const fn new(from_ms: i64, to_ms: i64) -> Self {
        Self { from_ms, to_ms }
    }

    /// The window that starts at a moment.
    pub const fn window(start_ms: i64, width_ms: i64) -> Self {
        Self { from_ms: start_ms, to_ms: start_ms.saturating_add(width_ms) }
    }

    /// As a condition on `created_at`.
    pub fn condition(self) -> String {
        let Self { from_ms, to_ms } = self;
        format!(
            "created_at >= fromUnixTimestamp64Milli({from_ms}, 'UTC') AND created_at < fromUnixTimestamp64Milli({to_ms}, 'UTC')"
        )
    }

    /// Equal pieces, as far as milliseconds allow.
    pub fn pieces(self, count: i64) -> Vec<Self> {
        let count = count.clamp(1, (self.to_ms - self.from_ms).max(1));
        let edge = |i: i64| self.from_ms + (self.to_ms - self.from_ms) * i / count;
        (0..count).map(|i| Self::new(edge(i), edge(i + 1))).collect()
    }
}

/// The start of the window that holds a moment.
pub const fn align(ms: i64, width_ms: i64) -> i64 {
    ms - ms.rem_euclid(width_ms)
}

/// `2026-11-22T10:04:00.000Z`, for people.
pub fn shown(ms: i64) -> String {
    let (days, of_day) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000));
    let (seconds, millis) = (of_day / 1_000, of_day % 1_000);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// Year, month and day of a number of days since 1970, by the rule of the 400-year cycle counted from March.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

/// Milliseconds since 1970 of `2026-11-22T10:04:00Z`, of `2026-11-22` (its start), or of a whole number of seconds.
pub fn parse_time(text: &str) -> Option<i64> {
    if let Ok(seconds) = text.parse::<i64>() {
        return seconds.checked_mul(1_000);
    }
    let text = text.strip_suffix('Z').unwrap_or(text);
    let (date, time) = text.split_once(['T', ' ']).unwrap_or((text, "00:00:00"));
    let mut date = date.splitn(3, '-').map(str::parse::<i64>);
    let (year, month, day) = (date.next()?.ok()?, date.next()?.ok()?, date.next()?.ok()?);
    let mut time = time.splitn(3, ':').map(|part| part.parse::<f64>().ok());
    let (hour, minute, second) =
        (time.next()??, time.next().flatten()?, time.next().map_or(Some(0.0), |s| s)?);
    let in_range = (1..=12).contains(&month) && (1..=31).contains(&day) && (1970..=9999).contains(&year);
    let of_day = ((hour * 3_600.0 + minute * 60.0 + second) * 1_000.0).round();
    if !in_range || !(0.0..=86_400_000.0).contains(&of_day) {
        return None;
    }
    let (year, month) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    let days = year.div_euclid(400) * 146_097
        + (year.rem_euclid(400) * 365 + year.rem_euclid(400) / 4 - year.rem_euclid(400) / 100 + day_of_year)
        - 719_468;
    #[expect(clippy::cast_possible_truncation, reason = "at most 86,400,000")]
    let of_day = of_day as i64;
    Some(days * 86_400_000 + of_day)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: windows are aligned on both sides of 1970, and pieces cover their span without overlap.
    #[test]
    fn windows_are_aligned_and_pieces_cover() {
        assert_eq!((align(60_001, 60_000), align(-1, 60_000)), (60_000, -60_000));
        for (span, count) in [(Span::new(0, 60_000), 7), (Span::new(5, 8), 64), (Span::new(5, 5), 2)] {
            let pieces = span.pieces(count);
            assert_eq!((pieces[0].from_ms, pieces[pieces.len() - 1].to_ms), (span.from_ms, span.to_ms));
            assert!(pieces.windows(2).all(|pair| pair[0].to_ms == pair[1].from_ms));
        }
    }

    /// Goal: times are written and read the same, leap days and ends of years too.
    #[test]
    fn times_are_written_and_read() {
        for (text, ms) in [
            ("1970-01-01T00:00:00.000Z", 0),
            ("2000-02-29T23:59:59.999Z", 951_868_799_999),
            ("2026-11-22T10:04:00.000Z", 1_795_341_840_000),
            ("2026-12-31T00:00:00.000Z", 1_798_675_200_000),
        ] {
            assert_eq!(shown(ms), text);
            assert_eq!(parse_time(text), Some(ms), "{text}");
        }
        assert_eq!(parse_time("2026-11-22"), parse_time("2026-11-22 00:00"));
        assert_eq!(parse_time("1795341840"), Some(1_795_341_840_000));
        for wrong in ["", "yesterday", "2026-13-01", "2026-11-22T25:00:00Z", "2026-11"] {
            assert_eq!(parse_time(wrong), None, "{wrong}");
        }
    }
}
