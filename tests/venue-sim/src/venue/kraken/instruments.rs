//! Pairs: names of the sockets (`BTC/USD`) and of the REST list (`XBT/USD`, `XXBTZUSD`).

use crate::market::{Contract, Instrument, Sizing};

pub(super) const DEFAULT: [&str; 4] = ["BTC/USD", "ETH/USD", "DOGE/USD", "AAPLx/USD"];

/// Pair, places of a price, start in ticks, places of a quantity, usual level in steps, digits printed behind the point (`None`: all).
type PairRow = (&'static str, u8, i64, u8, i64, Option<u8>);

const PAIRS: [PairRow; 4] = [
    ("BTC/USD", 1, 951_237, 8, 500_000_000, None),
    ("ETH/USD", 2, 312_345, 8, 5_000_000_000, Some(1)),
    ("DOGE/USD", 7, 712_345, 8, 1_000_000_000_000, None),
    ("AAPLx/USD", 2, 22_850, 8, 5_000_000_000, Some(1)),
];
const OTHER: PairRow = ("", 4, 105_000, 8, 50_000_000_000, Some(1));

pub(super) fn by_name(symbol: &str) -> Option<Instrument> {
    let plain = |asset: &&str| !asset.is_empty() && asset.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let (base, quote) = symbol.split_once('/').filter(|(base, quote)| plain(base) && plain(quote))?;
    // The sockets know these assets under their newer names only.
    if ["XBT", "XDG"].iter().any(|old| base == *old || quote == *old) {
        return None;
    }
    let (_, price_scale, start_ticks, quantity_scale, usual_steps, trims) =
        PAIRS.into_iter().find(|row| row.0 == symbol).unwrap_or(OTHER);
    Some(Instrument {
        symbol: symbol.to_owned(),
        base: base.to_owned(),
        quote: quote.to_owned(),
        pair: format!("{}{}", listed(base), listed(quote)),
        contract: Contract::Spot,
        sizing: Sizing::Base,
        funding_hours: None,
        price_scale,
        tick: 1,
        listed_ticks: 1,
        quantity_scale,
        step: 1,
        trims,
        start_ticks,
        usual_steps,
    })
}

/// Name of an asset in the REST list.
fn listed(asset: &str) -> &str {
    match asset {
        "BTC" => "XBT",
        "DOGE" => "XDG",
        other => other,
    }
}

/// A row of the list, with its key.
pub(super) fn row(i: &Instrument, status: &str) -> String {
    let (base, quote) = (listed(&i.base), listed(&i.quote));
    let (name, places, lots) = (&i.pair, i.price_scale, i.quantity_scale);
    let key = if name == "XBTUSD" { "XXBTZUSD" } else { name };
    format!(
        concat!(
            r#""{key}":{{"altname":"{name}","wsname":"{base}/{quote}","aclass_base":"currency","base":"{base}","#,
            r#""aclass_quote":"currency","quote":"{quote}","lot":"unit","cost_decimals":5,"pair_decimals":{places},"#,
            r#""lot_decimals":{lots},"lot_multiplier":1,"leverage_buy":[2,3],"leverage_sell":[2,3],"#,
            r#""fees":[[0,0.4],[10000,0.35]],"fees_maker":[[0,0.25]],"fee_volume_currency":"ZUSD","#,
            r#""margin_call":80,"margin_stop":40,"ordermin":"0.00005","costmin":"0.5","tick_size":"{tick}","#,
            r#""status":"{status}"}}"#
        ),
        key = key,
        name = name,
        base = base,
        quote = quote,
        places = places,
        lots = lots,
        tick = i.price(1),
        status = status
    )
}
