//! Instrument names (`BTC-PERPETUAL`, `BTC_USDC-PERPETUAL`, `BTC-25DEC26`, `BTC-5JAN27-90000-P`, `XRP_USDC-25DEC26-2d5-C`), default
//! listings, and the instrument list.

use crate::clock::{self, day_name as day};
use crate::decimal::Decimal;
use crate::market::{Contract, Instrument, Sizing};

/// Expiry of perpetuals: the year 3000.
const NEVER_MS: i64 = 32_503_708_800_000;

/// Pair, price scale, tick, start in ticks, quantity scale, step, usual level in steps.
type ContractRow = (&'static str, u8, i64, i64, u8, i64, i64);

/// Amounts are dollars in multiples of a contract where the quote is USD, and coins elsewhere.
const CONTRACTS: [ContractRow; 3] = [
    ("BTC-USD", 1, 5, 190_247, 1, 100, 5000),
    ("ETH-USD", 2, 5, 62_469, 1, 10, 20_000),
    ("BTC-USDC", 1, 5, 190_251, 4, 1, 50_000),
];
const OTHER_CONTRACT: ContractRow = ("", 4, 1, 105_000, 1, 10, 50_000);

/// Options priced in their coin; others are priced in the quote asset.
const OPTIONS: [ContractRow; 2] = [("BTC-USD", 4, 1, 650, 1, 1, 500), ("ETH-USD", 4, 1, 840, 1, 10, 500)];
const OTHER_OPTION: ContractRow = ("", 4, 1, 2500, 1, 10, 5000);

pub(super) fn by_name(name: &str) -> Option<Instrument> {
    let Name { base, quote, contract } = read_name(name)?;
    let pair = format!("{base}-{quote}");
    let option = matches!(contract, Contract::Option { .. });
    let (rows, other): (&[ContractRow], ContractRow) =
        if option { (&OPTIONS, OTHER_OPTION) } else { (&CONTRACTS, OTHER_CONTRACT) };
    let row = rows.iter().find(|row| row.0 == pair).copied().unwrap_or(other);
    let (_, price_scale, tick, start_ticks, quantity_scale, step, usual_steps) = row;
    let dollar = Decimal { units: 1, scale: 0 };
    Some(Instrument {
        symbol: name.to_owned(),
        base: base.to_owned(),
        quote: quote.to_owned(),
        pair,
        funding_hours: (contract == Contract::Perpetual).then_some(8),
        sizing: if quote == "USD" && !option { Sizing::Value(dollar) } else { Sizing::Base },
        contract,
        price_scale,
        tick,
        listed_ticks: 1,
        quantity_scale,
        step,
        trims: Some(1),
        start_ticks,
        usual_steps,
    })
}

pub(super) fn default_symbols(now_ms: i64) -> Vec<String> {
    let (quarter, near) = (day(clock::next_quarter(now_ms).0), near_day(now_ms));
    vec![
        "BTC-PERPETUAL".to_owned(),
        "ETH-PERPETUAL".to_owned(),
        "BTC_USDC-PERPETUAL".to_owned(),
        format!("BTC-{quarter}"),
        format!("BTC-{quarter}-100000-C"),
        format!("BTC-{near}-90000-P"),
        format!("XRP_USDC-{quarter}-2d5-C"),
    ]
}

/// The fifth of a month, one to two months ahead: a day with one digit.
fn near_day(now_ms: i64) -> String {
    let ahead = |days: i64| now_ms + days * 86_400_000;
    let days = (31..=62).find(|days| clock::date(ahead(*days)).2 == 5);
    day(ahead(days.unwrap_or(31)))
}

pub(super) fn is_linear(i: &Instrument) -> bool {
    i.symbol.contains('_')
}

/// Options without a quote asset in their name are priced in coins.
pub(super) fn is_coin_priced(i: &Instrument) -> bool {
    matches!(i.contract, Contract::Option { .. }) && !is_linear(i)
}

pub(super) fn contract_size(i: &Instrument) -> Decimal {
    match i.contract {
        Contract::Option { .. } => Decimal { units: 10, scale: 1 },
        _ => i.quantity(1),
    }
}

pub(super) fn kind(i: &Instrument) -> &'static str {
    if matches!(i.contract, Contract::Option { .. }) { "option" } else { "future" }
}

