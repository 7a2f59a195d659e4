//! `ticker.{instrument}.{interval}`: open interest, and of perpetuals the funding rate with mark and index price.

use crate::channels::ChannelInstrument;
use crate::numbers::{AmountUnit, given, micros, pass};
use marketprism_adapter_sdk::{
    Cursor, DataType, Decimal, FundingRate, Ignored, LoadedFeed, MarketType, OpenInterest, Output,
    ParseResult, Payload, once, unless_unset, wide_key,
};

const TIMESTAMP: u128 = wide_key("timestamp");
const OPEN_INTEREST: u128 = wide_key("open_interest");
const FUNDING_8H: u128 = wide_key("funding_8h");
const MARK_PRICE: u128 = wide_key("mark_price");
const INDEX_PRICE: u128 = wide_key("index_price");
const INSTRUMENT_NAME: u128 = wide_key("instrument_name");

/// Funding is continuous on this venue. The rate that is published is the one of the last eight hours.
const REFERENCE_HOURS: u32 = 8;

#[derive(Default)]
struct TickerFields {
    time_us: Option<Option<i64>>,
    open_interest: Option<Option<Decimal>>,
    funding_8h: Option<Option<Decimal>>,
    mark_price: Option<Option<Decimal>>,
    index_price: Option<Option<Decimal>>,
}

pub(super) fn ticker(
    loaded: &LoadedFeed,
    output: &mut Output,
    cursor: &mut Cursor<'_>,
    named: ChannelInstrument<'_>,
) -> ParseResult<()> {
    let funding = named.units.market == MarketType::Perpetual && loaded.has(DataType::FundingRate);
    let interest = loaded.has(DataType::OpenInterest);
    let mut fields = TickerFields::default();
    let mut first = true;
    cursor.expect(b'{', "a ticker object")?;
    while cursor.more(b'}', &mut first)? {
        match cursor.wide_key()? {
            TIMESTAMP => once(&mut fields.time_us, unless_unset(cursor, "`timestamp`", micros)?, cursor)?,
            OPEN_INTEREST if interest => {
                once(&mut fields.open_interest, given(cursor, "`open_interest`")?, cursor)?
            }
            FUNDING_8H if funding => once(&mut fields.funding_8h, given(cursor, "`funding_8h`")?, cursor)?,
            MARK_PRICE if funding => once(&mut fields.mark_price, given(cursor, "`mark_price`")?, cursor)?,
            INDEX_PRICE if funding => once(&mut fields.index_price, given(cursor, "`index_price`")?, cursor)?,
            INSTRUMENT_NAME => named.agrees(cursor)?,
            _ => pass(cursor)?,
        }
    }
    let time_us = fields.time_us.flatten().unwrap_or_else(|| output.received_us());
    let mut empty = false;
    if funding {
        match fields.funding_8h.flatten() {
            Some(rate) => output.event(Payload::FundingRate(FundingRate {
                instrument: named.instrument,
                time_us,
                rate,
                funding_time_us: None,
                next_funding_time_us: None,
                interval_hours: Some(REFERENCE_HOURS),
                mark_price: fields.mark_price.flatten(),
                index_price: fields.index_price.flatten(),
            })),
            None => empty = true,
        }
    }
    if interest {
        match fields.open_interest.flatten() {
            Some(amount) if amount.mantissa < 0 => return cursor.expected("`open_interest` of at least 0"),
            Some(amount) => output.event(open_interest(named, time_us, amount)),
            None => empty = true,
        }
    }
    if empty {
        output.ignored(Ignored::Empty);
    } else if !interest && !funding {
        output.ignored(Ignored::OtherDataType);
    }
    Ok(())
}
/// The venue gives one number, in the unit of the instrument's amounts. No other unit is derived from it.
fn open_interest(named: ChannelInstrument<'_>, time_us: i64, amount: Decimal) -> Payload {
    let inverse = named.units.unit != AmountUnit::Base;
    Payload::OpenInterest(OpenInterest {
        instrument: named.instrument,
        time_us,
        base: (!inverse).then_some(amount),
        contracts: None,
        value_usd: inverse.then_some(amount),
    })
}
