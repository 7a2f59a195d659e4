//! The wire forms of events: a JSON object of one event, or a packed message of one or more. A Content-Type header or the first byte gives the form.

mod decode;
mod edge_written;
mod encode;
mod form;
mod protobuf;

pub use decode::DecodeError;
pub use edge_written::decode_json;
pub use encode::encode_json;
pub use form::WireForm;
pub use protobuf::{PackedEvents, PayloadEvents, decode_protobuf, encode_protobuf, split_packed_header};
