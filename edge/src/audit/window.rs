//! One window of receive time: tallies of streams, counts of feeds, bounded lists of gaps.

use marketprism_schema::{
    DUPLICATES_MAX, EventId, FeedAudit, Fingerprint, GAPS_MAX, Gap, GapCause, GapKind, StreamAudit,
    UNSURE_MAX,
};

use super::streams::{AuditFeed, AuditStream, AuditedFeed};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublishOutcome {
    Stored,
    /// The broker had it before, and it was sent once.
    Duplicate,
    /// The broker had it before, and it was sent more than once: the copy is this edge's or another edge's.
    Ambiguous,
    /// A newer state of the same book replaced it in the queue.
    Conflated,
    /// It was dropped from the full queue, or was left in it at the end.
    Dropped,
    /// The broker rejected it for its content; it is lost.
    Rejected,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordOutcome {
    pub stream: Option<AuditStream>,
    pub received_at_ns: i64,
    /// The venue's time.
    pub timestamp_us: i64,
    pub event_id: EventId,
    pub sequence: Option<i64>,
    pub outcome: PublishOutcome,
}

/// Counts of one stream in one window. Rare ones are boxed, so that most tallies are small.
#[derive(Debug, Default)]
pub(super) struct StreamTally {
    stored: Fingerprint,
    duplicates: u64,
    sequences: Option<(i64, i64)>,
    oldest_us: Option<i64>,
    rare: Option<Box<RareCounts>>,
}

#[derive(Debug, Default)]
struct RareCounts {
    duplicate_ids: Vec<u64>,
    duplicates_truncated: bool,
    ambiguous: Vec<EventId>,
    ambiguous_truncated: bool,
    malformed: u64,
    conflated: u64,
    dropped: LossCount,
    rejected: LossCount,
    gaps: GapList,
}

#[derive(Debug, Default)]
struct LossCount {
    count: u64,
    times: Option<(i64, i64)>,
    venue_times: Option<(i64, i64)>,
    sequences: Option<(i64, i64)>,
}

impl StreamTally {
    /// `room`: ids of duplicates that may still be kept.
    fn record(&mut self, record: &RecordOutcome, room: &mut usize) {
        match record.outcome {
            PublishOutcome::Stored => self.stored.add(record.event_id),
            PublishOutcome::Duplicate => {
                self.duplicates += 1;
                self.rare().duplicate(record.event_id, room);
            }
            PublishOutcome::Ambiguous => self.rare().ambiguous(record.event_id),
            PublishOutcome::Conflated => return self.conflated(1),
            PublishOutcome::Dropped => return self.rare().dropped.add(record),
            PublishOutcome::Rejected => return self.rare().rejected.add(record),
        }
        let oldest_us = self.oldest_us.get_or_insert(record.timestamp_us);
        *oldest_us = record.timestamp_us.min(*oldest_us);
        widen(&mut self.sequences, record.sequence);
    }

    pub(super) fn conflated(&mut self, states: u64) {
        self.rare().conflated += states;
    }

    pub(super) fn malformed(&mut self, elements: u64) {
        self.rare().malformed += elements;
    }

    pub(super) fn gap(&mut self, gap: Gap) {
        self.rare().gaps.push(gap);
    }

    fn rare(&mut self) -> &mut RareCounts {
        self.rare.get_or_insert_with(Box::default)
    }

    /// Writes everything but events into `audit`, with further `gaps`. False: there is nothing.
    fn note(&self, audit: &mut StreamAudit, gaps: &[Gap]) -> bool {
        let Some(rare) = self.rare.as_deref() else { return false };
        (audit.malformed, audit.conflated) = (rare.malformed, rare.conflated);
        audit.dropped = rare.dropped.count;
        let mut list = rare.gaps.clone();
        rare.dropped.dropped_gap().into_iter().chain(gaps.iter().cloned()).for_each(|gap| list.push(gap));
        audit.gaps = list.into_gaps();
        audit.malformed + audit.conflated + audit.dropped > 0 || !audit.gaps.is_empty()
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.stored.count == 0 && self.duplicates == 0 && self.rare.is_none()
    }

    /// Writes the tally into the audit of its stream, with further `gaps`.
    pub(super) fn write(self, audit: &mut StreamAudit, gaps: Vec<Gap>) {
        (audit.stored, audit.duplicates) = (self.stored, self.duplicates);
        (audit.first_sequence, audit.last_sequence) = self.sequences.unzip();
        audit.oldest_timestamp = self.oldest_us;
        let mut rare = self.rare.map(|rare| *rare).unwrap_or_default();
        let dropped = rare.dropped.dropped_gap();
        let rejected = rare.rejected.gap(GapKind::Refused, "the broker rejected messages for their content");
        for gap in dropped.into_iter().chain(rejected).chain(gaps) {
            rare.gaps.push(gap);
        }
        rare.duplicate_ids.sort_unstable();
        (audit.duplicate_ids, audit.duplicates_truncated) = (rare.duplicate_ids, rare.duplicates_truncated);
        (audit.unsure, audit.unsure_truncated) = (rare.ambiguous, rare.ambiguous_truncated);
        (audit.malformed, audit.conflated) = (rare.malformed, rare.conflated);
        audit.dropped = rare.dropped.count;
        audit.gaps = rare.gaps.into_gaps();
    }
}

impl RareCounts {
    fn duplicate(&mut self, id: EventId, room: &mut usize) {
        if *room > 0 && self.duplicate_ids.len() < DUPLICATES_MAX {
            *room -= 1;
            self.duplicate_ids.push(id.low_half());
        } else {
            self.duplicates_truncated = true;
        }
    }

    fn ambiguous(&mut self, id: EventId) {
        if self.ambiguous.len() < UNSURE_MAX {
            self.ambiguous.push(id);
        } else {
            self.ambiguous_truncated = true;
        }
    }
}

impl LossCount {
    fn add(&mut self, record: &RecordOutcome) {
        self.count += 1;
        widen(&mut self.times, Some(record.received_at_ns));
        widen(&mut self.venue_times, Some(record.timestamp_us.saturating_mul(1_000)));
        widen(&mut self.sequences, record.sequence);
    }

    fn dropped_gap(&self) -> Option<Gap> {
        self.gap(GapKind::Dropped, "not published, for the queue was full or the edge stopped")
    }

    fn gap(&self, kind: GapKind, evidence: &str) -> Option<Gap> {
        let (from, to) = self.times?;
        let (from_sequence, to_sequence) = self.sequences.unzip();
        let evidence = format!("{evidence}: {} events lost", self.count);
        let missing = Some(self.count);
        let (venue_from, venue_to) = self.venue_times.unzip();
        Some(Gap {
            venue_from,
            venue_to,
            from_sequence,
            to_sequence,
            missing,
            to,
            ..Gap::open(kind, GapCause::Ours, from, evidence)
        })
    }
}

fn widen(range: &mut Option<(i64, i64)>, value: Option<i64>) {
    if let Some(value) = value {
        let (least, greatest) = range.get_or_insert((value, value));
        *least = value.min(*least);
        *greatest = value.max(*greatest);
    }
}

/// Problems of a feed that no single stream can be named for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FeedCounts {
    pub malformed: u64,
    pub reconnects: u64,
    pub adapter_faults: u64,
}

