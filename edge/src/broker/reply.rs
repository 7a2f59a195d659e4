//! JetStream's reply to a published message.

use std::borrow::Cow;

use serde::Deserialize;

/// JetStream's error code for a message above the stream's `max_msg_size`.
const MESSAGE_TOO_LARGE: u32 = 10_054;
/// Status of a message without a subscriber: no stream has its subject.
const NO_RESPONDERS: u16 = 503;

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum PublishReply<'a> {
    /// The message is in the stream; `duplicate`: it was before.
    Stored {
        duplicate: bool,
    },
    NoStream,
    /// Refused for now; worth a retry.
    Refused {
        text: Cow<'a, str>,
    },
    /// Rejected for its content; a retry is useless.
    Rejected {
        text: Cow<'a, str>,
    },
}

#[derive(Deserialize)]
struct RawReply<'a> {
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
    /// An unreadable reply counts as refused, so that the message is published again.
    pub(crate) fn parse(payload: &'a [u8], status: Option<u16>) -> Self {
        if status == Some(NO_RESPONDERS) {
            return Self::NoStream;
        }
        match serde_json::from_slice::<RawReply<'a>>(payload) {
            Ok(RawReply { error: Some(error), .. }) if error.err_code == MESSAGE_TOO_LARGE => {
                Self::Rejected { text: error.description }
            }
            Ok(RawReply { error: Some(error), .. }) => Self::Refused { text: error.description },
            Ok(RawReply { stream: Some(_), duplicate, error: None }) => Self::Stored { duplicate },
            Ok(RawReply { stream: None, error: None, .. }) => {
                Self::Refused { text: Cow::Borrowed("reply without a stream") }
            }
            Err(error) => Self::Refused { text: Cow::Owned(format!("unreadable reply: {error}")) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_reply_that_names_the_stream_counts_as_stored() {
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
