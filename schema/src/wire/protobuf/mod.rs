//! The packed wire form, `marketprism.proto`.

mod decode;
mod encode;
#[allow(
    missing_docs,
    dead_code,
    clippy::doc_markdown,
    reason = "generated from marketprism.proto by tests/protobuf.rs"
)]
mod message;

pub use decode::decode_protobuf;
pub use encode::encode_protobuf;
