//! `tickers`: funding and open interest of contracts. The venue sends a snapshot, then only the fields that
//! changed.

use super::items::same_symbol;
use marketprism_adapter_sdk::{
    Cursor, DataType, Decimal, FundingRate, Ignored, LoadedFeed, MarketType, Object, OpenInterest, Output,
    ParseResult, Payload, calculated_amount, micros_of_millis, millis, unless_unset,
};
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub(crate) struct TickerStates(BTreeMap<u32, TickerState>);

/// A field of a ticker: none where no message had it; inside, none where the venue marks it as unset.
type Field<T> = Option<Option<T>>;

#[derive(Clone, Copy, Debug, Default)]
struct TickerState {
    time_us: i64,
    rate: Field<Decimal>,
    next_funding_time_us: Field<i64>,
    interval_hours: Field<u32>,
    mark_price: Field<Decimal>,
    index_price: Field<Decimal>,
    interest: Interest,
    /// Both sides, counted together wherever the venue gives one side too.
    both_sides: Interest,
}

/// Open interest in base units, and its value.
#[derive(Clone, Copy, Debug, Default)]
struct Interest {
    base: Field<Decimal>,
    value: Field<Decimal>,
}

impl Interest {
    const fn is_given(&self) -> bool {
        self.base.is_some() || self.value.is_some()
    }

    fn over(self, known: Interest) -> Interest {
        Interest { base: self.base.or(known.base), value: self.value.or(known.value) }
    }
}

impl TickerStates {
    pub(crate) fn read(
        &mut self,
        loaded: &LoadedFeed,
        output: &mut Output,
        message: &Object<'_>,
        symbol: &str,
    ) -> ParseResult<()> {
        let interest = loaded.has(DataType::OpenInterest);
        let either = if interest { DataType::OpenInterest } else { DataType::FundingRate };
        let Some((instrument, listed)) = loaded.subscribed(output, symbol, either) else { return Ok(()) };
        let known = self.0.get(&instrument);
        let time_us = message.optional("ts", millis)?;
        // Without a time a message follows the one before it: the receive time is of another clock.
        let order_us = time_us.or(known.map(|known| known.time_us)).unwrap_or_default();
        // Read inside, so that a fault names its place in the frame.
        let own = message
            .read("data", |cursor, _| TickerState::of_message(order_us, &Object::parse(cursor)?, symbol))?;
        let mut merged = match &*message.read("type", Cursor::text)? {
            "snapshot" => own,
            "delta" => own.over(known),
            _ => return message.read("type", |cursor, _| cursor.expected("`snapshot` or `delta`")),
        };
        // Where two connections overlap, one may lag behind: its message is published but changes no state.
        if known.is_none_or(|known| known.time_us <= own.time_us) {
            self.0.insert(instrument, merged);
        }
        merged.time_us = time_us.unwrap_or_else(|| output.received_us());
        let perpetual = listed.market_type == MarketType::Perpetual;
        let funding = perpetual && loaded.has(DataType::FundingRate) && own.has_funding();
        let interest = interest && own.open_interest_of(&merged).is_given();
        let rate = merged.funding_rate(instrument).filter(|_| funding);
        let base = merged.open_interest(instrument).filter(|_| interest);
        if rate.is_none() && base.is_none() {
            // Prices and volumes change far more often than what is collected here.
            output.ignored(if funding || interest { Ignored::Empty } else { Ignored::NotNeeded });
        }
        for payload in [rate.map(Payload::FundingRate), base.map(Payload::OpenInterest)] {
            payload.into_iter().for_each(|payload| output.event(payload));
        }
        Ok(())
    }
}

