use super::{CREATED_AT_BYTES, binary};

/// A message refused for its content.
#[derive(Debug, Clone, Copy)]
pub struct DeadLetter<'a> {
    pub stream: &'a str,
    pub stream_seq: u64,
    pub subject: &'a str,
    /// Empty when absent.
    pub content_type: &'a str,
    /// Empty when absent.
    pub message_id: &'a str,
    pub reason: &'a str,
    pub payload: &'a [u8],
}

/// Appends a row of `dead_letters`, `created_at` zero.
pub fn encode_dead_letter(letter: &DeadLetter<'_>, out: &mut Vec<u8>) {
    binary::text(out, letter.stream);
    binary::uint64(out, letter.stream_seq);
    for text in [letter.subject, letter.content_type, letter.message_id, letter.reason] {
        binary::text(out, text);
    }
    binary::bytes(out, letter.payload);
    out.extend_from_slice(&[0; CREATED_AT_BYTES]);
}
