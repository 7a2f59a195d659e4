//! One stream as one edge collects it: the unit of audits and verdicts.

use std::fmt;

use marketprism_schema::StreamId;

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EdgeStream {
    pub stream: StreamId,
    pub edge: String,
}

impl fmt::Display for EdgeStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of edge {}", self.stream, self.edge)
    }
}
