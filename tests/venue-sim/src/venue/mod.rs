//! What differs from venue to venue: names, messages, limits, REST. A new venue is a folder beside
//! `binance` and a line in [`by_exchange`].

pub mod binance;
mod contract;
pub mod deribit;
pub mod okx;
pub mod told;

pub use contract::{
    Control, ControlAction, Encoded, Limits, Listed, Newest, Opening, PerWindow, RestAnswer, RestCall,
    RestRequest, SessionView, Snapshot, Source, Venue,
};
pub use told::{forced, funding, liquidation, open_interest, ratio, trade_sizes, volatility};

/// The venue behind an exchange id; `None` when it is not (yet) played.
#[must_use]
pub fn by_exchange(exchange: &str) -> Option<Box<dyn Venue>> {
    match exchange {
        "binance_spot" => Some(Box::new(binance::Binance::spot())),
        "binance_derivatives" => Some(Box::new(binance::Binance::usd_m())),
        "okx_spot" => Some(Box::new(okx::Okx::spot())),
        "okx_derivatives" => Some(Box::new(okx::Okx::derivatives())),
        "deribit_derivatives" => Some(Box::new(deribit::Deribit)),
        _ => None,
    }
}

/// Exchange ids that can be played.
pub const EXCHANGES: [&str; 5] =
    ["binance_spot", "binance_derivatives", "okx_spot", "okx_derivatives", "deribit_derivatives"];

/// The symbols meant for an exchange: those without the prefix `<exchange id>:`, and those with its own.
#[must_use]
pub fn symbols_of(exchange: &str, symbols: &[String]) -> Vec<String> {
    let own = |name: &String| match name.split_once(':') {
        Some((prefix, rest)) => (prefix == exchange).then(|| rest.to_owned()),
        None => Some(name.clone()),
    };
    symbols.iter().filter_map(own).collect()
}
