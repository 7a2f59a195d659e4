//! Mirror of events on core NATS: subjects apart from those of the streams, which nothing stores.

use crate::{DataType, stream_of};

/// First token of the mirror's subjects.
pub const CORE_MIRROR_PREFIX: &str = "core";

/// Subject of an event's mirror.
pub fn core_mirror_subject(subject: &str) -> String {
    format!("{CORE_MIRROR_PREFIX}.{subject}")
}

/// Selection of events by their subject `type.exchange.market_type.symbol`: `*` for any token, `>` at the end for all that follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubjectFilter(String);

/// Form of a [`SubjectFilter`], for messages.
pub const SUBJECT_FILTER_ALLOWED: &str = "up to four tokens type.exchange.market_type.symbol, * for any, > at the end, such as trade.> or orderbook.*.spot.BTC-USDT";

const TOKENS: usize = 4;

impl SubjectFilter {
    /// `None` where no event's subject could ever match.
    pub fn parse(text: &str) -> Option<Self> {
        let tokens: Vec<&str> = text.split('.').collect();
        let last = tokens.last().copied();
        let is_whole = tokens.len() == TOKENS || (tokens.len() < TOKENS && last == Some(">"));
        let is_token = |(at, token): (usize, &&str)| match *token {
            ">" => at + 1 == tokens.len(),
            "*" => true,
            token => {
                let is_legal = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'*' | b'>');
                !token.is_empty()
                    && token.bytes().all(is_legal)
                    && (at > 0 || token.parse::<DataType>().is_ok())
            }
        };
        (is_whole && tokens.iter().enumerate().all(is_token)).then(|| Self(text.to_owned()))
    }

    /// As the broker reads it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True for the subject of an event that it selects.
    pub fn matches(&self, subject: &str) -> bool {
        let mut tokens = subject.split('.');
        for wanted in self.0.split('.') {
            match (wanted, tokens.next()) {
                (_, None) => return false,
                (">", _) => return true,
                ("*", _) => {}
                (wanted, Some(token)) if wanted == token => {}
                _ => return false,
            }
        }
        tokens.next().is_none()
    }

    /// Streams that store events of it.
    pub fn streams(&self) -> Vec<&'static str> {
        let first = self.0.split('.').next().unwrap_or_default();
        let kinds = DataType::ALL.iter().filter(|kind| matches!(first, "*" | ">") || kind.as_str() == first);
        let mut streams: Vec<&str> = kinds.map(|kind| stream_of(*kind)).collect();
        streams.sort_unstable();
        streams.dedup();
        streams
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_matches_as_the_broker_does() {
        let matches = |filter: &str, subject: &str| SubjectFilter::parse(filter).unwrap().matches(subject);
        for filter in
            [">", "trade.>", "trade.*.spot.*", "*.binance_spot.>", "trade.binance_spot.spot.BTC-USDT"]
        {
            assert!(matches(filter, "trade.binance_spot.spot.BTC-USDT"), "{filter}");
        }
        for filter in ["orderbook.>", "trade.okx_spot.>", "trade.*.spot.ETH-USDT"] {
            assert!(!matches(filter, "trade.binance_spot.spot.BTC-USDT"), "{filter}");
        }
        assert!(!matches("trade.a.b.c", "trade.a.b") && !matches("trade.a.b.>", "trade.a.b"));
    }

    #[test]
    fn what_no_event_matches_is_no_filter() {
        for text in [
            "",
            "trade",
            "trade.",
            "trades.>",
            "trade.>.spot.x",
            "trade.a.b.c.d",
            "trade.a b.>",
            "audit.>",
            "t*.>",
        ] {
            assert_eq!(SubjectFilter::parse(text), None, "{text}");
        }
        let streams = |text: &str| SubjectFilter::parse(text).unwrap().streams();
        assert_eq!(streams("orderbook.>"), ["ORDERBOOK_SNAP"]);
        assert_eq!(streams("*.a.>"), ["MARKET_DATA", "ORDERBOOK_SNAP"]);
    }
}
