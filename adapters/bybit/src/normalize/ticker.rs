//! `tickers`: funding and open interest of contracts. The venue sends a snapshot, then only the fields that
//! changed. An instance that begins behind a snapshot has the terms of funding from the venue's list of tickers.

use super::items::{each_row, same_symbol};
use marketprism_adapter_sdk::{
    Cursor, DataType, Decimal, FundingRate, Ignored, LoadedFeed, MarketType, Object, OpenInterest, Output,
    ParseResult, Payload, calculated_amount, log, micros_of_millis, millis, unless_unset,
};
use std::collections::BTreeMap;

/// Room for a clock of the venue that is ahead: a later time would make every message behind it an older one.
const AHEAD_MAX_US: i64 = 5_000_000;

/// Longest lag of one of two connections that overlap. A message that is further behind is no copy: the venue's clock was set back.
const BEHIND_MAX_US: i64 = 60_000_000;

const HOUR_US: i64 = 3_600_000_000;

#[derive(Debug, Default)]
pub(crate) struct TickerStates {
    states: BTreeMap<u32, TickerState>,
    /// From the newest list of tickers.
    terms: BTreeMap<u32, FundingTerms>,
}

/// A field of a ticker: none where no message had it.
type Field<T> = Option<TimedValue<T>>;

type ReadNumber = fn(&mut Cursor<'_>, &'static str) -> ParseResult<Decimal>;

/// A field as a message of this time gave it. None where the venue marks it as unset.
#[derive(Clone, Copy, Debug)]
struct TimedValue<T> {
    time_us: i64,
    value: Option<T>,
}

#[derive(Clone, Copy, Debug, Default)]
struct TickerState {
    time_us: i64,
    /// Time of the first message: since then every change is in the state.
    began_us: i64,
    /// Begun by a snapshot, which has every field that the venue gives.
    is_whole: bool,
    rate: Field<Decimal>,
    next_funding_time_us: Field<i64>,
    interval_hours: Field<u32>,
    mark_price: Field<Decimal>,
    index_price: Field<Decimal>,
    interest: Interest,
    /// Both sides, counted together wherever the venue gives one side too.
    both_sides: Interest,
    /// The venue gave one side in this message or one before it.
    has_one_side: bool,
}

/// Next charge and interval of funding: they stay the same for hours.
#[derive(Clone, Copy, Debug)]
struct FundingTerms {
    next_funding_time_us: Option<i64>,
    interval_hours: Option<u32>,
}

impl FundingTerms {
    /// The charge that comes next at this time. None where one lies between the list and the time.
    fn next_after(&self, time_us: i64) -> Option<i64> {
        let interval_us = self.interval_hours.map_or(i64::MAX, |hours| HOUR_US.saturating_mul(hours.into()));
        self.next_funding_time_us.filter(|next| (1..=interval_us).contains(&next.saturating_sub(time_us)))
    }
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

    fn until(self, time_us: i64) -> Interest {
        Interest { base: until(self.base, time_us), value: until(self.value, time_us) }
    }

    fn known_by(self, time_us: i64) -> Interest {
        Interest { base: known_by(self.base, time_us), value: known_by(self.value, time_us) }
    }
}

/// A message with the state that it belongs to.
struct Change {
    own: TickerState,
    merged: TickerState,
    /// State that had the message already, as far as it had: from the other one of two connections that overlap.
    given: Option<TickerState>,
}

