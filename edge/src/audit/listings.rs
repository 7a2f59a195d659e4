//! Terms of the instruments that this run has reported to central: each change of them once, and all of them again once a day.

use std::collections::BTreeMap;

use marketprism_schema::{INSTRUMENTS_VERSION, InstrumentListing, InstrumentTerms, MarketType, StreamId};

use crate::clocks::nanos;
use crate::limits::INSTRUMENTS_REPORT_EVERY;

/// Exchange, symbol and market type.
type ReportedInstrument = (String, String, MarketType);

#[derive(Debug, Default)]
pub(super) struct ReportedTerms {
    reported: BTreeMap<ReportedInstrument, (InstrumentTerms, i64)>,
    /// Messages that are not published.
    listings: Vec<InstrumentListing>,
}

impl ReportedTerms {
    /// These streams ended: if the instrument of one is listed again, its terms are reported again.
    pub(super) fn forget(&mut self, streams: &[StreamId]) {
        for StreamId { exchange, symbol, market_type, .. } in streams {
            self.reported.remove(&(exchange.clone(), symbol.clone(), *market_type));
        }
    }

    /// The instruments of a feed, as the venue's list has them.
    pub(super) fn list(&mut self, edge: &str, exchange: &str, instruments: Vec<InstrumentTerms>, at_ns: i64) {
        let due = instruments.into_iter().filter(|one| self.is_due(exchange, one, at_ns));
        let listed: Vec<InstrumentTerms> = due.collect();
        if !listed.is_empty() {
            let (edge, exchange) = (edge.to_owned(), exchange.to_owned());
            self.listings.push(InstrumentListing {
                version: INSTRUMENTS_VERSION,
                edge,
                exchange,
                at: at_ns,
                listed,
            });
        }
    }

    /// Listings since the last call.
    pub(super) fn take(&mut self) -> Vec<InstrumentListing> {
        std::mem::take(&mut self.listings)
    }

    /// True if the terms are new, or were reported long ago; then they count as reported.
    fn is_due(&mut self, exchange: &str, terms: &InstrumentTerms, at_ns: i64) -> bool {
        let key = (exchange.to_owned(), terms.symbol.clone(), terms.market_type);
        let is_known = |(known, reported_ns): &(InstrumentTerms, i64)| {
            known == terms && at_ns.saturating_sub(*reported_ns) < nanos(INSTRUMENTS_REPORT_EVERY)
        };
        if self.reported.get(&key).is_some_and(is_known) {
            return false;
        }
        self.reported.insert(key, (terms.clone(), at_ns));
        true
    }
}