impl TickerState {
    fn of_message(time_us: i64, data: &Object<'_>, symbol: &str) -> ParseResult<TickerState> {
        same_symbol(data, symbol)?;
        let number = |key: &'static str, read: fn(&mut Cursor<'_>, &'static str) -> ParseResult<Decimal>| {
            field(data, key, |cursor, what| unless_unset(cursor, what, read))
        };
        let whole_number = |key: &'static str| {
            // 0 is no time and no interval: the venue writes it where there is none.
            let set = |cursor: &mut Cursor<'_>, what| {
                unless_unset(cursor, what, Cursor::unsigned).map(|value| value.filter(|value| *value > 0))
            };
            field(data, key, set)
        };
        let expected = |key: &'static str, what| data.read(key, |cursor, _| cursor.expected(what));
        let next = whole_number("nextFundingTime")?;
        let hours = whole_number("fundingIntervalHour")?;
        Ok(TickerState {
            time_us,
            rate: number("fundingRate", |cursor, what| cursor.calculated(what))?,
            next_funding_time_us: match next.flatten().map(micros_of_millis) {
                Some(None) => return expected("nextFundingTime", "a time in milliseconds"),
                time => next.map(|_| time.flatten()),
            },
            interval_hours: match hours.flatten().map(u32::try_from) {
                Some(Err(_)) => return expected("fundingIntervalHour", "a number of hours"),
                interval => hours.map(|_| interval.and_then(Result::ok)),
            },
            mark_price: number("markPrice", calculated_amount)?,
            index_price: number("indexPrice", calculated_amount)?,
            interest: Interest {
                base: number("singleOpenInterest", calculated_amount)?,
                value: number("singleOpenInterestValue", calculated_amount)?,
            },
            both_sides: Interest {
                base: number("openInterest", calculated_amount)?,
                value: number("openInterestValue", calculated_amount)?,
            },
        })
    }

    /// This message over an older state; alone without one.
    fn over(self, known: Option<&TickerState>) -> TickerState {
        let Some(known) = known.filter(|known| known.time_us <= self.time_us) else { return self };
        TickerState {
            time_us: self.time_us,
            rate: self.rate.or(known.rate),
            next_funding_time_us: self.next_funding_time_us.or(known.next_funding_time_us),
            interval_hours: self.interval_hours.or(known.interval_hours),
            mark_price: self.mark_price.or(known.mark_price),
            index_price: self.index_price.or(known.index_price),
            interest: self.interest.over(known.interest),
            both_sides: self.both_sides.over(known.both_sides),
        }
    }

    /// Prices alone do not make a new funding rate: they change ten times a second.
    fn has_funding(&self) -> bool {
        self.rate.is_some() || self.next_funding_time_us.is_some() || self.interval_hours.is_some()
    }

    /// One side where `merged` knows it; older messages do not have it.
    fn open_interest_of(&self, merged: &TickerState) -> Interest {
        if merged.interest.is_given() { self.interest } else { self.both_sides }
    }

    fn funding_rate(&self, instrument: u32) -> Option<FundingRate> {
        Some(FundingRate {
            instrument,
            time_us: self.time_us,
            rate: self.rate.flatten()?,
            funding_time_us: None,
            next_funding_time_us: self.next_funding_time_us.flatten(),
            interval_hours: self.interval_hours.flatten(),
            mark_price: self.mark_price.flatten(),
            index_price: self.index_price.flatten(),
        })
    }

    fn open_interest(&self, instrument: u32) -> Option<OpenInterest> {
        let interest = self.open_interest_of(self);
        let (base, value_usd) = (interest.base.flatten(), interest.value.flatten());
        let given = base.or(value_usd).is_some();
        given.then_some(OpenInterest { instrument, time_us: self.time_us, base, contracts: None, value_usd })
    }
}

/// A value that a message may leave as it was, or mark as unset.
fn field<'a, T>(
    data: &Object<'a>,
    key: &'static str,
    read: impl FnOnce(&mut Cursor<'a>, &'static str) -> ParseResult<Option<T>>,
) -> ParseResult<Field<T>> {
    if data.has(key) { data.read(key, read).map(Some) } else { Ok(None) }
}
