//! Rows of refused messages.

use super::{CREATED_AT_BYTES, binary};

/// A message that was refused for its content.
#[derive(Debug, Clone, Copy)]
pub struct DeadLetter<'a> {
    /// Stream that held it.
    pub stream: &'a str,
    /// Its sequence there.
    pub stream_seq: u64,
    /// Its subject.
    pub subject: &'a str,
    /// Its Content-Type, empty when it had none.
    pub content_type: &'a str,
    /// Its Nats-Msg-Id, empty when it had none.
    pub message_id: &'a str,
    /// Why it was refused.
    pub reason: &'a str,
    /// Its bytes.
    pub payload: &'a [u8],
}

/// Appends a row of `dead_letters`, `created_at` left zero.
pub fn encode_dead_letter(letter: &DeadLetter<'_>, out: &mut Vec<u8>) {
    binary::text(out, letter.stream);
    binary::uint64(out, letter.stream_seq);
    for text in [letter.subject, letter.content_type, letter.message_id, letter.reason] {
        binary::text(out, text);
    }
    binary::bytes(out, letter.payload);
    out.extend_from_slice(&[0; CREATED_AT_BYTES]);
}
