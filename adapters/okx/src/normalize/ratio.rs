//! Answers of the polls: long/short ratios.

use crate::instruments::RestAnswer;
use crate::numbers::{micros, optional_total};
use crate::plan::RATIO_PERIOD;
use marketprism_adapter_sdk::{
    Cursor, DataType, Decimal, DecimalError, Frame, FrameSource, Ignored, LoadedFeed, LongShortRatio, Output,
    ParseResult, Payload, decimal,
};

const SHARE_PLACES: u8 = 12;

#[inline(never)]
pub(super) fn answer(loaded: &LoadedFeed, output: &mut Output, frame: Frame<'_>) -> ParseResult<()> {
    let polled = match loaded.source(frame.source) {
        FrameSource::Poll(poll) => loaded.plan.polls.get(poll as usize),
        _ => None,
    };
    let Some((data_type, Some(instrument))) = polled.map(|poll| (poll.data_type, poll.instrument)) else {
        return Cursor::new(frame.bytes).expected("a source number of the plan");
    };
    let RestAnswer { code, message, data, end } = RestAnswer::read(frame.bytes)?;
    let Some(code) = code else { return end.expected("`code`") };
    if code != "0" {
        output.venue_error(code, message);
        return Ok(());
    }
    let Some(mut data) = data else { return end.expected("`data`") };
    let mut rows = Vec::new();
    let count = output.each_item(&mut data, |_, cursor| {
        rows.push(row(cursor)?);
        Ok(())
    })?;
    let mut empty = count == 0;
    // The newest row comes first.
    for row in rows.into_iter().rev() {
        let Some((time_us, ratio)) = row else {
            empty = true;
            continue;
        };
        let Ok((long, short)) = shares(ratio) else {
            return end.expected("a ratio whose shares fit");
        };
        let period = RATIO_PERIOD.to_owned();
        let ratio = LongShortRatio { instrument, time_us, long, short, ratio: Some(ratio), period };
        output.event(match data_type {
            DataType::LsrTopPosition => Payload::LsrTopPosition(ratio),
            _ => Payload::LsrAllAccount(ratio),
        });
    }
    if empty {
        output.ignored(Ignored::Empty);
    }
    Ok(())
}

/// `["1701417600000","1.1739"]`: time and ratio; none where one of them is not set.
fn row(cursor: &mut Cursor<'_>) -> ParseResult<Option<(i64, Decimal)>> {
    cursor.expect(b'[', "a row of time and ratio")?;
    let time = micros(cursor, "a time")?;
    cursor.expect(b',', "`,` after a time")?;
    let ratio = optional_total(cursor, "a ratio of at least 0")?;
    let mut first = false;
    while cursor.more(b']', &mut first)? {
        cursor.skip()?;
    }
    Ok(time.zip(ratio))
}

/// The shares of a ratio r: long is r / (1 + r), rounded; short is the rest of 1, exactly.
fn shares(ratio: Decimal) -> Result<(Decimal, Decimal), DecimalError> {
    let power = |places| decimal::power_of_ten(places).ok_or(DecimalError::Overflow);
    let Some(mantissa) = ratio.mantissa.checked_add(power(ratio.scale)?) else {
        // The last digit of so many is far beyond the places of a share.
        let scale = ratio.scale.checked_sub(1).ok_or(DecimalError::Overflow)?;
        return shares(Decimal { mantissa: ratio.mantissa / 10, scale });
    };
    let long = decimal::quotient(ratio, Decimal { mantissa, scale: ratio.scale }, SHARE_PLACES)?;
    let share = |mantissa| Decimal { mantissa, scale: SHARE_PLACES };
    Ok((share(long), share(power(SHARE_PLACES)? - long)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_sum_to_one() {
        for (ratio, long, short) in [
            ("1", "0.5", "0.5"),
            ("1.1739", "0.539997239983", "0.460002760017"),
            ("0.25", "0.2", "0.8"),
            ("0", "0", "1"),
            ("3000000000000000", "1", "0"),
            ("8.500000000000000001", "0.894736842105", "0.105263157895"),
        ] {
            let (came_long, came_short) = shares(decimal::parse(ratio.as_bytes()).unwrap()).unwrap();
            let came = (decimal::to_text(came_long), decimal::to_text(came_short));
            assert_eq!(came, (long.to_owned(), short.to_owned()), "{ratio}");
        }
        assert!(shares(Decimal { mantissa: i64::MAX, scale: 0 }).is_err());
    }
}
