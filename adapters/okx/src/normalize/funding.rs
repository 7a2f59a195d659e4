//! The `funding-rate` channel.

use super::topic::{Topic, state_time};
use crate::numbers::micros;
use marketprism_adapter_sdk::{
    Cursor, FundingRate, Ignored, Output, ParseResult, Payload, each_member, once, unless_unset,
};

const HOUR_US: i64 = 3_600_000_000;

/// Reads one funding rate of the topic's instrument.
///
/// The venue's `fundingTime` is the next settlement, the one that `fundingRate` will be charged at; its
/// `nextFundingTime` is the settlement after that.
pub(super) fn funding_rate(
    output: &mut Output,
    cursor: &mut Cursor<'_>,
    topic: &Topic<'_>,
) -> ParseResult<()> {
    let (mut rate, mut next, mut after_next, mut time) = (None, None, None, None);
    // The time of a state whose message has no `ts`, as the venue's older ones.
    let received_us = output.received_us();
    each_member(cursor, "a funding rate", |cursor, key| match key {
        "fundingRate" => once(&mut rate, unless_unset(cursor, "`fundingRate`", Cursor::calculated)?, cursor),
        "fundingTime" => once(&mut next, micros(cursor, "`fundingTime`")?, cursor),
        "nextFundingTime" => once(&mut after_next, micros(cursor, "`nextFundingTime`")?, cursor),
        "ts" => once(&mut time, state_time(cursor, received_us)?, cursor),
        "instId" => topic.same_instrument(cursor),
        _ => cursor.skip(),
    })?;
    let time = time.unwrap_or(Some(received_us));
    let (Some(rate), Some(time_us)) = (rate.flatten(), time) else {
        output.ignored(Ignored::Empty);
        return Ok(());
    };
    let (next, after_next) = (next.flatten(), after_next.flatten());
    output.event(Payload::FundingRate(FundingRate {
        instrument: topic.instrument,
        time_us,
        rate,
        funding_time_us: None,
        next_funding_time_us: next,
        interval_hours: next.zip(after_next).and_then(|(next, after_next)| hours(after_next - next)),
        mark_price: None,
        index_price: None,
    }));
    Ok(())
}

/// Whole hours; none for a span that is none.
fn hours(span_us: i64) -> Option<u32> {
    u32::try_from(span_us / HOUR_US).ok().filter(|hours| *hours > 0 && span_us % HOUR_US == 0)
}
