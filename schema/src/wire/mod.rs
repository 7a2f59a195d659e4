//! The wire forms of events: one JSON object or one packed message. The Content-Type header names the form.

mod decode;
mod edge_written;
mod encode;
mod form;
mod protobuf;

pub use decode::DecodeError;
pub use edge_written::decode_json;
pub use encode::encode_json;
pub use form::WireForm;
pub use protobuf::{decode_protobuf, encode_protobuf};
