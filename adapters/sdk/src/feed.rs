//! Checks of a feed against the description of the adapter.

use crate::types::{DataType, Description, Feed, MarketType, Refusal, Venue};

/// A refusal: the field, its value, what is allowed.
pub fn refusal(field: &str, value: impl Into<String>, allowed: impl Into<String>) -> Refusal {
    Refusal { field: field.to_owned(), value: value.into(), allowed: allowed.into() }
}

/// The name of a data type, as configuration and subjects write it.
pub fn data_type_name(data_type: DataType) -> &'static str {
    match data_type {
        DataType::Trade => "trade",
        DataType::Orderbook => "orderbook",
        DataType::FundingRate => "funding_rate",
        DataType::OpenInterest => "open_interest",
        DataType::Liquidation => "liquidation",
        DataType::LsrTopPosition => "lsr_top_position",
        DataType::LsrAllAccount => "lsr_all_account",
        DataType::VolatilityIndex => "volatility_index",
    }
}

/// The name of a market type, as configuration and subjects write it.
pub fn market_type_name(market_type: MarketType) -> &'static str {
    match market_type {
        MarketType::Spot => "spot",
        MarketType::Perpetual => "perpetual",
        MarketType::Futures => "futures",
        MarketType::Options => "options",
    }
}

/// Checks every field of a feed except its symbols, which need the venue's lists.
pub fn check_feed(feed: &Feed, description: &Description) -> Result<Venue, Refusal> {
    let Some(venue) = description.venues.iter().find(|venue| venue.exchange == feed.exchange) else {
        let known = description.venues.iter().map(|venue| venue.exchange.as_str());
        return Err(refusal("exchange", &feed.exchange, one_of(known)));
    };
    for market_type in &feed.market_types {
        if !venue.market_types.contains(market_type) {
            let known = venue.market_types.iter().map(|known| market_type_name(*known));
            return Err(refusal("market_types", market_type_name(*market_type), one_of(known)));
        }
    }
    if feed.data_types.is_empty() {
        return Err(refusal("data_types", "[]", one_of(offered(venue))));
    }
    for data_type in &feed.data_types {
        let Some(capability) = venue.capabilities.iter().find(|offer| offer.data_type == *data_type) else {
            return Err(refusal("data_types", data_type_name(*data_type), one_of(offered(venue))));
        };
        // A volatility index belongs to a coin: no market has to be named for it.
        if *data_type != DataType::VolatilityIndex
            && !feed.market_types.is_empty()
            && !feed.market_types.iter().any(|market_type| capability.market_types.contains(market_type))
        {
            let known = capability.market_types.iter().map(|known| market_type_name(*known));
            let allowed = format!("with {}: market type {}", data_type_name(*data_type), one_of(known));
            let named = feed.market_types.iter().map(|named| market_type_name(*named)).collect::<Vec<_>>();
            return Err(refusal("market_types", named.join(", "), allowed));
        }
        if *data_type == DataType::Orderbook && !(1..=capability.max_depth).contains(&feed.depth) {
            let allowed = format!("1 to {} for {}", capability.max_depth, venue.exchange);
            return Err(refusal("depth", feed.depth.to_string(), allowed));
        }
    }
    Endpoints::new(feed, venue)?;
    Ok(venue.clone())
}

/// The venue's base addresses with the user's replacements.
#[derive(Clone, Debug)]
pub struct Endpoints(Vec<(String, String)>);

impl Endpoints {
    /// Merges the feed's endpoints into the venue's.
    ///
    /// # Errors
    /// A name that the venue does not have, or an address without a scheme of sockets or REST.
    pub fn new(feed: &Feed, venue: &Venue) -> Result<Endpoints, Refusal> {
        let mut merged: Vec<(String, String)> = venue
            .endpoints
            .iter()
            .map(|endpoint| (endpoint.name.clone(), endpoint.default_url.clone()))
            .collect();
        for endpoint in &feed.endpoints {
            let known = one_of(venue.endpoints.iter().map(|endpoint| endpoint.name.as_str()));
            let Some(place) = merged.iter_mut().find(|(name, _)| *name == endpoint.name) else {
                return Err(refusal("endpoints", &endpoint.name, known));
            };
            let url = endpoint.default_url.trim_end_matches('/');
            if !["ws://", "wss://", "http://", "https://"].iter().any(|scheme| url.starts_with(scheme)) {
                let field = format!("endpoints.{}", endpoint.name);
                return Err(refusal(
                    &field,
                    url,
                    "an address that starts with wss://, ws://, https:// or http://",
                ));
            }
            place.1 = url.to_owned();
        }
        Ok(Endpoints(merged))
    }

    /// The address of this name, without a slash at its end; empty for a name that the venue does not have.
    pub fn url(&self, name: &str) -> &str {
        self.0.iter().find(|(known, _)| known == name).map_or("", |(_, url)| url)
    }
}

