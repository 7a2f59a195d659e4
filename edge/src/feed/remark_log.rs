//! Counts and logs an adapter's remarks that need no action.

use std::time::Instant;

use marketprism_adapter_host::contract::{Ignored, Remark};
use marketprism_service::LogLimit;

use crate::limits::SNIPPET_CHARS_MAX;
use crate::telemetry::{ANY, Metrics};

/// Codes of a feed's errors that belong to no single data type.
pub const FEED_ERRORS: [&str; 10] = [
    "malformed",
    "venue_error",
    "frame_too_large",
    "adapter_fault",
    "reply",
    "replace",
    "follow_up",
    FEED_START,
    LISTING,
    OVERLAP,
];
/// Code of a feed that failed to start, or ended.
pub(super) const FEED_START: &str = "feed_start";
/// Code of lists of instruments that cannot be read again.
pub(super) const LISTING: &str = "listing";
/// Code of new connections that did not overlap those that they replace.
pub(super) const OVERLAP: &str = "overlap";
/// Labels of unusable answers of polls, in addition to those of failed requests.
pub const UNUSABLE_ANSWERS: [&str; 3] = ["malformed", "venue_error", "adapter_fault"];

pub(super) struct RemarkLog {
    exchange: String,
    metrics: Metrics,
    ignored: [u64; REASONS.len()],
    malformed: LogLimit,
    venue_errors: LogLimit,
    unknown: LogLimit,
}

const REASONS: [(Ignored, &str); 10] = [
    (Ignored::Acknowledgement, "acknowledgement"),
    (Ignored::Heartbeat, "heartbeat"),
    (Ignored::NotNeeded, "not_needed"),
    (Ignored::OtherInstrument, "other_instrument"),
    (Ignored::OtherDataType, "other_data_type"),
    (Ignored::Status, "status"),
    (Ignored::UnknownKind, "unknown_kind"),
    (Ignored::Empty, "empty"),
    (Ignored::Reference, "reference"),
    (Ignored::Repeated, "repeated"),
];

/// Labels of ignored frames.
pub fn ignored_reasons() -> impl Iterator<Item = &'static str> {
    REASONS.iter().map(|(_, reason)| *reason)
}

impl RemarkLog {
    pub(super) fn new(exchange: &str, metrics: Metrics) -> Self {
        Self {
            exchange: exchange.to_owned(),
            metrics,
            ignored: [0; REASONS.len()],
            malformed: LogLimit::default(),
            venue_errors: LogLimit::default(),
            unknown: LogLimit::default(),
        }
    }

    pub(super) fn add(&mut self, remark: &Remark, frame: &[u8]) {
        let exchange = &self.exchange;
        match remark {
            Remark::Ignored(reason) => {
                let index = REASONS.iter().position(|(known, _)| known == reason);
                if let Some(count) = index.and_then(|index| self.ignored.get_mut(index)) {
                    *count += 1;
                }
                if matches!(reason, Ignored::UnknownKind)
                    && let Some(held_back) = self.unknown.allow(Instant::now())
                {
                    let frame = snippet(frame);
                    tracing::warn!(exchange, frame, held_back, "message of a kind unknown to the adapter");
                }
            }
            Remark::VenueError(error) => {
                self.count_error("venue_error");
                if let Some(held_back) = self.venue_errors.allow(Instant::now()) {
                    let (exchange, code, text) = (&self.exchange, &error.code, &error.text);
                    tracing::warn!(exchange, code, text, held_back, "error message from the venue");
                }
            }
            Remark::Malformed(malformed) => {
                self.count_errors("malformed", malformed.count.into());
                if let Some(held_back) = self.malformed.allow(Instant::now()) {
                    let (exchange, at, what) = (&self.exchange, malformed.at, &malformed.what);
                    let (frame, elements) = (snippet(frame), malformed.count);
                    tracing::error!(
                        exchange,
                        at,
                        what,
                        elements,
                        frame,
                        held_back,
                        "malformed frame, its events are lost"
                    );
                }
            }
            Remark::Reply(_) | Remark::Closing(_) | Remark::RestartBook(_) | Remark::FollowUp(_) => {}
        }
    }

    pub(super) fn count_error(&self, code: &str) {
        self.count_errors(code, 1);
    }

    fn count_errors(&self, code: &str, count: u64) {
        let labels = [self.exchange.as_str(), ANY, code];
        self.metrics.collector_errors.with_label_values(&labels).inc_by(count);
    }

    /// Adds the counts to the metrics, once per batch.
    pub(super) fn flush(&mut self) {
        for ((_, reason), count) in REASONS.iter().zip(&mut self.ignored) {
            let count = std::mem::take(count);
            if count > 0 {
                self.metrics.ignored.with_label_values(&[self.exchange.as_str(), reason]).inc_by(count);
            }
        }
    }
}

fn snippet(frame: &[u8]) -> String {
    let head = frame.get(..frame.len().min(4 * SNIPPET_CHARS_MAX)).unwrap_or_default();
    String::from_utf8_lossy(head).chars().take(SNIPPET_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use marketprism_adapter_host::contract::Malformed;

    use super::*;

    #[test]
    fn every_unreadable_element_of_a_frame_counts() {
        let metrics = Metrics::new().unwrap();
        let mut log = RemarkLog::new("sim_spot", metrics.clone());
        for count in [1, 977] {
            log.add(&Remark::Malformed(Malformed { at: 0, what: "a number".into(), count }), b"[null]");
        }
        assert_eq!(metrics.collector_errors.with_label_values(&["sim_spot", ANY, "malformed"]).get(), 978);
    }
}
