//! Recordings: JSON lines of what went over sockets and REST.

use serde_json::Value;
use std::path::Path;

/// Kind of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordKind {
    /// A socket was opened.
    Open,
    /// The venue sent a message.
    In,
    /// A message to the venue.
    Out,
    /// The answer of a REST request.
    Rest,
}

/// One line of a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedMessage {
    /// Nanoseconds since 1970.
    pub at: i64,
    /// Direction and transport.
    pub kind: RecordKind,
    /// Number of the socket.
    pub conn: Option<u32>,
    /// Address of the request or the socket.
    pub url: Option<String>,
    /// The text.
    pub data: String,
}

/// Reads a recording.
pub fn read(path: &Path) -> Result<Vec<RecordedMessage>, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("file {}: {error}", path.display()))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.is_empty());
    lines
        .map(|(index, line)| {
            record(line)
                .ok_or_else(|| format!("file {}, line {}: no recorded message", path.display(), index + 1))
        })
        .collect()
}

/// A venue's recording in `shared/recordings` next to the repository; none where this machine does not have it.
pub fn shared_recording(name: &str) -> Option<Result<Vec<RecordedMessage>, String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/recordings").join(name);
    path.is_file().then(|| read(&path))
}

fn record(line: &str) -> Option<RecordedMessage> {
    let value: Value = serde_json::from_str(line).ok()?;
    let kind = match value.get("kind")?.as_str()? {
        "ws-open" => RecordKind::Open,
        "ws-in" => RecordKind::In,
        "ws-out" => RecordKind::Out,
        "rest" => RecordKind::Rest,
        _ => return None,
    };
    Some(RecordedMessage {
        at: value.get("at")?.as_i64()?,
        kind,
        conn: value.get("conn").and_then(Value::as_u64).and_then(|conn| u32::try_from(conn).ok()),
        url: value.get("url").and_then(Value::as_str).map(str::to_owned),
        data: value.get("data").and_then(Value::as_str).unwrap_or_default().to_owned(),
    })
}
