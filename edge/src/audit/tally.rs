//! The tally of one stream in one window.

use marketprism_schema::{EventId, Fingerprint, Gap, GapCause, GapKind, StreamAudit, UNSURE_MAX};

use super::open_gap::GapList;

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublishOutcome {
    /// The broker stored it as new.
    Stored,
    /// The broker had it already, and it was sent once.
    Duplicate,
    /// The broker had it already, and it was sent more than once: its own copy or another edge's.
    Unsure,
    /// A newer state of the same book took its place in the queue.
    Conflated,
    /// It was lost for want of room in the queue.
    Dropped,
    /// The broker does not take it for what it is; it is lost.
    Refused,
}

/// A record of which is known what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordOutcome {
    /// Its stream.
    pub stream: u32,
    /// When its frame was received, nanoseconds since 1970.
    pub received_at_ns: i64,
    /// The venue's time, microseconds since 1970.
    pub timestamp_us: i64,
    /// Its id.
    pub event_id: EventId,
    /// Its sequence at the venue, where it has one.
    pub sequence: Option<i64>,
    /// What became of it.
    pub settlement: PublishOutcome,
}

/// The tally of one stream in one window. What is rare stands apart, so that most cells are small.
#[derive(Debug, Default)]
pub(super) struct StreamTally {
    stored: Fingerprint,
    duplicates: u64,
    sequences: Option<(i64, i64)>,
    oldest_us: Option<i64>,
    rare: Option<Box<Rare>>,
}

#[derive(Debug, Default)]
struct Rare {
    unsure: Vec<EventId>,
    unsure_truncated: bool,
    malformed: u64,
    conflated: u64,
    dropped: Loss,
    refused: Loss,
    gaps: GapList,
}

/// Records that were lost for one reason.
#[derive(Debug, Default)]
struct Loss {
    count: u64,
    times: Option<(i64, i64)>,
    sequences: Option<(i64, i64)>,
}

impl StreamTally {
    /// Counts one record.
    pub(super) fn settle(&mut self, settled: &RecordOutcome) {
        match settled.settlement {
            PublishOutcome::Stored => {
                self.stored.add(settled.event_id);
                let oldest_us = self.oldest_us.get_or_insert(settled.timestamp_us);
                *oldest_us = settled.timestamp_us.min(*oldest_us);
            }
            PublishOutcome::Duplicate => self.duplicates += 1,
            PublishOutcome::Unsure => self.rare().unsure(settled.event_id),
            PublishOutcome::Conflated => return self.conflated(1),
            PublishOutcome::Dropped => return self.rare().dropped.add(settled),
            PublishOutcome::Refused => return self.rare().refused.add(settled),
        }
        widen(&mut self.sequences, settled.sequence);
    }

    /// Counts states that a newer one replaced.
    pub(super) fn conflated(&mut self, states: u64) {
        self.rare().conflated += states;
    }

    /// Counts frames that could not be read.
    pub(super) fn malformed(&mut self, frames: u64) {
        self.rare().malformed += frames;
    }

    /// RemarkLog something missing.
    pub(super) fn gap(&mut self, gap: Gap) {
        self.rare().gaps.push(gap);
    }

    fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_with(Box::default)
    }

    /// Whether there is nothing to say.
    pub(super) const fn is_empty(&self) -> bool {
        self.stored.count == 0 && self.duplicates == 0 && self.rare.is_none()
    }

    /// Brings the tally into the audit of its stream, `gaps` besides its own.
    pub(super) fn report(self, audit: &mut StreamAudit, gaps: Vec<Gap>) {
        (audit.stored, audit.duplicates) = (self.stored, self.duplicates);
        (audit.first_sequence, audit.last_sequence) = self.sequences.unzip();
        audit.oldest_timestamp = self.oldest_us;
        let mut rare = self.rare.map(|rare| *rare).unwrap_or_default();
        if let Some(gap) = rare.dropped.gap(GapKind::Dropped, "the edge's queue was full") {
            rare.gaps.push(gap);
        }
        if let Some(gap) = rare.refused.gap(GapKind::Refused, "the broker refuses messages of this kind") {
            rare.gaps.push(gap);
        }
        for gap in gaps {
            rare.gaps.push(gap);
        }
        (audit.unsure, audit.unsure_truncated) = (rare.unsure, rare.unsure_truncated);
        (audit.malformed, audit.conflated) = (rare.malformed, rare.conflated);
        audit.dropped = rare.dropped.count;
        audit.gaps = rare.gaps.into_gaps();
    }
}

impl Rare {
    fn unsure(&mut self, id: EventId) {
        if self.unsure.len() < UNSURE_MAX {
            self.unsure.push(id);
        } else {
            self.unsure_truncated = true;
        }
    }
}

impl Loss {
    fn add(&mut self, settled: &RecordOutcome) {
        self.count += 1;
        widen(&mut self.times, Some(settled.received_at_ns));
        widen(&mut self.sequences, settled.sequence);
    }

    fn gap(&self, kind: GapKind, evidence: &str) -> Option<Gap> {
        let (from, to) = self.times?;
        let (from_sequence, to_sequence) = self.sequences.unzip();
        Some(Gap {
            kind,
            cause: GapCause::Ours,
            from_sequence,
            to_sequence,
            missing: Some(self.count),
            from,
            to,
            evidence: format!("{evidence}: {} events lost", self.count),
        })
    }
}

/// Widens a range so that it holds a value.
fn widen(range: &mut Option<(i64, i64)>, value: Option<i64>) {
    if let Some(value) = value {
        let (least, greatest) = range.get_or_insert((value, value));
        *least = value.min(*least);
        *greatest = value.max(*greatest);
    }
}
