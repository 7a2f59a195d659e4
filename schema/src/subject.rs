//! NATS subjects: `{data_type}.{exchange}.{market_type}.{symbol}`.

use std::fmt;

use crate::{DataType, MarketType, UnknownName};

/// The subject of one stream of events.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Subject {
    /// First token.
    pub data_type: DataType,
    /// Second token.
    pub exchange: String,
    /// Third token.
    pub market_type: MarketType,
    /// Fourth token.
    pub symbol: String,
}

/// Why a text is not a subject of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubjectError {
    /// Not four tokens.
    #[error("subject {0:?} does not have four tokens")]
    Tokens(String),
    /// A token outside its closed set.
    #[error("subject: {0}")]
    Name(#[from] UnknownName),
    /// A token that NATS would read otherwise.
    #[error("subject token {0:?} is empty or has a character that subjects do not allow")]
    Token(String),
}

impl Subject {
    /// Builds a subject. A symbol or exchange that is no legal token (empty, white space, `.`, `*`, `>`) is refused.
    pub fn new(
        data_type: DataType,
        exchange: &str,
        market_type: MarketType,
        symbol: &str,
    ) -> Result<Self, SubjectError> {
        for token in [exchange, symbol] {
            if token.is_empty()
                || token
                    .contains(|c: char| c.is_whitespace() || c.is_control() || matches!(c, '.' | '*' | '>'))
            {
                return Err(SubjectError::Token(token.to_owned()));
            }
        }
        Ok(Self { data_type, exchange: exchange.to_owned(), market_type, symbol: symbol.to_owned() })
    }

    /// Reads a subject.
    pub fn parse(text: &str) -> Result<Self, SubjectError> {
        let mut tokens = text.split('.');
        let (Some(data_type), Some(exchange), Some(market_type), Some(symbol), None) =
            (tokens.next(), tokens.next(), tokens.next(), tokens.next(), tokens.next())
        else {
            return Err(SubjectError::Tokens(text.to_owned()));
        };
        Self::new(data_type.parse()?, exchange, market_type.parse()?, symbol)
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}.{}", self.data_type, self.exchange, self.market_type, self.symbol)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a subject reads back as itself, and a symbol cannot smuggle in tokens or wildcards.
    #[test]
    fn subjects_round_trip_and_refuse_wildcards() {
        let subject = Subject::new(DataType::Trade, "sim_spot", MarketType::Spot, "BTC-USDT").unwrap();
        assert_eq!(subject.to_string(), "trade.sim_spot.spot.BTC-USDT");
        assert_eq!(Subject::parse("trade.sim_spot.spot.BTC-USDT"), Ok(subject));
        for symbol in ["", "A.B", "A B", "*", ">", "A\n"] {
            assert!(
                Subject::new(DataType::Trade, "sim_spot", MarketType::Spot, symbol).is_err(),
                "{symbol:?}"
            );
        }
        assert!(Subject::parse("trade.sim_spot.spot").is_err());
        assert!(Subject::parse("trades.sim_spot.spot.BTC-USDT").is_err());
    }
}