pub(super) fn settled_in(i: &Instrument) -> &str {
    if is_linear(i) { &i.quote } else { &i.base }
}

fn strike(text: &str) -> String {
    if text.contains('.') { text.to_owned() } else { format!("{text}.0") }
}

pub(super) fn row(index: usize, i: &Instrument) -> String {
    let (expires, period, option) = match &i.contract {
        Contract::Dated { delivery_ms } => (*delivery_ms, "month", String::new()),
        Contract::Option { delivery_ms, strike: price, call } => {
            let kind = if *call { "call" } else { "put" };
            let fields = format!(r#""strike":{},"option_type":"{kind}","#, strike(price));
            (*delivery_ms, "month", fields)
        }
        Contract::Spot | Contract::Perpetual => (NEVER_MS, "perpetual", String::new()),
    };
    format!(
        concat!(
            r#"{{"tick_size_steps":[],"tick_size":{tick},"taker_commission":0.0005,{option}"#,
            r#""settlement_period":"{period}","settlement_currency":"{settled}","#,
            r#""quote_currency":"{quote}","price_index":"{pair}","min_trade_amount":{least},"#,
            r#""maker_commission":0.0,"kind":"{kind}","is_active":true,"state":"open","#,
            r#""instrument_type":"{form}","instrument_name":"{name}","instrument_id":{id},"#,
            r#""expiration_timestamp":{expires},"creation_timestamp":1534167754000,"#,
            r#""counter_currency":"{counter}","contract_size":{size},"base_currency":"{base}"}}"#
        ),
        tick = i.price(1),
        option = option,
        period = period,
        settled = settled_in(i),
        // Prices of these are in coins; the dollars are only counted with.
        quote = if is_coin_priced(i) { &i.base } else { &i.quote },
        pair = i.pair.to_lowercase().replace('-', "_"),
        least = i.quantity(1),
        kind = kind(i),
        form = if is_linear(i) { "linear" } else { "reversed" },
        name = i.symbol,
        id = 1000 + index,
        expires = expires,
        counter = i.quote,
        size = contract_size(i),
        base = i.base,
    )
}

/// A combination of a dated contract with the perpetual, in the list only: it is unknown if the venue omits combinations from the list of
/// futures.
pub(super) fn combination(i: &Instrument) -> Option<String> {
    let (Contract::Dated { .. }, false) = (&i.contract, is_linear(i)) else { return None };
    let (base, day) = i.symbol.split_once('-')?;
    let own = row(9000, i);
    let name = format!(r#""instrument_name":"{base}-FS-{day}_PERP""#);
    let named = own.replace(&format!(r#""instrument_name":"{}""#, i.symbol), &name);
    Some(named.replace(r#""kind":"future""#, r#""kind":"future_combo""#))
}

#[derive(Debug, PartialEq, Eq)]
struct Name<'a> {
    base: &'a str,
    quote: &'a str,
    contract: Contract,
}

/// `None` for a name not of the venue's form.
fn read_name(name: &str) -> Option<Name<'_>> {
    let parts: Vec<&str> = name.split('-').collect();
    let [pair, rest @ ..] = parts.as_slice() else { return None };
    // Without a quote asset of its own, a contract is settled in its base asset and counted in dollars.
    let (base, quote) = pair.split_once('_').unwrap_or((pair, "USD"));
    let is_asset =
        |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit());
    if !is_asset(base) || !is_asset(quote) {
        return None;
    }
    let contract = match rest {
        ["PERPETUAL"] => Contract::Perpetual,
        [day] => Contract::Dated { delivery_ms: delivery(day)? },
        [day, strike, kind @ ("C" | "P")] => Contract::Option {
            delivery_ms: delivery(day)?,
            strike: strike_price(strike)?,
            call: *kind == "C",
        },
        _ => return None,
    };
    Some(Name { base, quote, contract })
}

fn strike_price(text: &str) -> Option<String> {
    let plain = text.replacen('d', ".", 1);
    let digits = plain.chars().filter(char::is_ascii_digit).count();
    let ends = plain.starts_with('.') || plain.ends_with('.');
    (digits > 0 && digits + usize::from(plain.contains('.')) == plain.len() && !ends).then_some(plain)
}

/// Delivery time of a `DMMMYY`; the day has no leading zero.
fn delivery(text: &str) -> Option<i64> {
    clock::named_delivery(text).filter(|_| !text.starts_with('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_list_has_every_kind() {
        let listed =
            |now| -> Vec<_> { default_symbols(now).iter().filter_map(|name| by_name(name)).collect() };
        for days in 0..800 {
            let now = 1_795_305_600_000 + days * 86_400_000;
            let near = near_day(now);
            assert!(near.starts_with('5') && near.len() == 6, "{near}");
            assert_eq!(listed(now).len(), 7);
        }
        let shown: Vec<_> = listed(1_795_305_600_000)
            .iter()
            .map(|i| (i.normalized(), i.price(3).to_string(), contract_size(i).to_string()))
            .collect();
        let expected = [
            ("BTC-USD", "1.5", "10.0"),
            ("ETH-USD", "0.15", "1.0"),
            ("BTC-USDC", "1.5", "0.0001"),
            ("BTC-USD-261225", "1.5", "10.0"),
            ("BTC-USD-261225-100000-C", "0.0003", "1.0"),
            ("BTC-USD-270105-90000-P", "0.0003", "1.0"),
            ("XRP-USDC-261225-2d5-C", "0.0003", "1.0"),
        ];
        let text = |(a, b, c): (&str, &str, &str)| (a.to_owned(), b.to_owned(), c.to_owned());
        assert_eq!(shown, expected.map(text));
    }

    #[test]
    fn names_are_the_products_they_name() {
        let christmas = 1_798_185_600_000;
        let option = |delivery_ms, strike: &str, call| Contract::Option {
            delivery_ms,
            strike: strike.to_owned(),
            call,
        };
        for (name, base, quote, contract) in [
            ("BTC-PERPETUAL", "BTC", "USD", Contract::Perpetual),
            ("BTC_USDC-PERPETUAL", "BTC", "USDC", Contract::Perpetual),
            ("ETH-25DEC26", "ETH", "USD", Contract::Dated { delivery_ms: christmas }),
            ("BTC-25DEC26-100000-C", "BTC", "USD", option(christmas, "100000", true)),
            ("BTC-5JAN27-90000-P", "BTC", "USD", option(1_799_136_000_000, "90000", false)),
            ("XRP_USDC-25DEC26-2d5-C", "XRP", "USDC", option(christmas, "2.5", true)),
        ] {
            assert_eq!(read_name(name), Some(Name { base, quote, contract }), "{name}");
        }
        assert_eq!((day(christmas), day(1_799_136_000_000)), ("25DEC26".into(), "5JAN27".into()));
        for name in [
            "BTC-FS-25DEC26_PERP",
            "BTC-05JAN27",
            "BTC-31FEB27",
            "BTC-USDT-SWAP",
            "BTC-USD-261225",
            "BTC-USDT",
            "BTCUSDT",
            "BTC_USDC",
            "BTC-25DEC26-d5-C",
            "BTC-25DEC26-1d2d5-C",
            "",
        ] {
            assert_eq!(read_name(name), None, "{name}");
        }
    }
}