/// An observation of a feed's pipeline. Times are nanoseconds of receive time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GapEvent {
    /// All gaps in the trade ids of a stream that are open now.
    TradeIds(AuditStream, Vec<Gap>),
    /// A gap that has ended; it belongs to the window of its end.
    Ended(AuditStream, Gap),
    /// A gap began and lasts.
    Began(AuditStream, Gap),
    /// The open gap of this kind ended at this time, and at this one by the venue's clock.
    Recovered(AuditStream, GapKind, i64, Option<i64>),
    /// Number of states of a book that newer ones replaced.
    Conflated(AuditStream, i64, u64),
    /// Frames, or elements of frames, of this stream alone that were lost.
    Malformed(AuditStream, i64, u64),
    Counts(i64, FeedCounts),
}

impl GapEvent {
    pub(super) const fn stream(&self) -> Option<AuditStream> {
        match self {
            Self::TradeIds(stream, _)
            | Self::Ended(stream, _)
            | Self::Began(stream, _)
            | Self::Recovered(stream, ..)
            | Self::Conflated(stream, ..)
            | Self::Malformed(stream, ..) => Some(*stream),
            Self::Counts(..) => None,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct WindowTally {
    /// More than events has changed since the last checkpoint.
    pub(super) is_changed: bool,
    streams: Vec<StreamTally>,
    feeds: Vec<FeedCounts>,
}

impl WindowTally {
    /// `room`: ids of duplicates that may be kept. Returns what is left of it.
    pub(super) fn record(&mut self, records: &[RecordOutcome], mut room: usize) -> usize {
        for record in records {
            self.is_changed |= matches!(record.outcome, PublishOutcome::Conflated | PublishOutcome::Dropped);
            if let Some(tally) = record.stream.and_then(|stream| self.stream(stream)) {
                tally.record(record, &mut room);
            }
        }
        room
    }

    /// Ids of duplicates that it holds.
    pub(super) fn duplicate_ids(&self) -> usize {
        let rare = self.streams.iter().filter_map(|tally| tally.rare.as_deref());
        rare.map(|rare| rare.duplicate_ids.len()).sum()
    }

    pub(super) fn stream(&mut self, stream: AuditStream) -> Option<&mut StreamTally> {
        let index = stream.position();
        if index >= self.streams.len() {
            self.streams.resize_with(index + 1, StreamTally::default);
        }
        self.streams.get_mut(index)
    }

    /// Streams that [`StreamTally::note`] may have something of.
    pub(super) fn with_rare_counts(&self) -> impl Iterator<Item = AuditStream> {
        let numbered = (0..).zip(&self.streams).filter(|(_, tally)| tally.rare.is_some());
        numbered.map(|(number, _)| AuditStream::of_number(number))
    }

    /// As [`StreamTally::note`].
    pub(super) fn note(&self, stream: AuditStream, audit: &mut StreamAudit, gaps: &[Gap]) -> bool {
        self.streams.get(stream.position()).is_some_and(|tally| tally.note(audit, gaps))
    }

    pub(super) fn take(&mut self, stream: AuditStream) -> StreamTally {
        self.streams.get_mut(stream.position()).map(std::mem::take).unwrap_or_default()
    }

    pub(super) fn count(&mut self, AuditFeed(feed): AuditFeed, counts: FeedCounts) {
        self.is_changed = true;
        if feed >= self.feeds.len() {
            self.feeds.resize_with(feed + 1, FeedCounts::default);
        }
        if let Some(sum) = self.feeds.get_mut(feed) {
            sum.malformed += counts.malformed;
            sum.reconnects += counts.reconnects;
            sum.adapter_faults += counts.adapter_faults;
        }
    }

    /// One entry per exchange: its feeds and their parts add up.
    pub(super) fn feeds(&self, feeds: &[AuditedFeed]) -> Vec<FeedAudit> {
        let mut audits: Vec<FeedAudit> = Vec::new();
        for (number, feed) in feeds.iter().enumerate() {
            let counts = self.feeds.get(number).copied().unwrap_or_default();
            let exchange = feed.exchange.clone();
            let position = audits.iter().position(|audit| audit.exchange == exchange).unwrap_or(audits.len());
            if position == audits.len() {
                audits.push(FeedAudit { exchange, ..FeedAudit::default() });
            }
            let Some(audit) = audits.get_mut(position) else { continue };
            audit.malformed += counts.malformed;
            audit.reconnects += counts.reconnects;
            audit.adapter_faults += counts.adapter_faults;
            if !feed.is_released {
                audit.not_running = audit.not_running.take().or_else(|| feed.not_running.clone());
                audit.not_listed.extend(feed.not_listed.iter().cloned());
            }
        }
        audits
    }
}

#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct GapSum {
    /// The first gap, widened to contain the others.
    sum: Option<Gap>,
    gaps: u64,
}

impl GapSum {
    pub fn add(&mut self, gap: Gap) {
        self.gaps += 1;
        match &mut self.sum {
            Some(sum) => sum.merge(&gap),
            None => self.sum = Some(gap),
        }
    }

    /// The gap that has the evidence of the sum.
    pub const fn first_mut(&mut self) -> Option<&mut Gap> {
        self.sum.as_mut()
    }

    /// Takes the sum; its evidence says how many gaps it stands for.
    pub fn take(&mut self) -> Option<Gap> {
        let gaps = std::mem::take(&mut self.gaps);
        let mut sum = self.sum.take()?;
        if gaps > 1 {
            sum.evidence = format!("{gaps} gaps in one, the first: {}", sum.evidence);
        }
        Some(sum)
    }
}

/// Gaps of one stream in one window, [`GAPS_MAX`] at most.
#[derive(Debug, Clone, Default)]
pub(super) struct GapList {
    gaps: Vec<Gap>,
    rest: GapSum,
}

impl GapList {
    pub(super) fn push(&mut self, gap: Gap) {
        if self.gaps.len() + 1 < GAPS_MAX {
            self.gaps.push(gap);
        } else {
            self.rest.add(gap);
        }
    }

    pub(super) fn into_gaps(mut self) -> Vec<Gap> {
        self.gaps.extend(self.rest.take());
        self.gaps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_list_sums_up_the_rest_in_its_last_gap() {
        let mut list = GapList::default();
        for at in 0..200 {
            list.push(Gap { evidence: "seen".into(), ..Gap::trade_ids(1, 2, at, at + 1) });
        }
        let gaps = list.into_gaps();
        assert_eq!(gaps.len(), GAPS_MAX);
        assert_eq!(gaps.iter().filter_map(|gap| gap.missing).sum::<u64>(), 400);
        let last = gaps.last().unwrap();
        assert_eq!((last.from, last.to), (63, 200));
        assert_eq!(last.evidence, "137 gaps in one, the first: seen");
    }
}
