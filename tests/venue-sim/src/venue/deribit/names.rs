//! Instrument names: `BTC-PERPETUAL`, `BTC_USDC-PERPETUAL`, `BTC-25DEC26`, `BTC-5JAN27-90000-P`,
//! `XRP_USDC-25DEC26-2d5-C`.

use crate::clock;
use crate::market::Contract;

const MONTHS: [&str; 12] =
    ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Name<'a> {
    pub(super) base: &'a str,
    pub(super) quote: &'a str,
    pub(super) contract: Contract,
}

/// `None` for a name not of the venue's form.
pub(super) fn read(name: &str) -> Option<Name<'_>> {
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

/// Delivery time of a `DMMMYY`, 08:00 UTC; the day has no leading zero.
fn delivery(text: &str) -> Option<i64> {
    let cut = text.len().checked_sub(5)?;
    let (day, month, year) = (text.get(..cut)?, text.get(cut..cut + 3)?, text.get(cut + 3..)?);
    if day.starts_with('0') {
        return None;
    }
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    clock::delivery(&format!("{year}{month:02}{:02}", day.parse::<u8>().ok()?))
}

pub(super) fn day(ms: i64) -> String {
    let (year, month, day) = clock::date(ms);
    let name = usize::try_from(month - 1).ok().and_then(|n| MONTHS.get(n)).copied().unwrap_or("JAN");
    format!("{day}{name}{:02}", year % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

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
            assert_eq!(read(name), Some(Name { base, quote, contract }), "{name}");
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
            assert_eq!(read(name), None, "{name}");
        }
    }
}
