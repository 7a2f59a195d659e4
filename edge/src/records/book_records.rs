//! The records that follow each update of one book: its deltas and its quote.

use marketprism_book::BookView;
use marketprism_schema::{Body, DataType, DataTypeMap};

use super::deltas::{DeltaEpoch, each_delta};
use super::quotes::LastQuote;

/// Newest records of one book, which the next ones follow from.
#[derive(Debug, Default)]
pub(super) struct BookRecords {
    deltas: Option<DeltaEpoch>,
    quote: Option<LastQuote>,
}

impl BookRecords {
    /// Calls `emit` with each record of one update; false: it was refused. `lost_ns`: time of the newest record that the queue dropped.
    pub(super) fn after_update(
        &mut self,
        view: &BookView<'_>,
        wanted: &DataTypeMap<bool>,
        lost_ns: i64,
        emit: &mut dyn FnMut(Body<'_>) -> bool,
    ) {
        if wanted[DataType::OrderBookDelta] {
            each_delta(&mut self.deltas, view, lost_ns, &mut |delta| emit(Body::OrderBookDelta(delta)));
        }
        if wanted[DataType::Quote]
            && let Some(next) = LastQuote::after(self.quote.as_ref(), view, lost_ns)
            && emit(Body::Quote(next.quote()))
        {
            self.quote = Some(next);
        }
    }
}
