//! Asking an edge to send a stretch of a stream again: a request of core NATS on `repair.{edge}`, and its answer.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::names::names;
use crate::texts;
use crate::{EventId, StreamId, StreamIdError};

/// Version of both forms.
pub const REPAIR_VERSION: u32 = 1;
/// Most bytes of either. Longer: refused.
pub const REPAIR_BYTES_MAX: usize = 16 * 1024;

/// Events that an edge shall publish again under their old ids.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RepairRequest {
    /// See [`REPAIR_VERSION`].
    pub version: u32,
    /// Names the request, so that a repeated one is known.
    pub request_id: String,
    /// Stream whose events are missing.
    #[serde(flatten)]
    pub stream: StreamId,
    /// First receive time, nanoseconds since 1970 UTC.
    pub from: i64,
    /// Last receive time, exclusive.
    pub to: i64,
    /// Only these events; empty: all.
    #[serde(default, with = "texts", skip_serializing_if = "Vec::is_empty")]
    pub event_ids: Vec<EventId>,
    /// Only events with the venue's sequence from the first to the second, inclusive: trade ids, update ids of books.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequences: Option<[i64; 2]>,
}

/// Result of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepairAnswer {
    /// See [`REPAIR_VERSION`].
    pub version: u32,
    /// Of the request; empty when that could not be read.
    pub request_id: String,
    /// Result.
    pub state: RepairState,
    /// Events that are sent again.
    #[serde(default)]
    pub resent: u64,
    /// Receive time from which on the edge has everything, nanoseconds since 1970 UTC.
    #[serde(default)]
    pub kept_from: Option<i64>,
    /// Why not all of them.
    #[serde(default)]
    pub reason: String,
}

names! {
    /// Result of a request to publish again.
    RepairState, "state", unknown = Partly, {
        /// Everything asked for is sent again.
        Resent = "resent",
        /// A part of it; the rest is not kept any more.
        Partly = "partly",
        /// Nothing of it is kept.
        NotKept = "not_kept",
        /// The request cannot be carried out in this form.
        Refused = "refused",
    }
}

/// Why bytes are no request or answer.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// Too long to be one.
    #[error("repair: {found} bytes, at most {REPAIR_BYTES_MAX} are allowed")]
    TooLong {
        /// Its length.
        found: usize,
    },
    /// Not the JSON form.
    #[error("repair: {0}")]
    Json(#[from] serde_json::Error),
    /// A form that this version does not read.
    #[error("repair: version {found}, {REPAIR_VERSION} is what is read")]
    Version {
        /// The version that it names.
        found: u32,
    },
    /// No stream of this system.
    #[error("repair: {0}")]
    Stream(#[from] StreamIdError),
    /// No sequence is in it.
    #[error("repair: sequences {first} to {last}, the second must not be lower")]
    Sequences {
        /// First sequence.
        first: i64,
        /// Last sequence.
        last: i64,
    },
    /// No time is in it.
    #[error("repair: from {from} to {to}, to must be later")]
    Interval {
        /// First time.
        from: i64,
        /// Last time.
        to: i64,
    },
}

/// Subject on which an edge takes requests.
pub fn repair_subject(edge: &str) -> String {
    format!("repair.{edge}")
}

impl RepairRequest {
    /// A request for the events of a stream that were received from `from` up to `to`.
    pub fn new(request_id: String, stream: &StreamId, from: i64, to: i64) -> Self {
        let (version, stream) = (REPAIR_VERSION, stream.clone());
        Self { version, request_id, stream, from, to, event_ids: Vec::new(), sequences: None }
    }

    /// Reads a request.
    pub fn decode(bytes: &[u8]) -> Result<Self, RepairError> {
        let request: Self = read(bytes)?;
        check_version(request.version)?;
        request.stream.check()?;
        let (from, to) = (request.from, request.to);
        match request.sequences {
            _ if from >= to => Err(RepairError::Interval { from, to }),
            Some([first, last]) if first > last => Err(RepairError::Sequences { first, last }),
            _ => Ok(request),
        }
    }

    /// The request as bytes.
    pub fn encode(&self) -> Result<Vec<u8>, RepairError> {
        Ok(serde_json::to_vec(self)?)
    }
}

impl RepairAnswer {
    /// Reads an answer.
    pub fn decode(bytes: &[u8]) -> Result<Self, RepairError> {
        let answer: Self = read(bytes)?;
        check_version(answer.version)?;
        Ok(answer)
    }

    /// The answer as bytes.
    pub fn encode(&self) -> Result<Vec<u8>, RepairError> {
        Ok(serde_json::to_vec(self)?)
    }
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, RepairError> {
    if bytes.len() > REPAIR_BYTES_MAX {
        return Err(RepairError::TooLong { found: bytes.len() });
    }
    Ok(serde_json::from_slice(bytes)?)
}

const fn check_version(found: u32) -> Result<(), RepairError> {
    if found == REPAIR_VERSION { Ok(()) } else { Err(RepairError::Version { found }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DataType, MarketType};

    #[test]
    fn requests_and_answers_round_trip() {
        let stream = StreamId::new(DataType::Trade, "sim_spot", MarketType::Spot, "A-B").unwrap();
        let request = RepairRequest::new("r1".into(), &stream, 1, 2);
        assert_eq!(RepairRequest::decode(&request.encode().unwrap()).unwrap(), request);
        let refused = |request: RepairRequest| {
            RepairRequest::decode(&request.encode().unwrap()).unwrap_err().to_string()
        };
        assert!(refused(RepairRequest { to: 1, ..request.clone() }).contains("from 1 to 1"));
        assert!(refused(RepairRequest { sequences: Some([2, 1]), ..request.clone() }).contains("2 to 1"));
        let chosen =
            RepairRequest { event_ids: vec![EventId(7)], sequences: Some([1, 1]), ..request.clone() };
        assert_eq!(RepairRequest::decode(&chosen.encode().unwrap()).unwrap(), chosen);
        assert!(refused(RepairRequest { version: 2, ..request.clone() }).contains("version 2"));
        let dotted = StreamId { symbol: "A.B".into(), ..stream };
        assert!(refused(RepairRequest { stream: dotted, ..request.clone() }).contains("A.B"));
        let unknown = String::from_utf8(request.encode().unwrap()).unwrap().replace("\"trade\"", "\"x\"");
        assert!(
            RepairRequest::decode(unknown.as_bytes())
                .unwrap_err()
                .to_string()
                .contains("data_type: \"x\" is not one of")
        );
        let answer = RepairAnswer {
            version: REPAIR_VERSION,
            request_id: "r1".into(),
            state: RepairState::NotKept,
            resent: 0,
            kept_from: Some(5),
            reason: "why".into(),
        };
        let bytes = answer.encode().unwrap();
        assert!(String::from_utf8_lossy(&bytes).contains("\"state\":\"not_kept\""));
        assert_eq!(RepairAnswer::decode(&bytes).unwrap(), answer);
    }
}
