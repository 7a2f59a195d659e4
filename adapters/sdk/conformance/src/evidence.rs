//! The origin of an event's numbers in its frame, with exact arithmetic of its own. A number must stand in the frame, or follow from one by
//! the contract's conversions: times contract size or value exactly, divided by the price rounded half to even at the quantity scale
//! (inverse contracts), shares of a ratio and the ratio of shares at scale 12.

use marketprism_adapter_host::contract::{
    Book, BookChange, Decimal, Event, Instrument, LongShortRatio, OpenInterest, Payload,
};
use marketprism_adapter_sdk::decimal::to_text;

use crate::convert::ToSdk;
use crate::names;
use crate::numbers::{Atto, Numbers, atto};

/// Scale of shares that an adapter makes of a ratio, and of the ratio that it makes of shares.
const SHARE_SCALE: u8 = 12;

/// Frames with more numbers than this are not searched for pairs of them.
const PAIRS_MAX: usize = 300;

#[derive(Clone, Copy)]
pub(crate) struct Evidence<'a> {
    pub(crate) frame: &'a Numbers,
    /// Earlier frames of the same instance: a rate may be read with what came before.
    pub(crate) earlier: &'a Numbers,
    pub(crate) instruments: &'a [Instrument],
}

/// Events with a number that nothing explains: the instrument, the field and its value.
pub(crate) fn unexplained_events(
    events: &[Event],
    levels: &[i64],
    evidence: Evidence<'_>,
) -> impl Iterator<Item = String> {
    events.iter().filter_map(move |event| {
        let found = unexplained(&event.payload, levels, evidence)?;
        let (_, instrument) = names::subject_of(&event.payload);
        Some(format!("{}: {found}", names::instrument(evidence.instruments, instrument)))
    })
}

fn unexplained(payload: &Payload, levels: &[i64], evidence: Evidence<'_>) -> Option<String> {
    let given =
        |field: &str, number: Decimal| (!evidence.frame.contains(atto(number))).then(|| named(field, number));
    let calculated = |field: &str, number: Decimal| {
        let value = atto(number);
        let known = evidence.frame.contains_calculated(value) || evidence.earlier.contains_calculated(value);
        (!known).then(|| named(field, number))
    };
    match payload {
        Payload::Trade(one) => given("trade.price", one.price)
            .or_else(|| quantity("trade.quantity", one.instrument, one.quantity, one.price, evidence)),
        Payload::Liquidation(one) => given("liquidation.price", one.price)
            .or_else(|| quantity("liquidation.quantity", one.instrument, one.quantity, one.price, evidence)),
        Payload::Book(one) => book(one, levels, evidence),
        Payload::FundingRate(one) => calculated("funding_rate.rate", one.rate)
            .or_else(|| one.mark_price.and_then(|price| calculated("funding_rate.mark_price", price)))
            .or_else(|| one.index_price.and_then(|price| calculated("funding_rate.index_price", price))),
        Payload::OpenInterest(one) => open_interest(one, evidence),
        Payload::LsrTopPosition(one) | Payload::LsrAllAccount(one) => shares(one, evidence),
        Payload::VolatilityIndex(one) => calculated("volatility_index.value", one.value),
    }
}

fn named(field: &str, number: Decimal) -> String {
    format!("{field} is {}, which the frame does not hold", to_text(number.to_sdk()))
}

fn book(one: &Book, levels: &[i64], evidence: Evidence<'_>) -> Option<String> {
    let from = one.levels_at as usize;
    let count = 2 * (one.bids as usize + one.asks as usize);
    let levels = levels.get(from..from + count).unwrap_or_default();
    for (index, [price, amount]) in levels.as_chunks::<2>().0.iter().enumerate() {
        let price = Decimal { mantissa: *price, scale: one.price_scale };
        let amount = Decimal { mantissa: *amount, scale: one.quantity_scale };
        let bids = one.bids as usize;
        let side = if index < bids { format!("bids[{index}]") } else { format!("asks[{}]", index - bids) };
        if !evidence.frame.contains(atto(price)) {
            return Some(named(&format!("book.{side}.price"), price));
        }
        // A venue may remove a level without naming a quantity.
        let removed = amount.mantissa == 0 && one.change == BookChange::Delta;
        let field = format!("book.{side}.quantity");
        let found = if removed { None } else { quantity(&field, one.instrument, amount, price, evidence) };
        if found.is_some() {
            return found;
        }
    }
    None
}

