//! `deribit_volatility_index.{index}`: the volatility index of a coin.

use crate::channels::ChannelInstrument;
use crate::describe::coin_of_index;
use crate::numbers::{calculated, micros, pass};
use marketprism_adapter_sdk::{
    Cursor, Decimal, Output, ParseResult, Payload, VolatilityIndex, once, unless_unset, wide_key,
};

const TIMESTAMP: u128 = wide_key("timestamp");
const VOLATILITY: u128 = wide_key("volatility");
const INDEX_NAME: u128 = wide_key("index_name");

pub(super) fn volatility(
    output: &mut Output,
    cursor: &mut Cursor<'_>,
    named: ChannelInstrument<'_>,
) -> ParseResult<()> {
    let (mut time_us, mut value) = (None, None::<Decimal>);
    let mut first = true;
    cursor.expect(b'{', "an index object")?;
    while cursor.more(b'}', &mut first)? {
        match cursor.wide_key()? {
            TIMESTAMP => once(&mut time_us, unless_unset(cursor, "`timestamp`", micros)?, cursor)?,
            VOLATILITY => once(&mut value, calculated(cursor, "`volatility` of at least 0")?, cursor)?,
            INDEX_NAME => named.agrees(cursor)?,
            _ => pass(cursor)?,
        }
    }
    let Some(value) = value.filter(|value| value.mantissa >= 0) else {
        return cursor.expected("`volatility` of at least 0");
    };
    let time_us = time_us.flatten().unwrap_or_else(|| output.received_us());
    let Some(coin) = coin_of_index(named.venue_symbol) else { return cursor.expected("a known index") };
    output.event(Payload::VolatilityIndex(VolatilityIndex {
        instrument: named.instrument,
        time_us,
        value,
        underlying: coin.to_owned(),
    }));
    Ok(())
}