impl TickerStates {
    /// Reads the list of all tickers, of which only the terms of funding are kept: everything else may have changed since.
    pub(crate) fn learn(&mut self, loaded: &LoadedFeed, output: &mut Output, list: &[u8]) -> ParseResult<()> {
        let mut terms = BTreeMap::new();
        let rows = each_row(output, list, |_, cursor| {
            let row = Object::parse(cursor)?;
            let symbol = row.read("symbol", Cursor::text)?;
            if let Some(instrument) = loaded.position(symbol.as_bytes()) {
                let next_funding_time_us = next_funding_time_us(&row)?.flatten();
                let interval_hours = interval_hours(&row)?.flatten();
                terms.insert(instrument, FundingTerms { next_funding_time_us, interval_hours });
            }
            Ok(())
        })?;
        match rows {
            // An error of the venue, which is noted.
            None => {}
            Some(0) => output.ignored(Ignored::Empty),
            Some(_) => {
                self.terms = terms;
                output.ignored(Ignored::Reference);
            }
        }
        Ok(())
    }

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
        let time_us = message.optional("ts", millis)?;
        let change = self.change(instrument, output.received_us(), time_us, message, symbol)?;
        let mut merged = change.merged;
        merged.time_us = time_us.unwrap_or_else(|| output.received_us());
        if let Some(terms) = self.terms.get(&instrument) {
            merged.complete(terms);
        }
        let perpetual = listed.market_type == MarketType::Perpetual;
        let funding = perpetual && loaded.has(DataType::FundingRate) && change.own.has_funding();
        let interest = interest && change.has_interest();
        let is_new_funding = funding && !change.repeats_funding();
        let is_new_interest = interest && !change.repeats_interest();
        let rate = merged.funding_rate(instrument).filter(|_| is_new_funding);
        let base = merged.open_interest(instrument).filter(|_| is_new_interest);
        if rate.is_none() && base.is_none() {
            output.ignored(match (funding || interest, is_new_funding || is_new_interest) {
                // Prices and volumes change far more often than what is collected here.
                (false, _) => Ignored::NotNeeded,
                (true, false) => Ignored::Repeated,
                (true, true) => Ignored::Empty,
            });
        }
        for payload in [rate.map(Payload::FundingRate), base.map(Payload::OpenInterest)] {
            payload.into_iter().for_each(|payload| output.event(payload));
        }
        Ok(())
    }

    /// Reads a message over the state of its instrument, and keeps it as the state unless it is an older one.
    fn change(
        &mut self,
        instrument: u32,
        received_us: i64,
        time_us: Option<i64>,
        message: &Object<'_>,
        symbol: &str,
    ) -> ParseResult<Change> {
        let known = self.states.get(&instrument).copied();
        // Without a time a message follows the one before it: the receive time is of another clock.
        let order_us = match time_us {
            // The receive time counts only where the state says nothing of it: a clock of the edge that is set back makes no message old.
            Some(time_us)
                if known.is_some_and(|known| time_us <= known.time_us.saturating_add(BEHIND_MAX_US)) =>
            {
                time_us
            }
            Some(time_us) => time_us.min(received_us.saturating_add(AHEAD_MAX_US)),
            None => known.map_or(0, |known| known.time_us),
        };
        // Read inside, so that a fault names its place in the frame.
        let own = message
            .read("data", |cursor, _| TickerState::of_message(order_us, &Object::parse(cursor)?, symbol))?;
        let is_snapshot = match &*message.read("type", Cursor::text)? {
            "snapshot" => true,
            "delta" => false,
            _ => return message.read("type", |cursor, _| cursor.expected("`snapshot` or `delta`")),
        };
        let behind_us = known.map_or(0, |known| known.time_us.saturating_sub(order_us));
        // Where two connections overlap, one may lag behind: its message changes no state, and takes nothing from it that came later.
        let is_older = (1..=BEHIND_MAX_US).contains(&behind_us);
        // After a clock that was set back every late message would find what is known to come from after it.
        let before =
            known.map(|known| if is_older { known.until(order_us) } else { known.known_by(order_us) });
        let merged =
            if is_snapshot { TickerState { is_whole: true, ..own } } else { own.over(before.as_ref()) };
        if behind_us > BEHIND_MAX_US {
            let seconds = behind_us / 1_000_000;
            log::warn(&format!("tickers.{symbol}: `ts` went back by {seconds} s, taken as the newest"));
        }
        if !is_older {
            self.states.insert(instrument, merged);
        }
        let given = known.filter(|known| is_older && !is_snapshot && known.began_us <= order_us);
        Ok(Change { own, merged, given })
    }
}

impl Change {
    /// The value alone follows the price: the interest itself has not changed.
    fn has_interest(&self) -> bool {
        self.own.open_interest_of(&self.merged).base.is_some()
    }