/// Base units: as given, or converted from contracts.
fn quantity(
    field: &str,
    instrument: u32,
    number: Decimal,
    price: Decimal,
    evidence: Evidence<'_>,
) -> Option<String> {
    let value = atto(number);
    if evidence.frame.contains(value) {
        return None;
    }
    let instrument = evidence.instruments.get(instrument as usize)?;
    let by_size = instrument.contract_size.is_some_and(|size| is_multiple(value, size, evidence.frame));
    let by_value = instrument.contract_value.is_some_and(|worth| {
        let scale = instrument.quantity_scale;
        // Some venues count contracts, some their value.
        let one = Decimal { mantissa: 1, scale: 0 };
        [worth, one].iter().any(|factor| is_divided(number, *factor, price, scale, evidence.frame))
    });
    (!by_size && !by_value).then(|| format!("{} (contracts considered)", named(field, number)))
}

/// True when a number of the frame times the factor is exactly the value.
fn is_multiple(value: Atto, factor: Decimal, frame: &Numbers) -> bool {
    let count = 10_i128.checked_pow(u32::from(factor.scale)).and_then(|power| value.checked_mul(power));
    let factor = i128::from(factor.mantissa);
    count.is_some_and(|count| factor != 0 && count % factor == 0 && frame.contains(count / factor))
}

/// True when a number of the frame, times the factor, divided by the price and rounded half to even at the scale, is the quantity.
fn is_divided(quantity: Decimal, factor: Decimal, price: Decimal, scale: u8, frame: &Numbers) -> bool {
    let Some(wanted) = at_scale(quantity, scale) else { return false };
    let Some((low, high)) = window(wanted, scale, factor, price) else { return false };
    let candidates = frame.between(low, high);
    candidates.iter().any(|count| divided(*count, factor, price, scale) == Some(i128::from(wanted)))
}

fn at_scale(number: Decimal, scale: u8) -> Option<i64> {
    let unit = 10_i128.pow(u32::from(18_u8.checked_sub(scale)?));
    let value = atto(number);
    (value % unit == 0).then(|| i64::try_from(value / unit).ok()).flatten()
}

/// Between which numbers a count must lie to give the quantity.
fn window(wanted: i64, scale: u8, factor: Decimal, price: Decimal) -> Option<(Atto, Atto)> {
    let times_price = |quantity: i128| -> Option<Atto> {
        let product = quantity.checked_mul(i128::from(price.mantissa))?;
        let places = i32::from(scale) + i32::from(price.scale) - i32::from(factor.scale);
        let power = 10_i128.checked_pow((18 - places).unsigned_abs())?;
        let product = if places <= 18 { product.checked_mul(power)? } else { product / power };
        product.checked_div(i128::from(factor.mantissa))
    };
    let (low, high) = (times_price(i128::from(wanted) - 1)?, times_price(i128::from(wanted) + 1)?);
    Some((low.min(high) - 2, low.max(high) + 2))
}

/// `count * factor / price`, rounded half to even at the scale.
fn divided(count: Atto, factor: Decimal, price: Decimal, scale: u8) -> Option<i128> {
    let (mut above, mut places) =
        (count.checked_mul(i128::from(factor.mantissa))?, 18 + i32::from(factor.scale));
    while places > 0 && above % 10 == 0 {
        (above, places) = (above / 10, places - 1);
    }
    let up = i32::from(scale) + i32::from(price.scale) - places;
    let power = 10_i128.checked_pow(up.unsigned_abs())?;
    let mut below = i128::from(price.mantissa);
    if up >= 0 {
        above = above.checked_mul(power)?;
    } else {
        below = below.checked_mul(power)?;
    }
    half_even(above, below)
}

