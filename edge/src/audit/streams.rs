//! Streams and feeds of the audits, with the numbers that stand for them.

use std::collections::BTreeSet;

use indexmap::IndexMap;
use marketprism_schema::{Capability, DataTypeMap, MarketType, StreamId};

/// Number of a stream in the audits of this run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct AuditStream(u32);

impl AuditStream {
    /// Streams of killed runs have the numbers from here on.
    pub(super) const FIRST_OF_KILLED_RUNS: u32 = 1 << 31;

    /// False: its events were left by a run that was killed.
    pub(crate) const fn is_of_this_run(self) -> bool {
        self.0 < Self::FIRST_OF_KILLED_RUNS
    }

    pub(super) const fn position(self) -> usize {
        self.0 as usize
    }

    pub(crate) const fn of_number(number: u32) -> Self {
        Self(number)
    }

    pub(crate) const fn number(self) -> u32 {
        self.0
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditFeed(pub(super) usize);

/// The audited streams of a feed, per instrument and data type.
pub type StreamTable = Vec<DataTypeMap<Option<AuditStream>>>;

/// A stream with the venue's guarantees for it.
pub type SubscribedStream = (StreamId, Capability);

/// Every stream that was subscribed since the start, less those whose numbers others have taken over.
#[derive(Debug, Default)]
pub(super) struct StreamRegistry(IndexMap<StreamId, Capability>);

impl StreamRegistry {
    /// The number of a stream, assigned at its first mention: one that is `free`, or the next. The newest capability counts: an adapter may
    /// have been replaced.
    pub(super) fn number(
        &mut self,
        (id, capability): &SubscribedStream,
        free: impl FnOnce() -> Option<AuditStream>,
    ) -> Option<AuditStream> {
        if !self.0.contains_key(id)
            && let Some(stream) = free()
            && self.0.replace_index(stream.position(), id.clone()).is_ok()
        {
            self.0.insert(id.clone(), *capability);
            return Some(stream);
        }
        let (index, _) = self.0.insert_full(id.clone(), *capability);
        u32::try_from(index).ok().map(AuditStream)
    }

    pub(super) fn number_of(&self, id: &StreamId) -> Option<AuditStream> {
        u32::try_from(self.0.get_index_of(id)?).ok().map(AuditStream)
    }

    pub(super) fn id(&self, stream: AuditStream) -> Option<&StreamId> {
        self.0.get_index(stream.position()).map(|(id, _)| id)
    }

    pub(super) fn get(&self, stream: AuditStream) -> Option<(&StreamId, Capability)> {
        self.0.get_index(stream.position()).map(|(id, capability)| (id, *capability))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (AuditStream, &StreamId, Capability)> {
        (0_u32..).map(AuditStream).zip(&self.0).map(|(stream, (id, capability))| (stream, id, *capability))
    }
}

#[derive(Debug)]
pub(super) struct AuditedFeed {
    pub(super) exchange: String,
    /// Reason why it does not run.
    pub(super) not_running: Option<String>,
    pub(super) subscribed: Vec<AuditStream>,
    /// Streams that ended while the feed ran: it may still observe their connection.
    pub(super) ended: BTreeSet<AuditStream>,
    /// Symbols of its configuration that the venue does not list.
    pub(super) not_listed: Vec<String>,
    /// Instruments that are listed and selected by a pattern, but too far behind in its ranking. `None`: that cannot be read, and its
    /// earlier streams may come back.
    pub(super) outranked: Option<BTreeSet<(String, MarketType)>>,
    /// It was stopped for this reason, and starts again.
    pub(super) restart: Option<String>,
    /// It will not run again: its number is free for another feed of the exchange.
    pub(super) is_released: bool,
    /// Everything received before is in the queue, or reported as lost. `i64::MAX` while the feed does not run.
    pub(super) frontier_ns: i64,
    /// The last frontier while it ran; 0: it never did.
    pub(super) last_ns: i64,
    /// Start of the time for which its streams are audited.
    pub(super) since_ns: i64,
}

impl AuditedFeed {
    pub(super) fn new(exchange: &str) -> Self {
        Self {
            exchange: exchange.to_owned(),
            not_running: Some("it requests its instruments".to_owned()),
            subscribed: Vec::new(),
            ended: BTreeSet::new(),
            not_listed: Vec::new(),
            outranked: Some(BTreeSet::new()),
            restart: None,
            is_released: false,
            frontier_ns: i64::MAX,
            last_ns: 0,
            since_ns: 0,
        }
    }
}
