//! What a book must know about its venue and its bounds.

/// How the updates of one book follow each other. The wording of each rule is that of the adapter contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SequenceRule {
    /// The venue gives no sequence: every update is applied, loss cannot be seen.
    Unnumbered,
    /// An update starts at the previous update's `last_id` plus one.
    Contiguous,
    /// An update names the `last_id` of the previous one in `previous_id`.
    Chained,
}

/// Where a starting state comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotSource {
    /// An answer to a request: it must be aligned with the stream by its id, and it may be cut off at some
    /// depth.
    Request,
    /// A message of the stream itself: the next update continues it, and the venue keeps its window filled.
    InBand,
}

/// How a book's content is checked beyond its sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// Not at all.
    Unchecked,
    /// CRC-32 (IEEE) over the best 10 asks, then the best 10 bids: of each level the digits of the price, then those of the quantity, at
    /// these scales, without decimal point and leading zeros.
    Crc32Digits10 {
        /// Decimal places of the instrument's prices.
        price_scale: u8,
        /// Decimal places of the instrument's quantities.
        quantity_scale: u8,
    },
}

/// Bounds of what one book may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BookLimits {
    /// Levels a side kept in memory; deeper ones are forgotten. Raised to four times the depth where that is
    /// more.
    pub max_levels: usize,
    /// Deltas kept while a snapshot is awaited. When full, the oldest is dropped and counted.
    pub max_pending_updates: usize,
    /// Bytes of levels kept while a snapshot is awaited. When full, the oldest delta is dropped and counted.
    pub max_pending_bytes: usize,
    /// A book whose best bid is not below its best ask for longer than this (nanoseconds) is thrown away.
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

/// How one book is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BookSettings {
    /// The venue's sequence rule.
    pub rule: SequenceRule,
    /// Where its snapshots come from.
    pub snapshot: SnapshotSource,
    /// Levels a side that are published. A requested snapshot must be asked for at least this depth: a side
    /// of it with fewer levels is taken for the whole side.
    pub depth: usize,
    /// The venue keeps only this many levels a side and does not say when one falls out: after each update, what lies deeper is
    /// dropped. `None`: the venue removes levels explicitly.
    pub depth_limit: Option<usize>,
    /// How an update's checksum is verified.
    pub checksum: Checksum,
    /// Bounds.
    pub limits: BookLimits,
}

impl BookSettings {
    /// Settings with default limits, without depth limit and checksum.
    #[must_use]
    pub fn new(rule: SequenceRule, snapshot: SnapshotSource, depth: usize) -> Self {
        let limits = BookLimits::default();
        BookSettings { rule, snapshot, depth, depth_limit: None, checksum: Checksum::Unchecked, limits }
    }

    /// Levels a side that are kept.
    pub(crate) fn levels_kept(&self) -> usize {
        self.limits.max_levels.max(self.depth.saturating_mul(4)).max(1)
    }
}