fn half_even(above: i128, below: i128) -> Option<i128> {
    let floor = above.checked_div_euclid(below)?;
    let twice = above.checked_rem_euclid(below)?.checked_mul(2)?;
    let up = match twice.cmp(&below.abs()) {
        std::cmp::Ordering::Less => false,
        std::cmp::Ordering::Equal => floor % 2 != 0,
        std::cmp::Ordering::Greater => true,
    };
    Some(if up { floor + below.signum() } else { floor })
}

fn open_interest(one: &OpenInterest, evidence: Evidence<'_>) -> Option<String> {
    let fields = [
        ("open_interest.base", one.base),
        ("open_interest.contracts", one.contracts),
        ("open_interest.value_usd", one.value_usd),
    ];
    let instrument = evidence.instruments.get(one.instrument as usize)?;
    fields.into_iter().find_map(|(field, number)| {
        let number = number?;
        (!interest_is_explained(number, instrument, evidence)).then(|| named(field, number))
    })
}

fn interest_is_explained(number: Decimal, instrument: &Instrument, evidence: Evidence<'_>) -> bool {
    let value = atto(number);
    let factors = [instrument.contract_size, instrument.contract_value];
    let mut numbers = evidence.frame.clone();
    numbers.add(evidence.earlier);
    if numbers.contains_calculated(value)
        || factors.iter().flatten().any(|factor| is_multiple(value, *factor, &numbers))
    {
        return true;
    }
    // Contracts out of an amount: an exact quotient.
    let counted = |factor: &Decimal| {
        let amount = value.checked_mul(i128::from(factor.mantissa));
        let power = 10_i128.checked_pow(u32::from(factor.scale));
        amount
            .zip(power)
            .is_some_and(|(amount, power)| amount % power == 0 && numbers.contains(amount / power))
    };
    if factors.iter().flatten().any(counted) {
        return true;
    }
    // Base units out of a value: divided by a price of the same frame.
    let Some(worth) = instrument.contract_value else { return false };
    let prices = evidence.frame.all().iter().copied().filter(|price| *price > 0).take(PAIRS_MAX);
    let one = Decimal { mantissa: 1, scale: 0 };
    prices.filter_map(decimal).any(|price| {
        [worth, one]
            .iter()
            .any(|factor| is_divided(number, *factor, price, instrument.quantity_scale, evidence.frame))
    })
}

/// The decimal with the fewest places.
fn decimal(value: Atto) -> Option<Decimal> {
    let (mut value, mut scale) = (value, 18_u8);
    while scale > 0 && value % 10 == 0 {
        (value, scale) = (value / 10, scale - 1);
    }
    Some(Decimal { mantissa: i64::try_from(value).ok()?, scale })
}

