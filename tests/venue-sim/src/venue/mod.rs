//! What differs from venue to venue: names, messages, limits, REST. A new venue is a folder beside
//! `binance` and a line in [`by_exchange`].

pub mod binance;
mod contract;

pub use contract::{
    Control, ControlAction, Limits, Listed, Opening, RestAnswer, RestCall, RestRequest, SessionView,
    Snapshot, Source, Venue,
};

/// The venue behind an exchange id; `None` when it is not (yet) played.
#[must_use]
pub fn by_exchange(exchange: &str) -> Option<Box<dyn Venue>> {
    match exchange {
        "binance_spot" => Some(Box::new(binance::Binance::spot())),
        "binance_derivatives" => Some(Box::new(binance::Binance::usd_m())),
        _ => None,
    }
}

/// Exchange ids that can be played.
pub const EXCHANGES: [&str; 2] = ["binance_spot", "binance_derivatives"];
