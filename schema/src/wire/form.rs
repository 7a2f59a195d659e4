//! Wire forms of a message, and how they are recognized.

use super::decode::DecodeError;
use super::edge_written::decode_json;
use super::encode::encode_json;
use super::protobuf::{PackedEvents, PayloadEvents, decode_protobuf, encode_protobuf};
use crate::{DataTypeMap, Event};

/// A wire form, named by the Content-Type header. For a message without the header the first byte decides, so that packed messages go
/// without: the header would be an eighth of a small one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WireForm {
    /// One JSON object.
    #[default]
    Json,
    /// Packed, `marketprism.proto`: one or more events of a subject.
    Protobuf,
}

impl WireForm {
    /// Every form.
    pub const ALL: [Self; 2] = [Self::Json, Self::Protobuf];

    /// The form of each data type unless another one is configured: JSON is for readers that ask for it.
    pub fn defaults() -> DataTypeMap<Self> {
        DataTypeMap::from_fn(|_| Self::Protobuf)
    }

    /// The value of a Content-Type header.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Protobuf => "application/x-protobuf",
        }
    }

    /// The Content-Type header that an edge gives its messages.
    pub const fn header(self) -> Option<&'static str> {
        match self {
            Self::Json => Some(self.content_type()),
            Self::Protobuf => None,
        }
    }

    /// The form of a message; parameters behind a semicolon of its Content-Type are not looked at. None for an unknown form.
    pub fn of_message(content_type: &str, payload: &[u8]) -> Option<Self> {
        let value = match content_type {
            "" => "",
            with_parameters => with_parameters.split(';').next().unwrap_or_default().trim(),
        };
        if value.is_empty() {
            return Some(if payload.starts_with(b"{") { Self::Json } else { Self::Protobuf });
        }
        Self::ALL.into_iter().find(|form| form.content_type().eq_ignore_ascii_case(value))
    }

    /// Appends an event in this form.
    pub fn encode(self, event: &Event<'_>, out: &mut Vec<u8>) {
        match self {
            Self::Json => encode_json(event, out),
            Self::Protobuf => encode_protobuf(event, out),
        }
    }

    /// Splits a payload in this form into its events.
    ///
    /// # Errors
    /// It is no payload in this form.
    pub fn split(self, payload: &[u8]) -> Result<PayloadEvents<'_>, DecodeError> {
        match self {
            Self::Json => Ok(PayloadEvents::Json(payload)),
            Self::Protobuf => PackedEvents::split(payload).map(PayloadEvents::Packed),
        }
    }

    /// Reads all events of a payload in this form.
    ///
    /// # Errors
    /// One of them cannot be read.
    pub fn decode_all(self, payload: &[u8]) -> Result<Vec<Event<'_>>, DecodeError> {
        let events = self.split(payload)?;
        (0..events.len()).map(|place| events.event(place)).collect()
    }

    /// Reads the one event of a payload in this form.
    pub fn decode(self, payload: &[u8]) -> Result<Event<'_>, DecodeError> {
        match self {
            Self::Json => decode_json(payload),
            Self::Protobuf => decode_protobuf(payload),
        }
    }
}
