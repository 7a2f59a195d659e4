//! The wire form of events: one JSON object a message.

mod decode;
mod encode;

pub use decode::{DecodeError, decode_json};
pub use encode::encode_json;

/// Content type of the JSON form. The header names the form, so that another can stand beside it.
pub const CONTENT_TYPE_JSON: &str = "application/json";
