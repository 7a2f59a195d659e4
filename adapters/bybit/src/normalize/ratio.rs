//! Answers of `account-ratio`: the long/short ratio of all accounts.

use marketprism_adapter_sdk::{
    Cursor, DataType, Decimal, Ignored, LoadedFeed, LongShortRatio, Object, Output, ParseResult, Payload,
    decimal, millis, share,
};

const RATIO_PLACES: u8 = 12;

pub(super) fn answer(loaded: &LoadedFeed, output: &mut Output, body: &[u8], poll: u32) -> ParseResult<()> {
    let polled = loaded.plan.polls.get(poll as usize).and_then(|poll| poll.instrument);
    let answer = Object::whole(body)?;
    let code = answer.read("retCode", Cursor::integer)?;
    if code != 0 {
        output.venue_error(code.to_string(), answer.read("retMsg", Cursor::text)?);
        return Ok(());
    }
    let count = answer.read("result", |cursor, _| {
        Object::parse(cursor)?.read("list", |cursor, _| {
            output.each_item(cursor, |output, cursor| {
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
            })
        })
    })?;
    if count == 0 {
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
