//! Answers of `account-ratio`: the long/short ratio of all accounts.

use marketprism_adapter_sdk::{
    Cursor, DataType, Ignored, LoadedFeed, LongShortRatio, Object, Output, ParseResult, Payload, millis,
    share,
};

pub(super) fn answer(loaded: &LoadedFeed, output: &mut Output, body: &[u8]) -> ParseResult<()> {
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
                let symbol = row.read("symbol", Cursor::text)?;
                if let Some((instrument, _)) = loaded.subscribed(output, &symbol, DataType::LsrAllAccount) {
                    output.event(Payload::LsrAllAccount(ratio(&row, instrument)?));
                }
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
    Ok(LongShortRatio {
        instrument,
        time_us: row.read("timestamp", millis)?,
        long: row.read("buyRatio", share)?,
        short: row.read("sellRatio", share)?,
        // The venue gives the shares only.
        ratio: None,
        period: "5m".to_owned(),
    })
}
