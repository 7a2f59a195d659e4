//! Compares what two versions of an adapter make of the same frames, event by event.

use std::collections::BTreeMap;
use std::fmt;

use marketprism_schema::DataType;

use crate::contract::{Event, Normalized, Note, Payload, Plan, Remark, Venue};
use crate::frames::FrameBatch;

/// Examples kept of each kind of difference.
pub const DIFFERENCE_EXAMPLES: usize = 3;

/// Bytes of an example's frame, and of each of its two outputs.
const EXAMPLE_BYTES: usize = 240;

/// Kind of a difference between two outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DifferenceKind {
    /// Other events of a data type.
    Events(DataType),
    /// More elements are malformed. Never acceptable.
    Malformed,
    /// Other replies, further pages, closings or restarts of books.
    Commands,
    /// Other notes that change nothing.
    Notes,
}

impl DifferenceKind {
    /// Kinds that a swap may accept.
    pub fn acceptable() -> impl Iterator<Item = Self> {
        DataType::ALL.iter().copied().map(Self::Events).chain([Self::Commands, Self::Notes])
    }

    /// The acceptable kind of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::acceptable().find(|kind| kind.as_str() == name)
    }

    /// Text for a name that is no acceptable kind.
    pub fn unknown(name: &str) -> String {
        let allowed: Vec<&str> = Self::acceptable().map(Self::as_str).collect();
        format!("accept: unknown kind of difference {name:?} (allowed: {})", allowed.join(", "))
    }

    /// Name in commands and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Events(kind) => kind.as_str(),
            Self::Malformed => "malformed",
            Self::Commands => "commands",
            Self::Notes => "notes",
        }
    }
}

impl fmt::Display for DifferenceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Frame with two outputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DifferenceExample {
    /// Beginning of the frame.
    pub frame: String,
    /// Output of the running version.
    pub running: String,
    /// Output of the new version.
    pub new: String,
}

/// Differences of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KindDifferences {
    /// Frames with such a difference.
    pub frames: u64,
    /// The first of them.
    pub examples: Vec<DifferenceExample>,
}

/// Differences found so far, by kind.
pub type Differences = BTreeMap<DifferenceKind, KindDifferences>;

/// The first difference between two descriptions of an exchange. `None`: they are equal, but for rankings that only the new one has: no stream,
/// book or plan depends on them.
pub fn venue_difference(running: Option<&Venue>, new: Option<&Venue>) -> Option<String> {
    let (running, new) = match (running, new) {
        (Some(running), Some(new)) if !has_what_runs(running, new) => (running, new),
        (Some(_), None) => return Some("it does not serve it".to_owned()),
        _ => return None,
    };
    let capabilities = running.capabilities.iter().zip(&new.capabilities).enumerate();
    let differing = capabilities.into_iter().find(|(_, (running, new))| running != new);
    Some(match differing {
        Some((index, (running, new))) => format!("capabilities[{index}] is {new:?}, running is {running:?}"),
        None => format!(
            "{} capabilities, market types {:?}, endpoints {:?}, rankings {:?}; running are {}, {:?}, {:?}, {:?}",
            new.capabilities.len(),
            new.market_types,
            new.endpoints,
            new.rankings,
            running.capabilities.len(),
            running.market_types,
            running.endpoints,
            running.rankings
        ),
    })
}

fn has_what_runs(running: &Venue, new: &Venue) -> bool {
    let is_kept = running.rankings.iter().all(|ranking| new.rankings.contains(ranking));
    is_kept && *running == Venue { rankings: running.rankings.clone(), ..new.clone() }
}

/// The first difference, in terms of the contract. `None`: the plans are equal, but for the venue's clock: it is measured as the running
/// plan says, until the feed starts again.
pub fn plan_difference(running: &Plan, new: &Plan) -> Option<String> {
    fn of_list<T: PartialEq + std::fmt::Debug>(name: &str, running: &[T], new: &[T]) -> Option<String> {
        if running.len() != new.len() {
            return Some(format!("{} {name}, running are {}", new.len(), running.len()));
        }
        let (index, (running, new)) =
            running.iter().zip(new).enumerate().find(|(_, (running, new))| running != new)?;
        let (mut seen, mut allowed) = (format!("{new:?}"), format!("{running:?}"));
        crate::logging::cut(&mut seen, 400);
        crate::logging::cut(&mut allowed, 400);
        Some(format!("{name}[{index}] is {seen}, running is {allowed}"))
    }
    of_list("connections", &running.connections, &new.connections)
        .or_else(|| of_list("polls", &running.polls, &new.polls))
        .or_else(|| of_list("resyncs", &running.resyncs, &new.resyncs))
        .or_else(|| of_list("budgets", &running.budgets, &new.budgets))
}

