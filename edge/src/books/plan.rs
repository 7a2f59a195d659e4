//! Settings of a feed's order books, from capability, plan and instruments of the adapter.

use std::time::Duration;

use marketprism_adapter_host::contract::{Capability, Instrument, Plan};
use marketprism_adapter_host::{InstrumentIndex, ResyncIndex};
use marketprism_book::BookSettings;

#[derive(Debug, Clone, Copy)]
pub struct BookPlan {
    pub settings: BookSettings,
    /// The plan's resync for this book.
    pub resync: Option<ResyncIndex>,
}

#[derive(Debug, Clone)]
pub struct BooksPlan {
    /// In the order of the instruments.
    pub books: Vec<BookPlan>,
    /// Least time between two published states of one book.
    pub publish_interval: Duration,
}

impl BooksPlan {
    #[must_use]
    pub fn new(
        capability: &Capability,
        instruments: &[Instrument],
        plan: &Plan,
        depth: u32,
        publish_interval: Duration,
    ) -> Self {
        let mut resyncs = vec![(None, None); instruments.len()];
        for (resync, planned) in ResyncIndex::enumerate(&plan.resyncs) {
            if let Some(of) = resyncs.get_mut(InstrumentIndex::from(planned.instrument).position()) {
                *of = (Some(resync), planned.depth_limit);
            }
        }
        let books = instruments.iter().zip(resyncs).map(|(instrument, (resync, limit))| BookPlan {
            settings: capability.book_settings(Some(instrument), depth, limit),
            resync,
        });
        Self { books: books.collect(), publish_interval }
    }
}
