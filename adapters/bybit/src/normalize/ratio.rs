//! Answers of `account-ratio`: the long/short ratio of all accounts.

use super::items::each_row;
use marketprism_adapter_sdk::{
    Cursor, DataType, Decimal, Ignored, LoadedFeed, LongShortRatio, Object, Output, ParseResult, Payload,
    decimal, millis, share,
};

const RATIO_PLACES: u8 = 12;

/// An answer of the poll of this instrument.
pub(super) fn answer(
    loaded: &LoadedFeed,
    output: &mut Output,
    body: &[u8],
    polled: Option<u32>,
) -> ParseResult<()> {
    let count = each_row(output, body, |output, cursor| {
        let row = Object::parse(cursor)?;
        // Without a symbol it is the row of the request's.
        let instrument = match row.optional("symbol", Cursor::text)? {
            Some(symbol) => {
                let found = loaded.subscribed(output, &symbol, DataType::LsrAllAccount);
                let Some((instrument, _)) = found else { return Ok(()) };
                instrument
            }
            None => match polled {
                Some(instrument) => instrument,
                None => return cursor.expected("`symbol`"),
            },
        };
        output.event(Payload::LsrAllAccount(ratio(&row, instrument)?));
        Ok(())
    })?;
    if count == Some(0) {
        output.ignored(Ignored::Empty);
    }
    Ok(())
}

fn ratio(row: &Object<'_>, instrument: u32) -> ParseResult<LongShortRatio> {
    let (long, short) = (row.read("buyRatio", share)?, row.read("sellRatio", share)?);
    Ok(LongShortRatio {
        instrument,
        time_us: row.read("timestamp", millis)?,
        long,
        short,
        ratio: ratio_of(long, short),
        period: "5m".to_owned(),
    })
}

/// The venue gives the shares only. None where nobody is short.
fn ratio_of(long: Decimal, short: Decimal) -> Option<Decimal> {
    let mantissa = decimal::quotient(long, short, RATIO_PLACES).ok()?;
    Some(decimal::trimmed(Decimal { mantissa, scale: RATIO_PLACES }))
}
