//! Kinds of frames, by their events.

use marketprism_adapter_sdk::{BookChange, Normalized, Payload, Remark};

/// The kind of a single frame: that of its first event, else that of its first note.
#[must_use]
pub fn kind(normalized: &Normalized) -> String {
    let name = match (normalized.events.first(), normalized.notes.first()) {
        (Some(event), _) => match &event.payload {
            Payload::Trade(_) => "trade",
            Payload::Book(book) if book.change == BookChange::Snapshot => "book snapshot",
            Payload::Book(_) => "book delta",
            Payload::FundingRate(_) => "funding_rate",
            Payload::OpenInterest(_) => "open_interest",
            Payload::Liquidation(_) => "liquidation",
            Payload::LsrTopPosition(_) => "lsr_top_position",
            Payload::LsrAllAccount(_) => "lsr_all_account",
            Payload::VolatilityIndex(_) => "volatility_index",
        },
        (None, Some(note)) => match &note.remark {
            Remark::Ignored(_) => "ignored",
            Remark::Malformed(_) => "malformed",
            _ => "control",
        },
        (None, None) => "nothing",
    };
    name.to_owned()
}
