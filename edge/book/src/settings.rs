//! Per-book settings: the venue's rules and the memory bounds.

/// Order of the updates of one book; the wording of each rule is that of the adapter contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SequenceRule {
    /// No sequence: every update is applied, loss cannot be detected.
    Unnumbered,
    /// An update starts at the previous update's `last_id` plus one.
    Contiguous,
    /// An update names the previous update's `last_id` in `previous_id`.
    Chained,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotSource {
    /// Response to a request: aligned with the stream by its id, possibly cut off at some depth.
    Request,
    /// Message of the stream itself: the next update continues it.
    InBand,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    Unchecked,
    /// CRC-32 (IEEE) over the best 10 asks, then the best 10 bids: for each level the digits of price and
    /// quantity at these scales, without decimal point and leading zeros.
    Crc32Digits10 {
        price_scale: u8,
        quantity_scale: u8,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BookLimits {
    /// Levels per side in memory; at least four times the depth. Deeper levels are dropped.
    pub max_levels: usize,
    /// Deltas buffered while a snapshot is awaited. When full, the oldest is dropped and counted.
    pub max_pending_updates: usize,
    /// Bytes of buffered levels. When full, the oldest delta is dropped and counted.
    pub max_pending_bytes: usize,
    /// A book crossed for longer than this (nanoseconds) is discarded.
    pub crossed_ns: i64,
}

impl Default for BookLimits {
    fn default() -> Self {
        BookLimits {
            max_levels: 5_000,
            max_pending_updates: 4_096,
            max_pending_bytes: 4 << 20,
            crossed_ns: 1_500_000_000,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BookSettings {
    pub rule: SequenceRule,
    pub snapshot: SnapshotSource,
    /// Published levels per side. Request snapshots of at least this depth: a side with fewer levels is
    /// taken for the whole side.
    pub depth: usize,
    /// The venue keeps only this many levels per side and does not announce removals beyond: deeper levels
    /// are dropped after each update. `None`: removals are explicit.
    pub depth_limit: Option<usize>,
    pub checksum: Checksum,
    pub limits: BookLimits,
}

impl BookSettings {
    pub fn new(rule: SequenceRule, snapshot: SnapshotSource, depth: usize) -> Self {
        let limits = BookLimits::default();
        BookSettings { rule, snapshot, depth, depth_limit: None, checksum: Checksum::Unchecked, limits }
    }

    pub(crate) fn levels_kept(&self) -> usize {
        self.limits.max_levels.max(self.depth.saturating_mul(4)).max(1)
    }
}
