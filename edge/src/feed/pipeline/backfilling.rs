//! Backfill of trades: asks the adapter for requests, and publishes the rows of their answers whose ids are missing.

use std::time::Instant;

use marketprism_adapter_host::contract::{Payload, TradeRange};
use marketprism_adapter_host::{CallError, FrameFault, FrameIndex, InstrumentIndex, SourceIndex};
use marketprism_service::clock;

use super::{FrameOrigin, Pipeline};
use crate::records::{PastTrade, TradeIdRange};

impl Pipeline {
    /// Takes over holes in trade ids, and requests the trades of one that is due.
    pub(super) fn backfill(&mut self) {
        let (now, now_ns) = (Instant::now(), clock::now_ns());
        let Some(backfill) = &mut self.parts.backfill else {
            // Nobody fills them.
            drop(self.parts.builder.take_trade_holes());
            return;
        };
        backfill.take_holes(&mut self.parts.builder, now, now_ns);
        if let Some((instrument, ids)) = backfill.next(&mut self.parts.builder, now, now_ns) {
            self.request_trades(instrument, ids);
        }
        self.report_backfilled();
    }

    fn request_trades(&mut self, instrument: InstrumentIndex, TradeIdRange { first, last }: TradeIdRange) {
        let (now, now_ns) = (Instant::now(), clock::now_ns());
        let Some(backfill) = &mut self.parts.backfill else { return };
        let request =
            match self.parts.adapter.backfill(TradeRange { instrument: instrument.into(), first, last }) {
                Ok(request) => request,
                Err(error @ CallError::Refused(_)) => {
                    return backfill.refused(&error.to_string(), &mut self.parts.builder, now_ns);
                }
                Err(error) => {
                    return backfill.failed(&error.to_string(), &mut self.parts.builder, now, now_ns);
                }
            };
        let Some(sockets) = self.parts.sockets.upgrade() else { return };
        let source = SourceIndex::of_backfill(self.parts.adapter.plan(), instrument);
        if let Err(error) = sockets.backfill(source, request) {
            backfill.failed(&error.to_string(), &mut self.parts.builder, now, now_ns);
        }
    }

    /// An event in the answer of a backfill of this instrument.
    pub(super) fn past_event(&mut self, asked: InstrumentIndex, origin: FrameOrigin, payload: &Payload) {
        let Some(backfill) = self.parts.backfill.as_mut().filter(|one| one.asked() == Some(asked)) else {
            return;
        };
        let received_at_ns = origin.received_at_ns;
        match self.parts.builder.past_trade(asked, payload, received_at_ns, &mut self.records) {
            PastTrade::Fills => {
                backfill.filled();
                self.past_filled += 1;
            }
            PastTrade::NotMissing => backfill.discarded(),
            PastTrade::Invalid { id } => {
                backfill.invalid(id);
                self.count_invalid(Some((origin.source, received_at_ns)));
            }
        }
    }

    /// The frame is processed: if it is the answer of a backfill, the rest of the hole is next.
    pub(super) fn past_answered(&mut self, frame: FrameIndex, faults: &[FrameFault]) {
        let Some(asked) = self.origin(frame).and_then(|origin| self.backfilled(origin.source)) else {
            return;
        };
        let filled = std::mem::take(&mut self.past_filled);
        // The adapter did not read it: no evidence about the venue's history. The request fails with the fault.
        if faults.iter().any(|fault| fault.frame == frame) {
            return;
        }
        if filled == 0 && self.unusable.contains(&frame) {
            return self.backfill_failed(asked, "the answer is an error, or not readable");
        }
        let (now, now_ns) = (Instant::now(), clock::now_ns());
        if let Some(backfill) = self.parts.backfill.as_mut().filter(|one| one.asked() == Some(asked)) {
            backfill.answered(filled, &mut self.parts.builder, now, now_ns);
        }
    }

    pub(super) fn backfilled(&self, source: SourceIndex) -> Option<InstrumentIndex> {
        self.parts.sources.backfilled(source)
    }

    pub(super) fn backfill_failed(&mut self, asked: InstrumentIndex, why: &str) {
        let (now, now_ns) = (Instant::now(), clock::now_ns());
        if let Some(backfill) = self.parts.backfill.as_mut().filter(|one| one.asked() == Some(asked)) {
            backfill.failed(why, &mut self.parts.builder, now, now_ns);
        }
    }

    /// The venue refused the request itself.
    pub(super) fn backfill_refused(&mut self, asked: InstrumentIndex, why: &str) {
        let (now, now_ns) = (Instant::now(), clock::now_ns());
        if let Some(backfill) = self.parts.backfill.as_mut().filter(|one| one.asked() == Some(asked)) {
            backfill.not_kept(why, &mut self.parts.builder, now, now_ns);
        }
    }

    fn report_backfilled(&mut self) {
        let Some(backfill) = &mut self.parts.backfill else { return };
        for hole in backfill.take_done() {
            self.parts.gaps.backfilled(&hole);
            let (exchange, symbol) = (self.exchange(), self.symbol(hole.instrument));
            let (filled, left, evidence) = (hole.filled, hole.left, hole.evidence);
            match left {
                0 => tracing::info!(exchange, symbol, filled, evidence, "missing trades filled"),
                _ => tracing::error!(exchange, symbol, filled, left, evidence, "trades stay missing"),
            }
        }
    }

    /// Positions of trades for a later run. Their records are in the queue.
    pub(super) fn keep_positions(&mut self) {
        if let Some(kept) = &self.parts.positions {
            for (instrument, position) in self.parts.builder.take_trade_positions() {
                kept.set(instrument, position);
            }
        }
    }
}
