//! A fault, as the JSON body of `POST /sim/fault` and in Rust, and corrupted frames.

use serde::ser::Error as _;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

pub type FaultId = u64;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultAction {
    #[default]
    Drop,
    Duplicate,
    /// A frame is sent after the next one of its stream (or after `delay_ms`, default 1000).
    Reorder,
    /// Book updates are skipped, so that the venue's sequence breaks.
    Gap,
    /// No data frame is sent while the socket stays open and answers pings; until removed or for `duration_ms`.
    Freeze,
    /// Bytes that are no JSON: before the frame, or instead of it with `replace`; a binary frame with `binary`.
    Garbage,
    /// The frame's JSON is cut in the middle; the whole frame follows when `replace` is false.
    Half,
    /// Each number, in quotes or not, becomes a list of one; the right frame follows when `replace` is false.
    WrongTypes,
    /// Checksums of book updates are wrong, where the venue sends them; the right frame follows when `replace` is false.
    Checksum,
    SlowSnapshot,
    /// Snapshots show the book of `updates` changes ago.
    StaleSnapshot,
    /// REST requests are answered with `status` (429, 418, 500...) and `retry_after_s`, or with the venue's own error `code`.
    RestStatus,
    /// REST requests are never answered; the connection ends after `delay_ms` (default 60,000).
    RestTimeout,
    /// Connections are closed with `code` and `reason`: at once, or with the frame after `after` frames.
    Close,
    /// Connections are reset without a close frame: at once, or with the frame after `after` frames.
    Cut,
    /// As `cut`, in the middle of a WebSocket frame.
    HalfCut,
    /// The venue's notice that a connection will end, then its end after `delay_ms` (default 60,000). Without effect on venues without
    /// such a notice.
    Notice,
    /// Update numbers of books start again from a smaller one, where the venue allows that.
    RestartSequence,
    /// New connections and requests of the exchange are reset before any answer, for `duration_ms`.
    Refuse,
    /// The listener itself is down for `duration_ms`: connects are refused, control requests too.
    ListenerDown,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultSpec {
    pub action: FaultAction,
    pub exchange: Option<String>,
    pub symbol: Option<String>,
    /// Substring of the stream's name.
    pub stream: Option<String>,
    /// Substring of the REST path. With it, `garbage`, `half` and `wrong_types` corrupt REST answers instead of frames.
    pub path: Option<String>,
    pub connection: Option<u64>,
    /// Matching frames or requests that pass first.
    pub after: Option<u64>,
    /// Default 1; unlimited for `freeze`, `refuse`, `listener_down`, with `duration_ms`, and for an immediate `close`, `cut` or `notice`
    /// (all matching connections).
    pub count: Option<u64>,
    /// Duration from now, ms.
    pub duration_ms: Option<u64>,
    pub delay_ms: Option<u64>,
    pub status: Option<u16>,
    pub retry_after_s: Option<u64>,
    pub code: Option<u16>,
    pub reason: Option<String>,
    /// The corrupted frame replaces the right one.
    pub replace: Option<bool>,
    pub binary: Option<bool>,
    /// Age of a stale snapshot in changes, default 100.
    pub updates: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FaultError {
    #[error("field {field}: {got}, allowed: {allowed}")]
    Field { field: &'static str, got: String, allowed: &'static str },
    #[error("field exchange: {0} is not simulated")]
    UnknownExchange(String),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FaultStatus {
    pub id: FaultId,
    pub fired: u64,
    pub active: bool,
    #[serde(serialize_with = "without_nulls")]
    pub spec: FaultSpec,
}

fn without_nulls<S: Serializer>(spec: &FaultSpec, serializer: S) -> Result<S::Ok, S::Error> {
    let mut value = serde_json::to_value(spec).map_err(S::Error::custom)?;
    if let Some(fields) = value.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
    value.serialize(serializer)
}

macro_rules! setters {
    ($($name:ident: $type:ty,)*) => {
        impl FaultSpec {
            $(pub fn $name(mut self, value: $type) -> FaultSpec {
                self.$name = Some(value.into());
                self
            })*
        }
    };
}

setters! {
    exchange: &str,
    symbol: &str,
    stream: &str,
    path: &str,
    connection: u64,
    after: u64,
    count: u64,
    duration_ms: u64,
    delay_ms: u64,
    status: u16,
    retry_after_s: u64,
    code: u16,
    reason: &str,
    replace: bool,
    binary: bool,
    updates: u64,
}

impl FaultSpec {
    pub fn new(action: FaultAction) -> FaultSpec {
        FaultSpec { action, ..FaultSpec::default() }
    }

    pub fn validate(&self) -> Result<(), FaultError> {
        let field = |field, got: String, allowed| Err(FaultError::Field { field, got, allowed });
        match self.action {
            FaultAction::RestStatus
                if self.code.is_none() && !self.status.is_some_and(|s| (400..600).contains(&s)) =>
            {
                field("status", self.status.map_or("absent".into(), |s| s.to_string()), "400 to 599")
            }
            FaultAction::SlowSnapshot if self.delay_ms.is_none() => {
                field("delay_ms", "absent".into(), "milliseconds")
            }
            FaultAction::Refuse | FaultAction::ListenerDown if self.duration_ms.is_none() => {
                field("duration_ms", "absent".into(), "milliseconds")
            }
            FaultAction::Close if self.code.is_some_and(|c| !(1000..5000).contains(&c)) => {
                field("code", self.code.map_or(String::new(), |c| c.to_string()), "1000 to 4999")
            }
            _ => Ok(()),
        }
    }

    pub fn times(&self) -> u64 {
        let lasting =
            matches!(self.action, FaultAction::Freeze | FaultAction::Refuse | FaultAction::ListenerDown);
        match self.count {
            Some(count) => count,
            None if lasting || self.duration_ms.is_some() || self.is_immediate() => u64::MAX,
            None => 1,
        }
    }

    pub fn is_immediate(&self) -> bool {
        match self.action {
            FaultAction::Close | FaultAction::Cut | FaultAction::HalfCut => self.after.is_none(),
            FaultAction::Notice | FaultAction::RestartSequence | FaultAction::ListenerDown => true,
            _ => false,
        }
    }
}

pub fn corrupted(action: FaultAction, text: &str) -> String {
    match action {
        FaultAction::Half => half(text).to_owned(),
        FaultAction::WrongTypes => wrong_types(text),
        FaultAction::Checksum => wrong_checksum(text),
        _ => "\u{1}\u{fffd}no frame of this venue <html>502 Bad Gateway</html>}{".to_owned(),
    }
}

const CHECKSUM: &str = "\"checksum\":";

pub fn garbage_binary() -> &'static [u8] {
    &[0xff, 0xfe, 0x00, 0x80, 0xc3, 0x28, 0x7b, 0x22]
}

fn half(text: &str) -> &str {
    let mut end = text.len() / 2;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or("")
}

/// The frame with a list of one in place of each number, still JSON. Adapters read numbers in quotes and without.
fn wrong_types(text: &str) -> String {
    match serde_json::from_str::<Value>(text) {
        Ok(mut value) => {
            enclose_numbers(&mut value);
            value.to_string()
        }
        Err(_) => half(text).to_owned(),
    }
}

fn wrong_checksum(text: &str) -> String {
    let mut parts = text.split(CHECKSUM);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        let (number, rest) = part.split_at(digits);
        out.push_str(CHECKSUM);
        out.push_str(&number.parse::<u32>().map_or(number.to_owned(), |right| (right ^ 1).to_string()));
        out.push_str(rest);
    }
    out
}

fn enclose_numbers(value: &mut Value) {
    let replaced = match value {
        Value::Object(fields) => {
            fields.values_mut().for_each(enclose_numbers);
            return;
        }
        Value::Array(items) => {
            items.iter_mut().for_each(enclose_numbers);
            return;
        }
        Value::Number(_) => Value::Array(vec![value.take()]),
        Value::String(text) if text.parse::<f64>().is_ok() => Value::Array(vec![value.take()]),
        Value::String(_) | Value::Bool(_) | Value::Null => return,
    };
    *value = replaced;
}