/// Long and short as given, or made of the ratio; together they are 1. The ratio as given, or made of them.
fn shares(one: &LongShortRatio, evidence: Evidence<'_>) -> Option<String> {
    const ONE: Atto = 10_i128.pow(18);
    let name = |field: &str, number| named(&format!("long_short_ratio.{field}"), number);
    let given = |share: Decimal| evidence.frame.contains_calculated(atto(share));
    let unit = 10_i128.pow(u32::from(18 - SHARE_SCALE));
    let scale = 10_i128.pow(u32::from(SHARE_SCALE));
    let of_shares = || half_even(atto(one.long).checked_mul(scale)?, atto(one.short))?.checked_mul(unit);
    if let Some(ratio) = one.ratio
        && !given(ratio)
        && of_shares() != Some(atto(ratio))
    {
        return Some(name("ratio", ratio));
    }
    let derived = |share: Decimal| {
        let ratios = evidence.frame.calculated().filter(|ratio| **ratio > 0);
        let share_of = |ratio: &Atto| half_even(ratio.checked_mul(scale)?, ratio.checked_add(ONE)?);
        ratios.take(PAIRS_MAX).filter_map(share_of).any(|found| found * unit == atto(share))
    };
    let rest = |share: Decimal| {
        let rest = ONE - atto(share);
        evidence.frame.contains_calculated(rest) || decimal(rest).is_some_and(derived)
    };
    for (field, share) in [("long", one.long), ("short", one.short)] {
        if !given(share) && !derived(share) && !rest(share) {
            return Some(name(field, share));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use marketprism_adapter_host::contract::{MarketType, Side, Trade, TradeId};

    fn number(text: &str) -> Decimal {
        decimal(crate::numbers::parse(text.as_bytes()).unwrap()).unwrap()
    }

    fn instrument(contract_size: Option<&str>, contract_value: Option<&str>) -> Instrument {
        Instrument {
            symbol: "BTC-USD".into(),
            venue_symbol: "BTC-USD".into(),
            market_type: MarketType::Perpetual,
            base: "BTC".into(),
            quote: "USD".into(),
            contract_size: contract_size.map(number),
            contract_value: contract_value.map(number),
            price_scale: 1,
            quantity_scale: 12,
            tick_size: None,
            step_size: None,
            trading: true,
        }
    }

    fn found(frame: &str, price: &str, quantity: &str, instrument: Instrument) -> Option<String> {
        let trade = Trade {
            instrument: 0,
            time_us: 1,
            id: TradeId::Number(1),
            price: number(price),
            quantity: number(quantity),
            side: Side::Buy,
        };
        let (frame, earlier) = (Numbers::of(frame.as_bytes(), true), Numbers::default());
        let evidence = Evidence { frame: &frame, earlier: &earlier, instruments: &[instrument] };
        unexplained(&Payload::Trade(trade), &[], evidence)
    }

    #[test]
    fn only_documented_conversions_explain_a_number() {
        let frame = r#"{"px":"29000.5","sz":"3","side":"buy"}"#;
        let plain = || instrument(None, None);
        assert_eq!(found(frame, "29000.5", "3", plain()), None);
        let wrong = found(frame, "29000.5", "0.3", plain()).unwrap();
        assert!(wrong.starts_with("trade.quantity is 0.3, which the frame does not hold"), "{wrong}");
        assert!(found(frame, "290005", "3", plain()).unwrap().starts_with("trade.price is 290005"));
        assert_eq!(found(frame, "29000.5", "0.03", instrument(Some("0.01"), None)), None);
        assert!(found(frame, "29000.5", "0.031", instrument(Some("0.01"), None)).is_some());
        // 3 * 100 / 29000.5 = 0.010344649230186...
        let inverse = || instrument(None, Some("100"));
        assert_eq!(found(frame, "29000.5", "0.01034464923", inverse()), None);
        assert!(found(frame, "29000.5", "0.010344649231", inverse()).is_some());
        // 3 / 29000.5 = 0.000103446492301...: an amount in units of value.
        assert_eq!(found(frame, "29000.5", "0.000103446492", inverse()), None);
    }

    #[test]
    fn shares_and_ratio_are_given_or_made_of_each_other() {
        let found = |frame: &str, long: &str, short: &str, ratio: Option<&str>| {
            let event = LongShortRatio {
                instrument: 0,
                time_us: 1,
                long: number(long),
                short: number(short),
                ratio: ratio.map(number),
                period: "5m".into(),
            };
            let (frame, earlier) = (Numbers::of(frame.as_bytes(), true), Numbers::default());
            shares(&event, Evidence { frame: &frame, earlier: &earlier, instruments: &[] })
        };
        assert_eq!(found(r#"["0.6","0.4","1.5"]"#, "0.6", "0.4", Some("1.5")), None);
        assert_eq!(found(r#"["1.5"]"#, "0.6", "0.4", Some("1.5")), None);
        assert_eq!(found(r#"["1.2"]"#, "0.545454545455", "0.454545454545", Some("1.2")), None);
        assert_eq!(found(r#"["0.55"]"#, "0.55", "0.45", None), None);
        assert!(found(r#"["1.2"]"#, "0.5454545", "0.4545455", Some("1.2")).is_some());
        assert_eq!(found(r#"["0.6","0.4"]"#, "0.6", "0.4", Some("1.5")), None);
        assert_eq!(found(r#"["0.4","0.6"]"#, "0.4", "0.6", Some("0.666666666667")), None);
        for wrong in ["1.4", "0.6667", "1.500000000001"] {
            assert!(found(r#"["0.6","0.4"]"#, "0.6", "0.4", Some(wrong)).is_some(), "{wrong}");
        }
        assert!(found(r#"["1","0"]"#, "1", "0", Some("2")).is_some());
    }
}
