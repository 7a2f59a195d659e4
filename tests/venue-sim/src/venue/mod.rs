//! Venue protocols: names, messages, limits, REST. A new venue is a folder next to `binance` and a line in [`EXCHANGES`].

mod binance;
mod bybit;
mod contract;
mod deribit;
pub mod event_data;
mod kraken;
mod okx;

pub use contract::{
    BanRules, Content, ControlAction, ControlReply, Encoded, Limits, ListedInstrument, Newest, Opening,
    PerWindow, Profile, RestAnswer, RestCall, RestRequest, SessionView, Snapshot, Source, Stream, Venue,
    encode_event,
};

/// Exchange ids that can be simulated.
pub const EXCHANGES: [&str; 8] = [
    "binance_spot",
    "binance_derivatives",
    "okx_spot",
    "okx_derivatives",
    "deribit_derivatives",
    "bybit_spot",
    "bybit_derivatives",
    "kraken_spot",
];

pub fn by_exchange(exchange: &str) -> Option<Box<dyn Venue>> {
    Some(match exchange {
        "binance_spot" => Box::new(binance::Binance { spot: true }),
        "binance_derivatives" => Box::new(binance::Binance { spot: false }),
        "okx_spot" => Box::new(okx::Okx { spot: true }),
        "okx_derivatives" => Box::new(okx::Okx { spot: false }),
        "deribit_derivatives" => Box::new(deribit::Deribit),
        "bybit_spot" => Box::new(bybit::Bybit { spot: true }),
        "bybit_derivatives" => Box::new(bybit::Bybit { spot: false }),
        "kraken_spot" => Box::new(kraken::Kraken),
        _ => return None,
    })
}

/// The symbols configured for an exchange: those without a prefix `<exchange id>:`, and those with its own.
pub fn symbols_of(exchange: &str, symbols: &[String]) -> Vec<String> {
    let own = |name: &String| match name.split_once(':') {
        Some((prefix, rest)) => (prefix == exchange).then(|| rest.to_owned()),
        None => Some(name.clone()),
    };
    symbols.iter().filter_map(own).collect()
}
