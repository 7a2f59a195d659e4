//! Instruments for the tests of this module.

use marketprism_adapter_host::contract::{Instrument, MarketType};

/// A spot market that trades, such as `BTC-USDT`.
pub fn spot(symbol: &str) -> Instrument {
    let (base, quote) = symbol.split_once('-').unwrap_or((symbol, ""));
    Instrument {
        symbol: symbol.to_owned(),
        venue_symbol: symbol.replace('-', ""),
        market_type: MarketType::Spot,
        base: base.to_owned(),
        quote: quote.to_owned(),
        contract_size: None,
        contract_value: None,
        price_scale: 0,
        quantity_scale: 0,
        tick_size: None,
        step_size: None,
        trading: true,
    }
}
