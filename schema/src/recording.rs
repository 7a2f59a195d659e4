//! Recordings of frames and answers, as JSON lines.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// Kind of a recorded line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RecordingKind {
    /// A websocket was opened: `url` and `conn` are set.
    WsOpen,
    /// A frame came in.
    WsIn,
    /// A frame went out.
    WsOut,
    /// The answer of a REST request: `url` is set.
    Rest,
    /// The adapter that normalized what follows: its id is the data.
    Adapter,
}

/// One line of a recording.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line<'a> {
    /// Nanoseconds since 1970 UTC.
    pub at: i64,
    /// Event that the line records.
    pub kind: RecordingKind,
    /// Number of the socket in this recording.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conn: Option<u32>,
    /// Address of a request, or of a socket that opens.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub url: Option<Cow<'a, str>>,
    /// The text of the frame or the answer.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub data: Option<Cow<'a, str>>,
}

/// A line that is no recording line.
#[derive(Debug, thiserror::Error)]
#[error("not a recording line: {0}")]
pub struct LineError(#[from] serde_json::Error);

impl<'a> Line<'a> {
    /// Reads one line.
    pub fn parse(text: &'a str) -> Result<Self, LineError> {
        Ok(serde_json::from_str(text)?)
    }

    /// Appends the line with its line feed.
    pub fn write(&self, out: &mut Vec<u8>) -> Result<(), LineError> {
        serde_json::to_writer(&mut *out, self)?;
        out.push(b'\n');
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_round_trip() {
        let line = Line {
            at: 1,
            kind: RecordingKind::WsIn,
            conn: Some(2),
            url: None,
            data: Some("{\"a\":1}".into()),
        };
        let mut out = Vec::new();
        line.write(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text, "{\"at\":1,\"kind\":\"ws-in\",\"conn\":2,\"data\":\"{\\\"a\\\":1}\"}\n");
        assert_eq!(Line::parse(&text).unwrap(), line);
    }
}