/// Adds the differences of a batch.
pub fn add_differences(
    differences: &mut Differences,
    batch: &FrameBatch,
    (running, new): (&Normalized, &Normalized),
) {
    if running == new {
        return;
    }
    let frames = running.by_frame(batch.len()).zip(new.by_frame(batch.len()));
    for ((frame, events, notes), (_, new_events, new_notes)) in frames {
        let mut add = |kind: DifferenceKind, outputs: [String; 2]| {
            let of_kind = differences.entry(kind).or_default();
            of_kind.frames += 1;
            if of_kind.examples.len() < DIFFERENCE_EXAMPLES {
                let bytes = batch.frame(frame).map(|frame| frame.bytes).unwrap_or_default();
                let bytes = bytes.get(..EXAMPLE_BYTES).unwrap_or(bytes);
                let [running, new] = outputs.map(cut);
                let frame = cut(String::from_utf8_lossy(bytes).replace(char::is_control, " "));
                of_kind.examples.push(DifferenceExample { frame, running, new });
            }
        };
        for (kind, outputs) in event_differences((events, running), (new_events, new)) {
            add(DifferenceKind::Events(kind), outputs);
        }
        if notes != new_notes {
            let kind = note_difference(notes, new_notes);
            add(kind, [notes, new_notes].map(|notes| format!("{:?}", remarks(notes))));
        }
    }
}

fn cut(mut text: String) -> String {
    crate::logging::cut(&mut text, EXAMPLE_BYTES);
    text
}

fn remarks(notes: &[Note]) -> Vec<&Remark> {
    notes.iter().map(|note| &note.remark).collect()
}

/// Events with the batch that holds their levels.
type BatchEvents<'a> = (&'a [Event], &'a Normalized);

/// The first difference of each data type whose events differ in number, order or content.
fn event_differences(
    (events, batch): BatchEvents<'_>,
    (new_events, new_batch): BatchEvents<'_>,
) -> Vec<(DataType, [String; 2])> {
    let is_same = events.len() == new_events.len()
        && events.iter().zip(new_events).all(|(one, other)| is_equal((one, batch), (other, new_batch)));
    if is_same {
        return Vec::new();
    }
    let differing = DataType::ALL.iter().filter_map(|kind| {
        let is_of = |event: &&Event| event.payload.data_type() == *kind;
        let mut of_running = events.iter().filter(is_of);
        let mut of_new = new_events.iter().filter(is_of);
        loop {
            let pair = (of_running.next(), of_new.next());
            match pair {
                (None, None) => return None,
                (Some(one), Some(other)) if is_equal((one, batch), (other, new_batch)) => {}
                (one, other) => {
                    return Some((*kind, [shown(one, batch), shown(other, new_batch)]));
                }
            }
        }
    });
    differing.collect()
}

fn shown(event: Option<&Event>, batch: &Normalized) -> String {
    match event.map(|event| &event.payload) {
        None => "no event".to_owned(),
        Some(Payload::Book(book)) => {
            format!("{:?}, levels {:?}", book, book.update(&batch.levels, 0).map(|u| (u.bids, u.asks)))
        }
        Some(payload) => format!("{payload:?}"),
    }
}

/// The place of a book's levels in its batch is no difference, the levels are.
fn is_equal((one, batch): (&Event, &Normalized), (other, other_batch): (&Event, &Normalized)) -> bool {
    match (&one.payload, &other.payload) {
        (Payload::Book(one), Payload::Book(other)) => {
            one.instrument == other.instrument
                && one.first_id == other.first_id
                && (one.bids, one.asks) == (other.bids, other.asks)
                && one.update(&batch.levels, 0) == other.update(&other_batch.levels, 0)
        }
        (one, other) => one == other,
    }
}

fn note_difference(notes: &[Note], new_notes: &[Note]) -> DifferenceKind {
    if malformed(new_notes) > malformed(notes) {
        return DifferenceKind::Malformed;
    }
    let commands = |notes: &[Note]| {
        let is_command = |remark: &&Remark| {
            matches!(
                remark,
                Remark::Reply(_) | Remark::Closing(_) | Remark::RestartBook(_) | Remark::FollowUp(_)
            )
        };
        notes.iter().map(|note| &note.remark).filter(is_command).cloned().collect::<Vec<_>>()
    };
    if commands(notes) == commands(new_notes) { DifferenceKind::Notes } else { DifferenceKind::Commands }
}

/// Malformed elements of these notes.
fn malformed(notes: &[Note]) -> u64 {
    let count = |note: &Note| match &note.remark {
        Remark::Malformed(malformed) => u64::from(malformed.count),
        _ => 0,
    };
    notes.iter().map(count).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::RankingKey;

    #[test]
    fn a_version_that_only_adds_a_ranking_describes_the_exchange_as_the_running_one() {
        let venue = |rankings: Vec<RankingKey>, market_types| Venue {
            exchange: "sim_spot".to_owned(),
            market_types,
            capabilities: Vec::new(),
            endpoints: Vec::new(),
            rankings,
        };
        let (without, with) = (venue(Vec::new(), Vec::new()), venue(vec![RankingKey::Volume24h], Vec::new()));
        assert_eq!(venue_difference(Some(&without), Some(&with)), None);
        let difference = venue_difference(Some(&with), Some(&without)).unwrap();
        assert!(difference.contains("rankings []"), "{difference}");
        let more = venue(vec![RankingKey::Volume24h], vec![crate::contract::MarketType::Spot]);
        assert!(venue_difference(Some(&without), Some(&more)).is_some());
    }
}
