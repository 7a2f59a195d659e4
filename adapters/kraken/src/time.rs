//! The venue's times: RFC 3339 in UTC, with microseconds.

use marketprism_adapter_sdk::{Cursor, ParseResult};

const DAY_SECONDS: i64 = 86_400;

/// `2023-10-06T17:35:55.440295Z` as microseconds since 1970. Finer fractions are cut: the contract has no place for them.
pub(crate) fn micros(cursor: &mut Cursor<'_>, what: &'static str) -> ParseResult<i64> {
    let start = *cursor;
    let text = cursor.text(what)?;
    parse(text.as_bytes()).map_or_else(|| start.expected(what), Ok)
}

fn parse(text: &[u8]) -> Option<i64> {
    let (date, rest) = text.split_first_chunk::<11>()?;
    let (time, rest) = rest.split_first_chunk::<8>()?;
    let [y3, y2, y1, y0, b'-', m1, m0, b'-', d1, d0, b'T'] = *date else { return None };
    let [h1, h0, b':', n1, n0, b':', s1, s0] = *time else { return None };
    let year = number(&[y3, y2, y1, y0])?;
    let (month, day) = (number(&[m1, m0])?, number(&[d1, d0])?);
    let (hour, minute, second) = (number(&[h1, h0])?, number(&[n1, n0])?, number(&[s1, s0])?);
    let fraction = match rest.strip_suffix(b"Z").or_else(|| rest.strip_suffix(b"+00:00"))? {
        [] => 0,
        [b'.', digits @ ..] if (1..=9).contains(&digits.len()) => {
            let value = number(digits)?;
            (digits.len()..9).fold(value, |value, _| value * 10) / 1000
        }
        _ => return None,
    };
    // A leap second is written as 60.
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let seconds = days(year, month, day)? * DAY_SECONDS + hour * 3600 + minute * 60 + second;
    Some(seconds * 1_000_000 + fraction)
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |value: i64, digit| {
        digit.is_ascii_digit().then(|| value * 10 + i64::from(digit.wrapping_sub(b'0')))
    })
}

/// Days since 1970; none for a day that does not exist.
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        4 | 6 | 9 | 11 => 30,
        2 => 28 + i64::from(leap),
        1..=12 => 31,
        _ => return None,
    };
    if year < 1970 || !(1..=length).contains(&day) {
        return None;
    }
    // Years that begin in March have the leap day at their end.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    Some(365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_exact_or_refused() {
        for (text, micros) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2023-10-06T17:35:55.440295+00:00", 1_696_613_755_440_295),
            ("2023-10-06T17:35:55.440295Z", 1_696_613_755_440_295),
            ("2023-10-06T17:35:55.44Z", 1_696_613_755_440_000),
            ("2023-10-06T17:35:55.440295999Z", 1_696_613_755_440_295),
            ("2024-02-29T23:59:59.999999Z", 1_709_251_199_999_999),
            ("2024-03-01T00:00:00Z", 1_709_251_200_000_000),
            ("2100-03-01T00:00:00Z", 4_107_542_400_000_000),
            ("9999-12-31T23:59:60Z", 253_402_300_800_000_000),
        ] {
            assert_eq!(parse(text.as_bytes()), Some(micros), "{text}");
        }
        let wrong = "2023-10-06 \
            2023-10-06T17:35:55 \
            2023-10-06T17:35:55+01:00 \
            2023-10-06T17:35:55.+00:00 \
            2023-10-06T17:35:55.Z \
            2023-10-06T17:35:55.1234567890Z \
            2023-10-06T17:35:55.12x4Z \
            2023-13-06T17:35:55Z \
            2023-02-29T17:35:55Z \
            2100-02-29T00:00:00Z \
            2023-10-00T17:35:55Z \
            2023-10-06T24:00:00Z \
            2023-10-06T17:60:00Z \
            1969-12-31T23:59:59Z \
            +023-10-06T17:35:55Z";
        for wrong in wrong.split(' ').chain(["", "2023-10-06 17:35:55Z"]) {
            assert_eq!(parse(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
