//! The synthetic stream of an edge: numbered trades that pass through queue, journal, broker, ingest, hot and cold as those of a venue.
//!
//! A trade's id is the number of its tick since 1970, its time that of the tick. So the content of a trade follows from its id: a restarted
//! edge makes no other trade of the same id.

use std::time::Duration;

use crate::names::{DataType, MarketType};
use crate::stream_id::StreamId;

/// Exchange id of the synthetic streams. No feed may have it.
pub const SELFTEST_EXCHANGE: &str = "selftest";
/// Market type of the synthetic streams.
pub const SELFTEST_MARKET: MarketType = MarketType::Spot;
/// Trades a second that an edge may publish. Each has its own symbol, since ids count ticks.
pub const SELFTEST_RATES: [u32; 4] = [1, 2, 5, 10];

/// Ticks that are made up for after the clock was set forward, or the machine was suspended. Older ones are left out: their ids are missing.
pub const SELFTEST_CATCH_UP: Duration = Duration::from_secs(600);

/// Symbol of an edge's synthetic stream: `TOKYO-1-5HZ` of the edge `tokyo-1` at five trades a second.
pub fn selftest_symbol(edge: &str, rate: u32) -> String {
    format!("{}-{rate}HZ", edge.to_ascii_uppercase())
}

/// Stream of an edge's synthetic trades.
pub fn selftest_stream(edge: &str, rate: u32) -> StreamId {
    StreamId {
        data_type: DataType::Trade,
        exchange: SELFTEST_EXCHANGE.to_owned(),
        market_type: SELFTEST_MARKET,
        symbol: selftest_symbol(edge, rate),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_and_rates_have_streams_of_their_own() {
        let streams =
            [("a", 1), ("a", 10), ("a-1", 1), ("a-1", 10)].map(|(edge, rate)| selftest_stream(edge, rate));
        for (place, stream) in streams.iter().enumerate() {
            assert_eq!(StreamId::parse(&stream.to_string()).as_ref(), Ok(stream));
            assert!(!streams[..place].contains(stream), "{stream}");
        }
    }
}
