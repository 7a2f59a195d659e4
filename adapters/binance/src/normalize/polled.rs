//! Answers of polls: open interest, and long/short ratios.

use super::control::control;
use super::event::micros;
use crate::BinanceVenue;
use crate::plan::RATIO_PERIOD;
use marketprism_adapter_sdk::{
    Cursor, DataType, Decimal, Frame, Ignored, LoadedFeed, LongShortRatio, OpenInterest, Output, ParseResult,
    Payload, calculated_amount, each_member, once, share, unless_unset,
};

impl BinanceVenue {
    pub(super) fn polled(
        &mut self,
        loaded: &LoadedFeed,
        output: &mut Output,
        frame: Frame<'_>,
        poll: u32,
    ) -> ParseResult<()> {
        let polled = loaded.plan.polls.get(poll as usize).map(|poll| (poll.data_type, poll.instrument));
        match polled {
            Some((DataType::FundingRate, None)) => self.funding_info(loaded, output, frame),
            Some((DataType::OpenInterest, Some(instrument))) => {
                open_interest(loaded, output, frame, instrument)
            }
            Some((kind @ (DataType::LsrTopPosition | DataType::LsrAllAccount), Some(instrument))) => {
                long_short(loaded, output, frame, instrument, kind)
            }
            _ => Cursor::new(frame.bytes).expected("a source number of the plan"),
        }
    }
}

fn open_interest(
    loaded: &LoadedFeed,
    output: &mut Output,
    frame: Frame<'_>,
    instrument: u32,
) -> ParseResult<()> {
    let mut cursor = Cursor::new(frame.bytes);
    let (mut symbol, mut interest, mut time, mut refused) = (None, None, None, false);
    each_member(&mut cursor, "open interest", |cursor, key| match key {
        "symbol" => once(&mut symbol, polled_symbol(loaded, cursor, instrument)?, cursor),
        "openInterest" => {
            once(&mut interest, calculated_amount(cursor, "`openInterest` of at least 0")?, cursor)
        }
        "time" => once(&mut time, unless_unset(cursor, "`time`", Cursor::unsigned)?, cursor),
        key => {
            refused |= matches!(key, "code" | "error");
            cursor.skip()
        }
    })?;
    cursor.end()?;
    if refused && interest.is_none() {
        return control(output, frame.bytes);
    }
    let Some(interest) = interest else { return cursor.expected("`openInterest`") };
    let time_us = match time.flatten() {
        Some(time) => micros(&cursor, time)?,
        // Older answers have none: it is the state at the request.
        None => output.received_us(),
    };
    output.event(Payload::OpenInterest(OpenInterest {
        instrument,
        time_us,
        base: Some(interest),
        contracts: None,
        value_usd: None,
    }));
    Ok(())
}

/// Reads the rows of a ratio: those of positions and those of accounts have the same fields.
fn long_short(
    loaded: &LoadedFeed,
    output: &mut Output,
    frame: Frame<'_>,
    instrument: u32,
    kind: DataType,
) -> ParseResult<()> {
    let mut cursor = Cursor::new(frame.bytes);
    match cursor.peek() {
        b'{' => return control(output, frame.bytes),
        b'[' => {}
        _ => return cursor.expected("an array of ratios"),
    }
    let rows = output.each_item(&mut cursor, |output, cursor| {
        let ratio = ratio(loaded, cursor, instrument)?;
        output.event(match kind {
            DataType::LsrTopPosition => Payload::LsrTopPosition(ratio),
            _ => Payload::LsrAllAccount(ratio),
        });
        Ok(())
    })?;
    cursor.end()?;
    if rows == 0 {
        output.ignored(Ignored::Empty);
    }
    Ok(())
}

fn ratio(loaded: &LoadedFeed, cursor: &mut Cursor<'_>, instrument: u32) -> ParseResult<LongShortRatio> {
    let (mut symbol, mut ratio, mut long, mut short, mut time) = (None, None, None, None, None);
    each_member(cursor, "a ratio", |cursor, key| match key {
        "symbol" => once(&mut symbol, polled_symbol(loaded, cursor, instrument)?, cursor),
        "longShortRatio" => {
            once(&mut ratio, unless_unset(cursor, "a ratio of at least 0", calculated_amount)?, cursor)
        }
        "longAccount" => once(&mut long, account_share(cursor)?, cursor),
        "shortAccount" => once(&mut short, account_share(cursor)?, cursor),
        "timestamp" => once(&mut time, cursor.unsigned("`timestamp`: a time in milliseconds")?, cursor),
        _ => cursor.skip(),
    })?;
    let (Some(long), Some(short), Some(time)) = (long, short, time) else {
        return cursor.expected("`longAccount`, `shortAccount` and `timestamp`");
    };
    let time_us = micros(cursor, time)?;
    Ok(LongShortRatio {
        instrument,
        time_us,
        long,
        short,
        ratio: ratio.flatten(),
        period: RATIO_PERIOD.to_owned(),
    })
}

fn account_share(cursor: &mut Cursor<'_>) -> ParseResult<Decimal> {
    let start = *cursor;
    calculated_amount(cursor, "a share of at least 0")?;
    *cursor = start;
    share(cursor, "a share of at most 1")
}

/// The symbol of an answer, where it is set, must be that of its request.
fn polled_symbol(loaded: &LoadedFeed, cursor: &mut Cursor<'_>, instrument: u32) -> ParseResult<()> {
    let start = *cursor;
    match unless_unset(cursor, "`symbol`", Cursor::text)? {
        Some(symbol) if loaded.position(symbol.as_bytes()) != Some(instrument) => {
            start.expected("the symbol that was asked for")
        }
        _ => Ok(()),
    }
}
