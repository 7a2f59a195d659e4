//! Confirmed sequences: up to which message of a stream everything is in hot. Central writes them into a KV bucket, edges read them there.

use serde::{Deserialize, Serialize};

/// Name of the bucket; its keys are names of streams.
pub const CONFIRMED_BUCKET: &str = "MARKETPRISM_CONFIRMED";

/// Value of a stream's key. It decreases only when hot was put back to an earlier state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watermark {
    /// Name of the stream.
    pub stream: String,
    /// Every message up to this sequence is stored (as event, duplicate or dead letter) or recorded in `losses`.
    pub confirmed_seq: u64,
    /// Creation time of the stream, nanoseconds since 1970. Another value means other messages under the same sequences.
    pub stream_created_ns: i64,
    /// Written at, nanoseconds since 1970.
    pub at: i64,
}

/// Subject of a request for a stream's key, answered with the newest value.
pub fn confirmed_request_subject(stream: &str) -> String {
    format!("$JS.API.DIRECT.GET.KV_{CONFIRMED_BUCKET}.$KV.{CONFIRMED_BUCKET}.{stream}")
}

/// Subject of a request for a stream's creation time and last sequence.
pub fn stream_info_subject(stream: &str) -> String {
    format!("$JS.API.STREAM.INFO.{stream}")
}
