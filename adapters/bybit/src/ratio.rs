//! Answers of `account-ratio`: the long/short ratio of all accounts.

use crate::plan::RATIO_PERIOD;
use crate::values::micros;
use marketprism_adapter_sdk::{
    Cursor, DataType, Decimal, Ignored, Loaded, LongShortRatio, Object, Output, Payload, Scan, amount,
    decimal, each_element,
};

pub(crate) fn answer(loaded: &Loaded, output: &mut Output, body: &[u8]) -> Scan<()> {
    let answer = Object::whole(body)?;
    let code = answer.read("retCode", Cursor::integer)?;
    if code != 0 {
        output.venue_error(code.to_string(), answer.read("retMsg", Cursor::text)?);
        return Ok(());
    }
    let mut count = 0;
    let mut each = |cursor: &mut Cursor<'_>| {
        count += 1;
        let row = Object::parse(cursor)?;
        let symbol = row.read("symbol", Cursor::text)?;
        if let Some((instrument, _)) = loaded.wanted(output, &symbol, DataType::LsrAllAccount) {
            output.event(Payload::LsrAllAccount(ratio(&row, instrument)?));
        }
        Ok(())
    };
    answer.read("result", |cursor, _| {
        Object::parse(cursor)?.read("list", |cursor, _| each_element(cursor, &mut each))
    })?;
    if count == 0 {
        output.ignored(Ignored::Empty);
    }
    Ok(())
}

fn ratio(row: &Object<'_>, instrument: u32) -> Scan<LongShortRatio> {
    Ok(LongShortRatio {
        instrument,
        time_us: row.read("timestamp", micros)?,
        long: row.read("buyRatio", share)?,
        short: row.read("sellRatio", share)?,
        // The venue gives the shares only.
        ratio: None,
        period: RATIO_PERIOD.to_owned(),
    })
}

/// A fraction of all accounts.
fn share(cursor: &mut Cursor<'_>, what: &'static str) -> Scan<Decimal> {
    let start = *cursor;
    let share = amount(cursor, what)?;
    let whole = decimal::power_of_ten(share.scale);
    if whole.is_some_and(|whole| share.mantissa <= whole) { Ok(share) } else { start.fault(what) }
}
