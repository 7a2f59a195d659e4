//! Events other than trades and books, numbered, with exact values and counts of their sends.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{Hash as _, Hasher as _};
use std::ops::Deref;

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DataType {
    FundingRate,
    OpenInterest,
    Liquidation,
    LsrTopPosition,
    LsrAllAccount,
    VolatilityIndex,
}

/// Values by name: exact text of a number, a word, or a time in ms since 1970 UTC (names ending in `_ms`). Absent: not in the message.
pub type Values = BTreeMap<&'static str, String>;

/// Content of a message that is neither a trade nor a book.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct EventData {
    /// The venue's symbol, or its name of a volatility index.
    pub symbol: String,
    pub data_type: DataType,
    /// The venue's time, ms since 1970 UTC.
    pub time_ms: i64,
    pub values: Values,
}

/// Deliveries of a trade or event.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Deliveries {
    /// Times queued for a connection, or put into a REST answer.
    pub sent: u32,
    /// Times taken by a socket (a reset connection may still lose the frame); REST answers count as taken.
    pub accepted: u32,
    /// Times withheld or corrupted by a fault.
    pub withheld: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EventRecord {
    /// Consecutive per exchange, from 1.
    pub number: u64,
    #[serde(flatten)]
    pub data: EventData,
    #[serde(flatten)]
    pub deliveries: Deliveries,
}

impl Deref for EventRecord {
    type Target = EventData;

    fn deref(&self) -> &EventData {
        &self.data
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventFilter<'a> {
    /// `None`: all.
    pub data_type: Option<DataType>,
    /// `None`: all.
    pub symbol: Option<&'a str>,
    /// Lowest number.
    pub from: u64,
    pub limit: usize,
}

/// Events of one exchange. When full, the oldest is dropped and counted.
#[derive(Debug)]
pub struct Events {
    records: VecDeque<EventRecord>,
    /// Numbers by digest of the data: the same data on another stream or in another poll is one event.
    known: HashMap<u64, u64>,
    next: u64,
    capacity: usize,
    pub forgotten: u64,
}

fn digest(data: &EventData) -> u64 {
    let mut hasher = DefaultHasher::new();
    data.hash(&mut hasher);
    hasher.finish()
}

impl Events {
    pub fn new(capacity: usize) -> Events {
        Events {
            records: VecDeque::new(),
            known: HashMap::new(),
            next: 1,
            capacity: capacity.max(1),
            forgotten: 0,
        }
    }

    /// Records an event; returns its number, the old one when the same data was recorded before.
    pub fn record(&mut self, data: EventData) -> u64 {
        let digest_of_new = digest(&data);
        if let Some(number) = self.known.get(&digest_of_new) {
            return *number;
        }
        if self.records.len() >= self.capacity
            && let Some(oldest) = self.records.pop_front()
        {
            self.known.remove(&digest(&oldest.data));
            self.forgotten += 1;
        }
        let number = self.next;
        self.next += 1;
        self.known.insert(digest_of_new, number);
        self.records.push_back(EventRecord { number, data, deliveries: Deliveries::default() });
        number
    }

    pub fn find(&mut self, number: u64) -> Option<&mut EventRecord> {
        let first = self.records.front()?.number;
        self.records.get_mut(usize::try_from(number.checked_sub(first)?).ok()?)
    }

    pub fn recorded(&self) -> u64 {
        self.next - 1
    }

    pub fn list(&self, filter: EventFilter<'_>) -> Vec<EventRecord> {
        let fits = |r: &&EventRecord| {
            r.number >= filter.from
                && filter.data_type.is_none_or(|kind| kind == r.data_type)
                && filter.symbol.is_none_or(|symbol| symbol == r.symbol)
        };
        self.records.iter().filter(fits).take(filter.limit).cloned().collect()
    }

    pub fn newest(&self, data_type: DataType, fits: &dyn Fn(&str) -> bool, limit: usize) -> Vec<EventRecord> {
        let of = self.records.iter().rev();
        let wanted = |r: &&EventRecord| r.data_type == data_type && fits(&r.symbol);
        let mut found: Vec<_> = of.take(1000).filter(wanted).take(limit).cloned().collect();
        found.reverse();
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_numbered_once_and_forgotten_oldest_first() {
        let mut events = Events::new(3);
        let data = |time_ms| EventData {
            symbol: "A".into(),
            data_type: DataType::OpenInterest,
            time_ms,
            values: Values::from([("open_interest", "1.50".to_owned())]),
        };
        assert_eq!([1, 1, 2, 3, 4, 2].map(|t| events.record(data(t))), [1, 1, 2, 3, 4, 2]);
        assert_eq!((events.forgotten, events.recorded()), (1, 4));
        assert!(events.find(1).is_none());
        assert_eq!(events.record(data(1)), 5, "forgotten, so it is new");
        let filter =
            EventFilter { data_type: Some(DataType::OpenInterest), symbol: Some("A"), from: 4, limit: 9 };
        assert_eq!(events.list(filter).iter().map(|r| r.number).collect::<Vec<_>>(), [4, 5]);
        assert!(events.list(EventFilter { symbol: Some("B"), ..filter }).is_empty());
    }
}
