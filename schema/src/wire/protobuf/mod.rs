//! The packed wire form, `marketprism.proto`.

mod decode;
mod encode;
mod message;

pub use decode::decode_protobuf;
pub use encode::encode_protobuf;
