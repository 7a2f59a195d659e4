//! What JetStream answers to a published message.

use std::borrow::Cow;

use serde::Deserialize;

/// JetStream's error code for a message above the stream's `max_msg_size`.
const MESSAGE_TOO_LARGE: u32 = 10_054;
/// Status of a message that no subscriber, so no stream, was there for.
const NO_RESPONDERS: u16 = 503;

/// What JetStream answered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum PublishReply<'a> {
    /// It is in the stream; `duplicate`: it was there before.
    Stored { duplicate: bool },
    /// No stream has the subject.
    NoStream,
    /// It was refused, and may be taken later.
    Refused { text: Cow<'a, str> },
    /// It was refused for what it is: trying again is of no use.
    Rejected { text: Cow<'a, str> },
}

#[derive(Deserialize)]
struct Raw<'a> {
    #[serde(default)]
    duplicate: bool,
    #[serde(borrow, default)]
    stream: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    error: Option<RawError<'a>>,
}

#[derive(Deserialize)]
struct RawError<'a> {
    #[serde(default)]
    err_code: u32,
    #[serde(borrow, default)]
    description: Cow<'a, str>,
}

impl<'a> PublishReply<'a> {
    /// Reads an answer. One that cannot be read counts as a refusal, so that the message is published again.
    pub(crate) fn parse(payload: &'a [u8], status: Option<u16>) -> Self {
        if status == Some(NO_RESPONDERS) {
            return Self::NoStream;
        }
        match serde_json::from_slice::<Raw<'a>>(payload) {
            Ok(Raw { error: Some(error), .. }) if error.err_code == MESSAGE_TOO_LARGE => {
                Self::Rejected { text: error.description }
            }
            Ok(Raw { error: Some(error), .. }) => Self::Refused { text: error.description },
            Ok(Raw { stream: Some(_), duplicate, error: None }) => Self::Stored { duplicate },
            Ok(Raw { stream: None, error: None, .. }) => {
                Self::Refused { text: Cow::Borrowed("an answer without a stream") }
            }
            Err(error) => Self::Refused { text: Cow::Owned(format!("an unreadable answer: {error}")) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: only an answer that names the stream counts as stored; everything else is published again or counted as lost.
    #[test]
    fn answers_are_told_apart() {
        let stored = br#"{"stream":"MARKET_DATA","seq":7}"#;
        assert_eq!(PublishReply::parse(stored, None), PublishReply::Stored { duplicate: false });
        let copy = br#"{"stream":"MARKET_DATA","domain":"x","seq":7,"duplicate":true}"#;
        assert_eq!(PublishReply::parse(copy, None), PublishReply::Stored { duplicate: true });
        assert_eq!(PublishReply::parse(b"", Some(503)), PublishReply::NoStream);
        let full = br#"{"error":{"code":503,"err_code":10077,"description":"maximum messages exceeded"},"stream":"S","seq":0}"#;
        assert_eq!(
            PublishReply::parse(full, None),
            PublishReply::Refused { text: "maximum messages exceeded".into() }
        );
        let large = br#"{"error":{"code":400,"err_code":10054,"description":"message size exceeds maximum allowed"},"seq":0}"#;
        let text = "message size exceeds maximum allowed".into();
        assert_eq!(PublishReply::parse(large, None), PublishReply::Rejected { text });
        for odd in [&b""[..], b"{}", b"+OK", b"{\"seq\":1}"] {
            assert!(matches!(PublishReply::parse(odd, None), PublishReply::Refused { .. }));
        }
    }
}
