//! What is judged: one stream as one edge collects it.

use std::fmt;

use marketprism_schema::DataType;

/// One stream as one edge collects it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Source {
    /// Data type.
    pub data_type: DataType,
    /// Exchange id.
    pub exchange: String,
    /// Market type.
    pub market_type: String,
    /// Symbol.
    pub symbol: String,
    /// The edge.
    pub edge: String,
}

impl Source {
    /// Subject of its events.
    pub fn subject(&self) -> String {
        format!("{}.{}.{}.{}", self.data_type, self.exchange, self.market_type, self.symbol)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of edge {}", self.subject(), self.edge)
    }
}