/// Up to five candidates similar to `wanted`, nearest first.
pub fn closest<'a>(wanted: &str, candidates: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let plain = |text: &str| -> String {
        text.chars()
            .filter(|letter| letter.is_alphanumeric())
            .map(|letter| letter.to_ascii_uppercase())
            .collect()
    };
    let wanted_plain = plain(wanted);
    let wanted_base = wanted.split('-').next().unwrap_or(wanted).to_ascii_uppercase();
    let mut ranked: Vec<(usize, &str)> = candidates
        .into_iter()
        .filter_map(|candidate| {
            let plain = plain(candidate);
            let base = candidate.split('-').next().unwrap_or(candidate);
            let rank = if plain == wanted_plain {
                0
            } else if plain.starts_with(&wanted_plain) && !wanted_plain.is_empty() {
                1
            } else if base == wanted_base {
                2
            } else {
                return None;
            };
            Some((rank, candidate))
        })
        .collect();
    ranked.sort_unstable_by_key(|(rank, candidate)| (*rank, candidate.len(), *candidate));
    ranked.dedup();
    ranked.into_iter().take(5).map(|(_, candidate)| candidate).collect()
}

fn offered(venue: &Venue) -> impl Iterator<Item = &'static str> {
    venue.capabilities.iter().map(|capability| data_type_name(capability.data_type))
}

fn one_of<'a>(names: impl Iterator<Item = &'a str>) -> String {
    format!("one of {}", names.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Capability, Endpoint};
    use crate::{endpoints, pushed};

    // The conformance suite asks the same of each adapter, on the component.
    #[test]
    fn a_feed_that_cannot_be_served_is_refused_by_field_and_value() {
        use DataType::{FundingRate, OpenInterest, Orderbook, Trade, VolatilityIndex};
        use MarketType::{Futures, Options, Perpetual};
        let contracts = [Perpetual, Futures];
        let orderbook = Capability { max_depth: 100, ..pushed(Orderbook, &contracts) };
        let venue = Venue {
            exchange: "venue_derivatives".to_owned(),
            market_types: contracts.to_vec(),
            capabilities: vec![pushed(Trade, &contracts), orderbook, pushed(FundingRate, &[Perpetual])],
            endpoints: endpoints("wss://a", "https://b"),
            rankings: Vec::new(),
        };
        let description =
            Description { name: "venue".to_owned(), version: "1.0.0".to_owned(), venues: vec![venue] };
        let feed = || Feed {
            exchange: "venue_derivatives".to_owned(),
            symbols: Vec::new(),
            market_types: Vec::new(),
            data_types: vec![Trade, Orderbook],
            depth: 100,
            endpoints: Vec::new(),
        };
        let refused = |change: &dyn Fn(&mut Feed)| {
            let mut feed = feed();
            change(&mut feed);
            let refusal = check_feed(&feed, &description).unwrap_err();
            assert!(!refusal.allowed.is_empty());
            format!("{} {}", refusal.field, refusal.value)
        };
        let endpoint =
            |name: &str, url: &str| Endpoint { name: name.to_owned(), default_url: url.to_owned() };
        assert!(check_feed(&feed(), &description).is_ok());
        assert!(check_feed(&Feed { depth: 0, data_types: vec![Trade], ..feed() }, &description).is_ok());
        assert_eq!(refused(&|feed| feed.exchange = "venue".to_owned()), "exchange venue");
        assert_eq!(refused(&|feed| feed.data_types.clear()), "data_types []");
        assert_eq!(refused(&|feed| feed.data_types.push(OpenInterest)), "data_types open_interest");
        assert_eq!(refused(&|feed| feed.data_types.push(VolatilityIndex)), "data_types volatility_index");
        assert_eq!(refused(&|feed| feed.market_types.push(Options)), "market_types options");
        let funding_of_futures =
            |feed: &mut Feed| (feed.market_types, feed.data_types) = (vec![Futures], vec![FundingRate]);
        assert_eq!(refused(&funding_of_futures), "market_types futures");
        assert_eq!([0, 101].map(|depth| refused(&|feed| feed.depth = depth)), ["depth 0", "depth 101"]);
        assert_eq!(refused(&|feed| feed.endpoints.push(endpoint("wss", "wss://x"))), "endpoints wss");
        assert_eq!(refused(&|feed| feed.endpoints.push(endpoint("ws", "x:1"))), "endpoints.ws x:1");
    }

    #[test]
    fn a_wrong_symbol_gets_similar_ones() {
        let listed = ["BTC-USDT", "BTC-USDC", "ETH-USDT", "BTC-USDT-260327"];
        assert_eq!(closest("btcusdt", listed), ["BTC-USDT", "BTC-USDT-260327"]);
        assert_eq!(closest("BTC-EUR", listed), ["BTC-USDC", "BTC-USDT", "BTC-USDT-260327"]);
        assert!(closest("DOGE-USDT", listed).is_empty());
        assert!(closest("", listed).is_empty());
    }
}
