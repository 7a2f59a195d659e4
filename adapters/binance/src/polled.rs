//! Answers of polls: open interest, and long/short ratios.

use crate::adapter::{Binance, micros, once};
use crate::control::control;
use crate::polls::PERIOD;
use crate::sides::amount;
use marketprism_adapter_sdk::{
    Cursor, DataType, Decimal, Frame, Ignored, LongShortRatio, OpenInterest, Output, Payload, Scan, decimal,
};

impl Binance {
    /// Reads the answer of the plan's poll of this number.
    pub(crate) fn polled(&mut self, output: &mut Output, frame: Frame<'_>, poll: usize) -> Scan<()> {
        let subject = self.plan.polls.get(poll).map(|poll| (poll.data_type, poll.instrument));
        match subject {
            Some((DataType::FundingRate, None)) => self.funding_info(output, frame),
            Some((DataType::OpenInterest, Some(instrument))) => self.open_interest(output, frame, instrument),
            Some((kind @ (DataType::LsrTopPosition | DataType::LsrAllAccount), Some(instrument))) => {
                self.long_short(output, frame, instrument, kind)
            }
            _ => Cursor::new(frame.bytes).fault("a source number of the plan"),
        }
    }

    fn open_interest(&self, output: &mut Output, frame: Frame<'_>, instrument: u32) -> Scan<()> {
        let mut cursor = Cursor::new(frame.bytes);
        let (mut symbol, mut interest, mut time, mut refused) = (None, None, None, false);
        let mut first = true;
        cursor.expect(b'{', "open interest")?;
        while cursor.more(b'}', &mut first)? {
            match &*cursor.key_text()? {
                "symbol" => once(&mut symbol, self.asked_symbol(&mut cursor, instrument)?, &cursor)?,
                "openInterest" => {
                    once(&mut interest, amount(&mut cursor, "`openInterest` of at least 0")?, &cursor)?
                }
                "time" => once(&mut time, cursor.unsigned("`time`")?, &cursor)?,
                key => {
                    refused |= matches!(key, "code" | "error");
                    cursor.skip()?;
                }
            }
        }
        cursor.end()?;
        if refused && interest.is_none() {
            return control(output, frame.bytes);
        }
        let (Some(()), Some(interest), Some(time)) = (symbol, interest, time) else {
            return cursor.fault("`symbol`, `openInterest` and `time`");
        };
        output.event(Payload::OpenInterest(OpenInterest {
            instrument,
            time_us: micros(&cursor, time)?,
            base: Some(interest),
            contracts: None,
            value_usd: None,
        }));
        Ok(())
    }

    /// Reads the rows of a ratio: those of positions and those of accounts have the same fields.
    fn long_short(&self, output: &mut Output, frame: Frame<'_>, instrument: u32, kind: DataType) -> Scan<()> {
        let mut cursor = Cursor::new(frame.bytes);
        if cursor.peek() == b'{' {
            return control(output, frame.bytes);
        }
        let mut rows = 0;
        let mut first = true;
        cursor.expect(b'[', "an array of ratios")?;
        while cursor.more(b']', &mut first)? {
            let ratio = self.ratio(&mut cursor, instrument)?;
            output.event(match kind {
                DataType::LsrTopPosition => Payload::LsrTopPosition(ratio),
                _ => Payload::LsrAllAccount(ratio),
            });
            rows += 1;
        }
        cursor.end()?;
        if rows == 0 {
            output.ignored(Ignored::Empty);
        }
        Ok(())
    }

    fn ratio(&self, cursor: &mut Cursor<'_>, instrument: u32) -> Scan<LongShortRatio> {
        let (mut symbol, mut ratio, mut long, mut short, mut time) = (None, None, None, None, None);
        let mut first = true;
        cursor.expect(b'{', "a ratio")?;
        while cursor.more(b'}', &mut first)? {
            match &*cursor.key_text()? {
                "symbol" => once(&mut symbol, self.asked_symbol(cursor, instrument)?, cursor)?,
                "longShortRatio" => once(&mut ratio, amount(cursor, "a ratio of at least 0")?, cursor)?,
                "longAccount" => once(&mut long, share(cursor)?, cursor)?,
                "shortAccount" => once(&mut short, share(cursor)?, cursor)?,
                "timestamp" => once(&mut time, time_in_any_form(cursor)?, cursor)?,
                _ => cursor.skip()?,
            }
        }
        let (Some(()), Some(long), Some(short), Some(time)) = (symbol, long, short, time) else {
            return cursor.fault("`symbol`, `longAccount`, `shortAccount` and `timestamp`");
        };
        let time_us = micros(cursor, time)?;
        Ok(LongShortRatio { instrument, time_us, long, short, ratio, period: PERIOD.to_owned() })
    }

    /// The symbol of an answer must be that of the question.
    fn asked_symbol(&self, cursor: &mut Cursor<'_>, instrument: u32) -> Scan<()> {
        let start = *cursor;
        let found = self.symbols.find(cursor.text("`symbol`")?.as_bytes());
        if found == Some(instrument) { Ok(()) } else { start.fault("the symbol that was asked for") }
    }
}

/// A fraction of all.
fn share(cursor: &mut Cursor<'_>) -> Scan<Decimal> {
    let start = *cursor;
    let share = amount(cursor, "a share of at least 0")?;
    let whole = decimal::power_of_ten(share.scale);
    if whole.is_some_and(|whole| share.mantissa <= whole) {
        Ok(share)
    } else {
        start.fault("a share of at most 1")
    }
}

/// The venue writes the time as a text; a number is taken too.
fn time_in_any_form(cursor: &mut Cursor<'_>) -> Scan<u64> {
    if cursor.peek() != b'"' {
        return cursor.unsigned("`timestamp`");
    }
    let start = *cursor;
    let text = cursor.text("`timestamp`")?;
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(time) if digits => Ok(time),
        _ => start.fault("`timestamp`: a time in milliseconds"),
    }
}