    /// True for a copy on the slower connection that says nothing else than the state.
    fn repeats_funding(&self) -> bool {
        let own = &self.own;
        self.given.is_some_and(|given| {
            is_same(own.rate, given.rate)
                && is_same(own.next_funding_time_us, given.next_funding_time_us)
                && is_same(own.interval_hours, given.interval_hours)
        })
    }

    fn repeats_interest(&self) -> bool {
        let own = self.own.open_interest_of(&self.merged);
        self.given.is_some_and(|given| is_same(own.base, given.open_interest_of(&given).base))
    }
}

/// A field that a message leaves out has not changed.
fn is_same<T: PartialEq>(own: Field<T>, known: Field<T>) -> bool {
    own.is_none_or(|own| known.is_some_and(|known| known.value == own.value))
}

fn until<T>(field: Field<T>, time_us: i64) -> Field<T> {
    field.filter(|given| given.time_us <= time_us)
}

fn known_by<T>(field: Field<T>, time_us: i64) -> Field<T> {
    field.map(|given| TimedValue { time_us: given.time_us.min(time_us), ..given })
}

fn value<T>(field: Field<T>) -> Option<T> {
    field.and_then(|given| given.value)
}

impl TickerState {
    fn of_message(time_us: i64, data: &Object<'_>, symbol: &str) -> ParseResult<TickerState> {
        same_symbol(data, symbol)?;
        let number = |key: &'static str, read: ReadNumber| -> ParseResult<Field<Decimal>> {
            let number = field(data, key, |cursor, what| unless_unset(cursor, what, read))?;
            Ok(number.map(|value| TimedValue { time_us, value }))
        };
        let interest = Interest {
            base: number("singleOpenInterest", calculated_amount)?,
            value: number("singleOpenInterestValue", calculated_amount)?,
        };
        Ok(TickerState {
            time_us,
            began_us: time_us,
            is_whole: false,
            rate: number("fundingRate", |cursor, what| cursor.calculated(what))?,
            next_funding_time_us: next_funding_time_us(data)?.map(|value| TimedValue { time_us, value }),
            interval_hours: interval_hours(data)?.map(|value| TimedValue { time_us, value }),
            mark_price: number("markPrice", calculated_amount)?,
            index_price: number("indexPrice", calculated_amount)?,
            interest,
            both_sides: Interest {
                base: number("openInterest", calculated_amount)?,
                value: number("openInterestValue", calculated_amount)?,
            },
            has_one_side: interest.is_given(),
        })
    }

    /// This message over a state; alone without one.
    fn over(self, known: Option<&TickerState>) -> TickerState {
        let Some(known) = known else { return self };
        TickerState {
            time_us: self.time_us,
            began_us: known.began_us.min(self.time_us),
            is_whole: known.is_whole,
            rate: self.rate.or(known.rate),
            next_funding_time_us: self.next_funding_time_us.or(known.next_funding_time_us),
            interval_hours: self.interval_hours.or(known.interval_hours),
            mark_price: self.mark_price.or(known.mark_price),
            index_price: self.index_price.or(known.index_price),
            interest: self.interest.over(known.interest),
            both_sides: self.both_sides.over(known.both_sides),
            has_one_side: self.has_one_side || known.has_one_side,
        }
    }

    /// The state as a message of this time finds it. The terms of funding hold from one charge to the next, also before they were sent.
    fn until(self, time_us: i64) -> TickerState {
        let terms = FundingTerms {
            next_funding_time_us: value(self.next_funding_time_us),
            interval_hours: value(self.interval_hours),
        };
        let holds = terms.interval_hours.is_some() && terms.next_after(time_us).is_some();
        let terms_us = if holds { i64::MAX } else { time_us };
        TickerState {
            rate: until(self.rate, time_us),
            next_funding_time_us: until(self.next_funding_time_us, terms_us),
            interval_hours: until(self.interval_hours, terms_us),
            mark_price: until(self.mark_price, time_us),
            index_price: until(self.index_price, time_us),
            interest: self.interest.until(time_us),
            both_sides: self.both_sides.until(time_us),
            ..self
        }
    }

    /// The state with no field that came later than this time.
    fn known_by(self, time_us: i64) -> TickerState {
        TickerState {
            rate: known_by(self.rate, time_us),
            next_funding_time_us: known_by(self.next_funding_time_us, time_us),
            interval_hours: known_by(self.interval_hours, time_us),
            mark_price: known_by(self.mark_price, time_us),
            index_price: known_by(self.index_price, time_us),
            interest: self.interest.known_by(time_us),
            both_sides: self.both_sides.known_by(time_us),
            ..self
        }
    }

    /// Prices alone do not make a new funding rate: they change ten times a second.
    fn has_funding(&self) -> bool {
        self.rate.is_some() || self.next_funding_time_us.is_some() || self.interval_hours.is_some()
    }

    /// Takes the terms of funding that no message has sent from the list of tickers.
    fn complete(&mut self, terms: &FundingTerms) {
        let time_us = self.time_us;
        let next = TimedValue { time_us, value: terms.next_after(time_us) };
        let interval = TimedValue { time_us, value: terms.interval_hours };
        self.next_funding_time_us = self.next_funding_time_us.or(Some(next));
        self.interval_hours = self.interval_hours.or(Some(interval));
    }

    /// One side where `merged` knows it. Both only where a snapshot shows that the venue gave no single one yet: of a change alone it is not known.
    fn open_interest_of(&self, merged: &TickerState) -> Interest {
        match (merged.has_one_side, merged.is_whole) {
            (true, _) => self.interest,
            (false, true) => self.both_sides,
            (false, false) => Interest::default(),
        }
    }

    fn funding_rate(&self, instrument: u32) -> Option<FundingRate> {
        Some(FundingRate {
            instrument,
            time_us: self.time_us,
            rate: value(self.rate)?,
            funding_time_us: None,
            next_funding_time_us: value(self.next_funding_time_us),
            interval_hours: value(self.interval_hours),
            mark_price: value(self.mark_price),
            index_price: value(self.index_price),
        })
    }

    fn open_interest(&self, instrument: u32) -> Option<OpenInterest> {
        let interest = self.open_interest_of(self);
        let (base, value_usd) = (value(interest.base), value(interest.value));
        let given = base.or(value_usd).is_some();
        given.then_some(OpenInterest { instrument, time_us: self.time_us, base, contracts: None, value_usd })
    }
}

