//! Everything sent that is neither a trade nor a book: numbered, with exact values, and how often it was sent.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{Hash as _, Hasher as _};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The kinds of market data besides trades and books.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names say it")]
pub enum DataType {
    FundingRate,
    OpenInterest,
    Liquidation,
    LsrTopPosition,
    LsrAllAccount,
    VolatilityIndex,
}

/// Values by name, each the exact text of a number, a word, or a time in ms since 1970 UTC (names that end in
/// `_ms`). Absent: the venue does not say it.
pub type Values = BTreeMap<&'static str, String>;

/// What a message tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The venue's name of what it is about.
    pub symbol: Arc<str>,
    /// Kind of data.
    pub data_type: DataType,
    /// The venue's time of it, ms since 1970 UTC.
    pub time_ms: i64,
    /// What it says.
    pub values: Values,
}

/// One numbered event with its fate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRecord {
    /// Consecutive per exchange, from 1.
    pub number: u64,
    /// What was told.
    pub told: Told,
    /// How often it was queued for a connection, or put into a REST answer.
    pub sent: u32,
    /// How often a socket took it, REST answers counted as taken.
    pub accepted: u32,
    /// How often a fault withheld or spoiled it.
    pub withheld: u32,
}

/// Which events are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventFilter<'a> {
    /// Kind of data; all when absent.
    pub data_type: Option<DataType>,
    /// The venue's name; all when absent.
    pub symbol: Option<&'a str>,
    /// Lowest number.
    pub from: u64,
    /// Most events.
    pub limit: usize,
}

/// Events of one exchange. Full policy: the oldest is forgotten and counted.
#[derive(Debug)]
pub(super) struct Events {
    records: VecDeque<EventRecord>,
    /// Numbers by what was told, so that the same told again (another stream, another poll) is one event.
    known: HashMap<u64, u64>,
    next: u64,
    capacity: usize,
    pub(super) forgotten: u64,
}

fn digest(told: &Told) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&told.symbol, told.data_type, told.time_ms, &told.values).hash(&mut hasher);
    hasher.finish()
}

impl Events {
    pub(super) fn new(capacity: usize) -> Events {
        Events {
            records: VecDeque::new(),
            known: HashMap::new(),
            next: 1,
            capacity: capacity.max(1),
            forgotten: 0,
        }
    }

    /// Numbers an event; the number it had already when the same was told before.
    pub(super) fn record(&mut self, told: Told) -> u64 {
        let digest_of_new = digest(&told);
        if let Some(number) = self.known.get(&digest_of_new) {
            return *number;
        }
        if self.records.len() >= self.capacity
            && let Some(oldest) = self.records.pop_front()
        {
            self.known.remove(&digest(&oldest.told));
            self.forgotten += 1;
        }
        let number = self.next;
        self.next += 1;
        self.known.insert(digest_of_new, number);
        self.records.push_back(EventRecord { number, told, sent: 0, accepted: 0, withheld: 0 });
        number
    }

    pub(super) fn find(&mut self, number: u64) -> Option<&mut EventRecord> {
        let first = self.records.front()?.number;
        self.records.get_mut(usize::try_from(number.checked_sub(first)?).ok()?)
    }

    pub(super) fn recorded(&self) -> u64 {
        self.next - 1
    }

    pub(super) fn list(&self, filter: EventFilter<'_>) -> Vec<EventRecord> {
        let fits = |r: &&EventRecord| {
            r.number >= filter.from
                && filter.data_type.is_none_or(|kind| kind == r.told.data_type)
                && filter.symbol.is_none_or(|symbol| symbol == &*r.told.symbol)
        };
        self.records.iter().filter(fits).take(filter.limit).cloned().collect()
    }

    /// The newest events of a kind, oldest of them first.
    pub(super) fn newest(
        &self,
        data_type: DataType,
        fits: &dyn Fn(&str) -> bool,
        limit: usize,
    ) -> Vec<EventRecord> {
        let of = self.records.iter().rev();
        let wanted = |r: &&EventRecord| r.told.data_type == data_type && fits(&r.told.symbol);
        let mut found: Vec<_> = of.take(1000).filter(wanted).take(limit).cloned().collect();
        found.reverse();
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: the same told twice is one event, a full ledger forgets the oldest, numbers go on.
    #[test]
    fn events_are_numbered_once_and_forgotten_oldest_first() {
        let mut events = Events::new(3);
        let told = |time_ms| Told {
            symbol: "A".into(),
            data_type: DataType::OpenInterest,
            time_ms,
            values: Values::from([("open_interest", "1.50".to_owned())]),
        };
        assert_eq!([1, 1, 2, 3, 4, 2].map(|t| events.record(told(t))), [1, 1, 2, 3, 4, 2]);
        assert_eq!((events.forgotten, events.recorded()), (1, 4));
        assert!(events.find(1).is_none());
        assert_eq!(events.record(told(1)), 5, "forgotten, so it is new");
        let filter =
            EventFilter { data_type: Some(DataType::OpenInterest), symbol: Some("A"), from: 4, limit: 9 };
        assert_eq!(events.list(filter).iter().map(|r| r.number).collect::<Vec<_>>(), [4, 5]);
        assert!(events.list(EventFilter { symbol: Some("B"), ..filter }).is_empty());
    }
}
