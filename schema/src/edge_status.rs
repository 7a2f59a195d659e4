//! Status of an edge on request: central publishes to one subject, and every edge answers.

use serde::{Deserialize, Serialize};

/// Subject of the requests, which have no content.
pub const EDGE_STATUS_SUBJECT: &str = "edge_status";
/// Version of the answer.
pub const EDGE_STATUS_VERSION: u32 = 1;
/// Most bytes of an answer. Longer: refused.
pub const EDGE_STATUS_BYTES_MAX: usize = 64 * 1024;

/// State of an edge as its `/health` shows it, and room on the disk of its data folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EdgeStatus {
    /// See [`EDGE_STATUS_VERSION`].
    pub version: u32,
    /// Name of the edge.
    pub edge: String,
    /// As it stamps on its events.
    pub region: String,
    /// As `--version` prints it.
    pub program_version: String,
    /// Time since its start.
    pub uptime_seconds: u64,
    /// `healthy`, `degraded` or `unhealthy`.
    pub status: String,
    /// Reasons, at most as many as the answer has room for.
    pub reasons: Vec<String>,
    /// Folder of its data.
    pub data_dir: String,
    /// Room on the disk of that folder; `None` if it cannot be read.
    pub disk: Option<EdgeDisk>,
}

/// Room on a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EdgeDisk {
    /// Bytes that the edge may still write.
    pub free_bytes: u64,
    /// Its size.
    pub total_bytes: u64,
}

/// Bytes are no answer of an edge.
#[derive(Debug, thiserror::Error)]
pub enum EdgeStatusError {
    /// Too long to be one.
    #[error("edge status: {found} bytes, at most {EDGE_STATUS_BYTES_MAX} are allowed")]
    TooLong {
        /// Its length.
        found: usize,
    },
    /// Not the JSON form.
    #[error("edge status: {0}")]
    Json(#[from] serde_json::Error),
    /// A form that this version does not read.
    #[error("edge status: version {found}, {EDGE_STATUS_VERSION} is what is read")]
    Version {
        /// The version that it names.
        found: u32,
    },
}

impl EdgeStatus {
    /// Reads an answer.
    pub fn decode(bytes: &[u8]) -> Result<Self, EdgeStatusError> {
        if bytes.len() > EDGE_STATUS_BYTES_MAX {
            return Err(EdgeStatusError::TooLong { found: bytes.len() });
        }
        let status: Self = serde_json::from_slice(bytes)?;
        let found = status.version;
        if found == EDGE_STATUS_VERSION { Ok(status) } else { Err(EdgeStatusError::Version { found }) }
    }

    /// The answer as bytes, with as many reasons as there is room for.
    pub fn encode(mut self) -> Result<Vec<u8>, EdgeStatusError> {
        loop {
            let bytes = serde_json::to_vec(&self)?;
            if bytes.len() <= EDGE_STATUS_BYTES_MAX || self.reasons.is_empty() {
                return Ok(bytes);
            }
            self.reasons.truncate(self.reasons.len() / 2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_round_trips_and_loses_reasons_rather_than_its_reader() {
        let status = EdgeStatus {
            version: EDGE_STATUS_VERSION,
            edge: "e".into(),
            region: "r".into(),
            program_version: "1".into(),
            uptime_seconds: 2,
            status: "unhealthy".into(),
            reasons: vec!["nats is not connected".into(); 9],
            data_dir: "/d".into(),
            disk: Some(EdgeDisk { free_bytes: 1, total_bytes: 2 }),
        };
        assert_eq!(EdgeStatus::decode(&status.clone().encode().unwrap()).unwrap(), status);
        let endless = EdgeStatus { reasons: vec!["x".repeat(1_000); 1_000], ..status.clone() };
        let read = EdgeStatus::decode(&endless.encode().unwrap()).unwrap();
        assert!((1..1_000).contains(&read.reasons.len()));
        let newer = EdgeStatus { version: 2, ..status };
        let error = EdgeStatus::decode(&newer.encode().unwrap()).unwrap_err().to_string();
        assert!(error.contains("version 2, 1 is"), "{error}");
        assert!(EdgeStatus::decode(&vec![b' '; EDGE_STATUS_BYTES_MAX + 1]).is_err());
    }
}
