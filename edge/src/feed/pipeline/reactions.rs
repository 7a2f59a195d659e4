//! What a pipeline does about what is not data: remarks of the adapter, failed requests, lost connections, silent streams.

use std::time::Instant;

use marketprism_adapter_host::contract::{self, Ignored, Remark};
use marketprism_adapter_host::{FrameIndex, InstrumentIndex, SourceIndex};
use marketprism_schema::DataType;
use marketprism_socket::{CommandError, SilenceHint};

use super::super::sources::Source;
use super::Pipeline;
use crate::clock;
use crate::contract::data_type;
use crate::gaps::IncidentKind;

/// A stream that exceeded the silence that its adapter expects.
pub(super) struct SilentStream {
    pub(super) data_type: contract::DataType,
    pub(super) instrument: Option<InstrumentIndex>,
    pub(super) connection: String,
    pub(super) url: String,
    pub(super) silence_ms: u64,
    pub(super) hint: SilenceHint,
}

impl Pipeline {
    pub(super) fn remark(&mut self, frame: FrameIndex, remark: &Remark, now_ns: i64) {
        let Some(origin) = self.origin(frame) else { return };
        let bytes = self.batch.frame(frame);
        self.notes.note(remark, bytes.map(|frame| frame.bytes).unwrap_or_default());
        let sockets = self.parts.sockets.upgrade();
        match (remark, sockets) {
            (Remark::Reply(text), Some(sockets)) => {
                let sent = sockets.reply(origin.source, origin.generation, text.clone());
                self.carried_out("reply", origin.source, sent);
            }
            (Remark::Closing(why), Some(sockets)) => {
                let replaced = sockets.replace(origin.source, why);
                self.carried_out("replace", origin.source, replaced);
            }
            (Remark::FollowUp(page), Some(sockets)) => {
                let asked = sockets.follow_up(origin.source, page.clone());
                if asked.is_err() {
                    self.parts.adapter.page_failed(origin.source);
                }
                self.carried_out("follow_up", origin.source, asked);
            }
            (Remark::RestartBook(instrument), _) => {
                if let Some(books) = self.parts.router.books() {
                    books.restart((*instrument).into(), now_ns);
                }
            }
            (Remark::Malformed(malformed), _) => {
                self.useless.insert(frame);
                self.parts.watch.frame_lost(IncidentKind::Malformed, origin.source, origin.received_at_ns);
                self.polls.failed(origin.source, "malformed", &malformed.what, now_ns);
                self.starting_state_failed(origin.source, now_ns);
            }
            (Remark::VenueError(error), _) => {
                self.useless.insert(frame);
                let detail = format!("{}: {}", error.code, error.text);
                self.polls.failed(origin.source, "venue_error", &detail, now_ns);
                self.starting_state_failed(origin.source, now_ns);
            }
            (Remark::Ignored(Ignored::Empty | Ignored::Repeated | Ignored::Reference), _) => {
                // The stream lives, though it has nothing new.
                if let Some(stream) = self.parts.sources.only_stream(origin.source) {
                    self.seen.insert((origin.source, stream));
                }
            }
            _ => {}
        }
    }

    fn carried_out(&mut self, command: &'static str, source: SourceIndex, outcome: Result<(), CommandError>) {
        let Err(error) = outcome else { return };
        self.notes.count_error(command);
        if let Some(held_back) = self.refusals.allow(Instant::now()) {
            tracing::warn!(exchange = self.exchange(), command, %source, %error, held_back, "the sockets refuse");
        }
    }

    /// Answers of polls that nobody found useless are successes.
    pub(super) fn judge_polls(&mut self, now_ns: i64) {
        let connections = self.parts.sources.connections();
        for (frame, origin) in FrameIndex::enumerate(&self.origins) {
            if origin.source.position() >= connections && !self.useless.contains(&frame) {
                self.polls.succeeded(origin.source, now_ns);
            }
        }
        self.useless.clear();
    }

    /// A snapshot that cannot be read leaves its book without a starting state: ask again.
    pub(super) fn starting_state_failed(&mut self, source: SourceIndex, now_ns: i64) {
        if let Some(Source::Resync { instrument, .. }) = self.parts.sources.get(source) {
            let instrument = *instrument;
            if let Some(books) = self.parts.router.books() {
                books.ask(instrument, now_ns);
            }
        }
    }

    pub(super) fn request_failed(
        &mut self,
        source: SourceIndex,
        code: &'static str,
        reason: &dyn std::fmt::Display,
        at_ns: i64,
    ) {
        let kind = match self.parts.sources.get(source) {
            Some(Source::Poll { data_type, .. }) => *data_type,
            _ => DataType::OrderBook,
        };
        let exchange = self.parts.status.exchange.as_str();
        let labels = [exchange, kind.as_str(), code];
        self.parts.metrics.collector_errors.with_label_values(&labels).inc();
        if let Some(held_back) = self.losses.allow(Instant::now()) {
            tracing::warn!(exchange, %kind, %source, %reason, held_back, "a request failed");
        }
        self.polls.failed(source, code, &reason.to_string(), at_ns);
        self.parts.adapter.page_failed(source);
        self.starting_state_failed(source, clock::now_ns());
    }

    /// Where updates are numbered, the next one proves whether any is missing. Where they are not, only a new start helps.
    pub(super) fn closed(&mut self, source: SourceIndex, overlap: bool, reason: &str) {
        tracing::info!(exchange = self.exchange(), %source, reason, overlap, "a connection ended");
        if overlap {
            return;
        }
        let instruments = self.parts.sources.books_of(source);
        let now_ns = clock::now_ns();
        let Some(books) = self.parts.router.books() else { return };
        for instrument in instruments {
            if books.is_unnumbered(instrument) {
                books.restart(instrument, now_ns);
            }
        }
    }

    /// A stream that never brought anything is an error of the plan more likely than of the venue.
    pub(super) fn silent(&mut self, stream: &SilentStream) {
        let SilentStream { data_type: kind, instrument, connection, url, silence_ms, hint } = stream;
        let (exchange, kind) = (self.exchange(), data_type(*kind));
        let symbol = instrument.map(|instrument| self.symbol(instrument)).unwrap_or_default();
        let label = match hint {
            SilenceHint::WentQuiet => "went_quiet",
            SilenceHint::NeverSeen => "never_seen",
        };
        let labels = [exchange, kind.as_str(), label];
        self.parts.metrics.silent_streams.with_label_values(&labels).inc();
        match hint {
            SilenceHint::NeverSeen => tracing::error!(
                exchange,
                %kind,
                symbol,
                connection,
                url,
                silence_ms,
                "a subscribed stream never brought anything: its name or the route of its address may be wrong"
            ),
            SilenceHint::WentQuiet => {
                tracing::warn!(exchange, %kind, symbol, connection, silence_ms, "a stream went quiet");
            }
        }
    }
}
