//! What the order books of a feed are like, by the adapter's word.

use std::time::Duration;

use marketprism_adapter_host::contract::{self, Capability, ChecksumRule, Instrument, Plan};
use marketprism_adapter_host::{InstrumentIndex, ResyncIndex};
use marketprism_book::{BookSettings, Checksum, SequenceRule, SnapshotSource};

/// One book.
#[derive(Debug, Clone, Copy)]
pub struct BookPlan {
    /// Sequence rule, snapshot source, depth, window and checksum.
    pub settings: BookSettings,
    /// The position of its resync in the adapter's plan.
    pub resync: Option<ResyncIndex>,
}

/// The books of a feed.
#[derive(Debug, Clone)]
pub struct BooksPlan {
    /// In the order of the instruments.
    pub books: Vec<BookPlan>,
    /// Least time between two published states of one book.
    pub publish_interval: Duration,
}

impl BooksPlan {
    /// Brings together what the capability says of all books, and what plan and instruments say of each.
    #[must_use]
    pub fn new(
        capability: &Capability,
        instruments: &[Instrument],
        plan: &Plan,
        depth: u32,
        publish_interval: Duration,
    ) -> Self {
        let usual = book_settings(capability, depth);
        let checksum = |instrument: &Instrument| match capability.checksum {
            ChecksumRule::Unchecked => Checksum::Unchecked,
            ChecksumRule::Crc32Digits10 => Checksum::Crc32Digits10 {
                price_scale: instrument.price_scale,
                quantity_scale: instrument.quantity_scale,
            },
        };
        let book = |instrument: &Instrument| BookPlan {
            settings: BookSettings { checksum: checksum(instrument), ..usual },
            resync: None,
        };
        let mut books: Vec<BookPlan> = instruments.iter().map(book).collect();
        for (position, resync) in ResyncIndex::enumerate(&plan.resyncs) {
            let book = books.get_mut(InstrumentIndex::from(resync.instrument).position());
            if let Some(book) = book {
                book.resync = Some(position);
                book.settings.depth_limit = resync.depth_limit.and_then(|most| usize::try_from(most).ok());
            }
        }
        Self { books, publish_interval }
    }
}

/// What the books of an exchange have in common.
fn book_settings(capability: &Capability, depth: u32) -> BookSettings {
    let rule = match capability.sequence {
        contract::SequenceRule::Unnumbered => SequenceRule::Unnumbered,
        contract::SequenceRule::Contiguous => SequenceRule::Contiguous,
        contract::SequenceRule::Chained => SequenceRule::Chained,
    };
    let source = match capability.snapshot {
        contract::SnapshotSource::InBand => SnapshotSource::InBand,
        contract::SnapshotSource::Request | contract::SnapshotSource::NotApplicable => {
            SnapshotSource::Request
        }
    };
    BookSettings::new(rule, source, usize::try_from(depth).unwrap_or(usize::MAX))
}
