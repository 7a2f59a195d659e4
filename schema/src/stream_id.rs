//! Identity of one stream of events, and the NATS subject that carries it: `{data_type}.{exchange}.{market_type}.{symbol}`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{DataType, MarketType, UnknownName};

/// Identity of a stream. Its text is its subject; in JSON and in tables it is the four fields.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StreamId {
    /// First token.
    pub data_type: DataType,
    /// Second token: the exchange id.
    pub exchange: String,
    /// Third token.
    pub market_type: MarketType,
    /// Fourth token: the normalized symbol.
    pub symbol: String,
}

/// A text or a set of fields that is no stream of this system.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StreamIdError {
    /// Not four tokens.
    #[error("subject {0:?} does not have four tokens")]
    Tokens(String),
    /// A token outside its closed set.
    #[error("subject: {0}")]
    Name(#[from] UnknownName),
    /// A token that is empty or has a separator or wildcard of NATS.
    #[error("subject token {0:?} is empty or has a character that subjects do not allow")]
    Token(String),
}

impl StreamId {
    /// Refuses an exchange or a symbol that is no token of a subject (empty, white space, `.`, `*`, `>`).
    pub fn new(
        data_type: DataType,
        exchange: &str,
        market_type: MarketType,
        symbol: &str,
    ) -> Result<Self, StreamIdError> {
        let id = Self { data_type, exchange: exchange.to_owned(), market_type, symbol: symbol.to_owned() };
        id.check().map(|()| id)
    }

    /// Parses a subject.
    pub fn parse(text: &str) -> Result<Self, StreamIdError> {
        let tokens: Vec<&str> = text.split('.').collect();
        let [data_type, exchange, market_type, symbol] = tokens.as_slice() else {
            return Err(StreamIdError::Tokens(text.to_owned()));
        };
        Self::new(data_type.parse()?, exchange, market_type.parse()?, symbol)
    }

    /// The four fields as text, in the order of the subject and of the tables' columns.
    pub fn names(&self) -> [&str; 4] {
        [self.data_type.as_str(), &self.exchange, self.market_type.as_str(), &self.symbol]
    }

    /// True for a character that a token of a subject may have.
    pub(crate) fn allows(c: char) -> bool {
        !c.is_whitespace() && !c.is_control() && !matches!(c, '.' | '*' | '>')
    }

    /// Refuses what [`StreamId::new`] refuses, in an id that was deserialized.
    pub(crate) fn check(&self) -> Result<(), StreamIdError> {
        let is_legal = |token: &str| !token.is_empty() && token.chars().all(Self::allows);
        match [&self.exchange, &self.symbol].into_iter().find(|token| !is_legal(token)) {
            Some(token) => Err(StreamIdError::Token(token.clone())),
            None => Ok(()),
        }
    }
}

impl FromStr for StreamId {
    type Err = StreamIdError;

    fn from_str(text: &str) -> Result<Self, StreamIdError> {
        Self::parse(text)
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}.{}", self.data_type, self.exchange, self.market_type, self.symbol)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_reads_back_as_itself_and_a_symbol_cannot_add_tokens_or_wildcards() {
        let stream = StreamId::new(DataType::Trade, "sim_spot", MarketType::Spot, "BTC-USDT").unwrap();
        assert_eq!(stream.to_string(), "trade.sim_spot.spot.BTC-USDT");
        assert_eq!(StreamId::parse("trade.sim_spot.spot.BTC-USDT"), Ok(stream));
        for symbol in ["", "A.B", "A B", "*", ">", "A\n"] {
            let refused = StreamId::new(DataType::Trade, "sim_spot", MarketType::Spot, symbol);
            assert!(refused.is_err(), "{symbol:?}");
        }
        assert!(StreamId::parse("trade.sim_spot.spot").is_err());
        assert!(StreamId::parse("trades.sim_spot.spot.BTC-USDT").is_err());
    }
}
