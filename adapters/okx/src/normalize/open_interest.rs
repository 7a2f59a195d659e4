//! The `open-interest` channel.

use super::topic::{Topic, state_time};
use crate::numbers::optional_total;
use marketprism_adapter_sdk::{
    Cursor, Ignored, OpenInterest, Output, ParseResult, Payload, each_member, once,
};

/// Reads the open interest of the topic's instrument: contracts, coins and dollars, each where given.
pub(super) fn open_interest(
    output: &mut Output,
    cursor: &mut Cursor<'_>,
    topic: &Topic<'_>,
) -> ParseResult<()> {
    let (mut contracts, mut base, mut value_usd, mut time) = (None, None, None, None);
    // The time of a state whose message has no `ts`, as the venue's older ones.
    let received_us = output.received_us();
    each_member(cursor, "an open interest", |cursor, key| match key {
        "oi" => once(&mut contracts, optional_total(cursor, "`oi`")?, cursor),
        "oiCcy" => once(&mut base, optional_total(cursor, "`oiCcy`")?, cursor),
        "oiUsd" => once(&mut value_usd, optional_total(cursor, "`oiUsd`")?, cursor),
        "ts" => once(&mut time, state_time(cursor, received_us)?, cursor),
        "instId" => topic.same_instrument(cursor),
        _ => cursor.skip(),
    })?;
    let (contracts, base, value_usd) = (contracts.flatten(), base.flatten(), value_usd.flatten());
    match time.unwrap_or(Some(received_us)) {
        Some(time_us) if contracts.is_some() || base.is_some() || value_usd.is_some() => {
            let instrument = topic.instrument;
            let interest = OpenInterest { instrument, time_us, base, contracts, value_usd };
            output.event(Payload::OpenInterest(interest));
        }
        _ => output.ignored(Ignored::Empty),
    }
    Ok(())
}
