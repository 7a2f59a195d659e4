//! Names of data streams, their content and the paths that serve them.

use crate::describe::Exchange;
use marketprism_adapter_sdk::DataType;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamContent {
    DiffDepth,
    /// The venue will close the connection.
    Shutdown,
    /// Documented, and needed by no data type of this adapter.
    NotNeeded,
    Unknown,
}

/// A path of the venue's socket address that serves some kinds of streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StreamRoute {
    pub(crate) name: &'static str,
    pub(crate) path: &'static str,
}

const SPOT: StreamRoute = StreamRoute { name: "stream", path: "/stream" };
const PUBLIC: StreamRoute = StreamRoute { name: "public", path: "/public/stream" };
const MARKET: StreamRoute = StreamRoute { name: "market", path: "/market/stream" };

/// The kind in a stream's name for a data type, or none when it is not offered.
pub(crate) fn kind(exchange: Exchange, data_type: DataType) -> Option<&'static str> {
    match (exchange, data_type) {
        (Exchange::Spot, DataType::Trade) => Some("trade"),
        (Exchange::UsdM, DataType::Trade) => Some("aggTrade"),
        (_, DataType::Orderbook) => Some("depth@100ms"),
        (Exchange::UsdM, DataType::FundingRate) => Some("markPrice@1s"),
        (Exchange::UsdM, DataType::Liquidation) => Some("forceOrder"),
        _ => None,
    }
}

/// The path that serves this kind of stream. A kind on the wrong path is confirmed by the venue and then
/// stays silent, so there is no default.
pub(crate) fn route(exchange: Exchange, kind: &str) -> Option<StreamRoute> {
    match (exchange, kind) {
        (Exchange::Spot, "trade" | "aggTrade" | "depth@100ms") => Some(SPOT),
        (Exchange::UsdM, "depth@100ms") => Some(PUBLIC),
        (Exchange::UsdM, "aggTrade" | "markPrice@1s" | "forceOrder") => Some(MARKET),
        _ => None,
    }
}

/// The content of a stream whose messages do not name themselves, or do so ambiguously.
pub(crate) fn content(name: &[u8]) -> StreamContent {
    if name.ends_with(b"@depth@100ms") {
        return StreamContent::DiffDepth;
    }
    let kind = match name.strip_prefix(b"!") {
        Some(b"serverShutdown") => return StreamContent::Shutdown,
        Some(kind) => kind,
        None => match name.iter().position(|byte| *byte == b'@') {
            Some(at) => name.get(at + 1..).unwrap_or(&[]),
            None => return StreamContent::Unknown,
        },
    };
    let kind = kind.split(|byte| *byte == b'@').next().unwrap_or(&[]);
    if kind == b"depth" {
        return StreamContent::DiffDepth;
    }
    if NOT_NEEDED.split(' ').any(|known| kind.starts_with(known.as_bytes())) {
        StreamContent::NotNeeded
    } else {
        StreamContent::Unknown
    }
}

/// Beginnings of documented kinds, for messages that do not name themselves as an event which this adapter reads.
const NOT_NEEDED: &str = "depth rpiDepth bookTicker kline_ continuousKline_ miniTicker ticker markPrice forceOrder \
    avgPrice referencePrice blockTrade contractInfo assetIndex compositeIndex tradingSession \
    indexPrice arr";

/// Event names (`e`) of messages that no data type of this adapter needs.
pub(crate) fn not_needed_event(event: &str) -> bool {
    const KNOWN: &str = "bookTicker kline continuous_kline 24hrMiniTicker 24hrTicker 1hTicker 4hTicker 1dTicker \
        avgPrice referencePrice blockTrade contractInfo assetIndexUpdate compositeIndex \
        tradingSession indexPriceUpdate rpiDepthUpdate kline_1s";
    KNOWN.split(' ').any(|known| known == event)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_known_by_its_name() {
        for name in ["btcusdt@depth", "btcusdt@depth@100ms", "btcusdt@depth@500ms", "btcusdt@depth@0ms"] {
            assert_eq!(content(name.as_bytes()), StreamContent::DiffDepth, "{name}");
        }
        let not_needed = "btcusdt@depth5 btcusdt@depth20@100ms btcusdt@rpiDepth@500ms btcusdt@bookTicker !bookTicker !ticker@arr \
            !markPrice@arr@1s btcusdt@kline_1m btcusdt_perpetual@continuousKline_1m !forceOrder@arr";
        for name in not_needed.split_whitespace() {
            assert_eq!(content(name.as_bytes()), StreamContent::NotNeeded, "{name}");
        }
        assert_eq!(content(b"!serverShutdown"), StreamContent::Shutdown);
        for name in ["", "btcusdt", "btcusdt@new", "!new"] {
            assert_eq!(content(name.as_bytes()), StreamContent::Unknown, "{name}");
        }
    }

    #[test]
    fn no_stream_goes_to_a_path_that_would_stay_silent() {
        let path = |exchange, data_type| {
            kind(exchange, data_type).and_then(|kind| route(exchange, kind)).unwrap().path
        };
        assert_eq!(path(Exchange::Spot, DataType::Trade), "/stream");
        assert_eq!(path(Exchange::Spot, DataType::Orderbook), "/stream");
        assert_eq!(path(Exchange::UsdM, DataType::Trade), "/market/stream");
        assert_eq!(path(Exchange::UsdM, DataType::Orderbook), "/public/stream");
        assert_eq!(path(Exchange::UsdM, DataType::FundingRate), "/market/stream");
        assert_eq!(path(Exchange::UsdM, DataType::Liquidation), "/market/stream");
        assert_eq!(route(Exchange::UsdM, "trade"), None);
        assert_eq!(kind(Exchange::UsdM, DataType::OpenInterest), None);
        assert_eq!(kind(Exchange::Spot, DataType::FundingRate), None);
    }
}
