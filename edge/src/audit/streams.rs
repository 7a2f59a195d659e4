//! The streams and feeds that audits speak of, and the small numbers that stand for them.

use std::collections::BTreeMap;

use marketprism_schema::StreamId;

/// Stands for a stream that is not audited.
pub const NO_STREAM: u32 = u32::MAX;

/// Per instrument of a feed, the number of each data type's stream, in the order of `DataType::ALL`.
pub type StreamTable = Vec<[u32; 8]>;

/// Every stream that was subscribed since the start.
#[derive(Debug, Default)]
pub(super) struct Streams {
    subjects: Vec<StreamId>,
    numbers: BTreeMap<String, u32>,
}

impl Streams {
    /// The number of a stream, given with its first mention.
    pub(super) fn number(&mut self, subject: &StreamId) -> u32 {
        let text = subject.to_string();
        if let Some(known) = self.numbers.get(&text) {
            return *known;
        }
        let number = u32::try_from(self.subjects.len()).unwrap_or(NO_STREAM);
        self.subjects.push(subject.clone());
        self.numbers.insert(text, number);
        number
    }

    /// Every stream with its number.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &StreamId)> {
        (0_u32..).zip(&self.subjects)
    }

    pub(super) const fn len(&self) -> usize {
        self.subjects.len()
    }
}

/// One feed.
#[derive(Debug)]
pub(super) struct Feed {
    pub(super) exchange: String,
    /// Why it does not run.
    pub(super) not_running: Option<String>,
    /// Its streams.
    pub(super) subscribed: Vec<u32>,
    /// Everything received before is in the journal, or lost and told. The greatest time while it does not run.
    pub(super) frontier_ns: i64,
    /// The frontier while it ran; 0: it never did.
    pub(super) last_ns: i64,
    /// Since when its streams are to be collected.
    pub(super) since_ns: i64,
}

impl Feed {
    pub(super) fn new(exchange: &str) -> Self {
        Self {
            exchange: exchange.to_owned(),
            not_running: Some("it gets its instruments".to_owned()),
            subscribed: Vec::new(),
            frontier_ns: i64::MAX,
            last_ns: 0,
            since_ns: 0,
        }
    }
}