/// The time of the next charge, in milliseconds on the wire.
fn next_funding_time_us(data: &Object<'_>) -> ParseResult<Option<Option<i64>>> {
    const KEY: &str = "nextFundingTime";
    let next = whole_number(data, KEY)?;
    match next.flatten().map(micros_of_millis) {
        Some(None) => data.read(KEY, |cursor, _| cursor.expected("a time in milliseconds")),
        time => Ok(next.map(|_| time.flatten())),
    }
}

fn interval_hours(data: &Object<'_>) -> ParseResult<Option<Option<u32>>> {
    const KEY: &str = "fundingIntervalHour";
    let hours = whole_number(data, KEY)?;
    match hours.flatten().map(u32::try_from) {
        Some(Err(_)) => data.read(KEY, |cursor, _| cursor.expected("a number of hours")),
        interval => Ok(hours.map(|_| interval.and_then(Result::ok))),
    }
}

/// 0 is no time and no interval: the venue writes it where there is none.
fn whole_number(data: &Object<'_>, key: &'static str) -> ParseResult<Option<Option<u64>>> {
    field(data, key, |cursor, what| {
        unless_unset(cursor, what, Cursor::unsigned).map(|value| value.filter(|value| *value > 0))
    })
}

/// A value that a message may leave as it was, or mark as unset: none inside.
fn field<'a, T>(
    data: &Object<'a>,
    key: &'static str,
    read: impl FnOnce(&mut Cursor<'a>, &'static str) -> ParseResult<Option<T>>,
) -> ParseResult<Option<Option<T>>> {
    if data.has(key) { data.read(key, read).map(Some) } else { Ok(None) }
}
