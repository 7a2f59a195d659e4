//! The newest audits of earlier runs, which the broker has stored and may lose.

use std::collections::VecDeque;

use crate::audit::UnsentMessage;
use crate::limits::{AUDIT_STORED_BYTES, AUDIT_STORED_MESSAGES};

/// Bounded as the audits of the running edge are; beyond, the oldest leave.
#[derive(Debug, Default)]
pub(super) struct EarlierAudits {
    /// Messages of an audit, as JSON.
    audits: VecDeque<Vec<u8>>,
    bytes: usize,
}

impl EarlierAudits {
    pub(super) fn add(&mut self, audit: &[u8]) {
        self.bytes = self.bytes.saturating_add(audit.len());
        self.audits.push_back(audit.to_vec());
        while self.audits.len() > AUDIT_STORED_MESSAGES || self.bytes > AUDIT_STORED_BYTES {
            let Some(oldest) = self.audits.pop_front() else { break };
            self.bytes = self.bytes.saturating_sub(oldest.len());
        }
    }

    /// Oldest first.
    pub(super) fn into_messages(self) -> Vec<UnsentMessage> {
        self.audits.into_iter().flat_map(|audit| unsent_messages(&audit)).collect()
    }
}

/// Messages of an audit. Another build may have written them in a form that this one cannot read.
pub(super) fn unsent_messages(audit: &[u8]) -> Vec<UnsentMessage> {
    serde_json::from_slice(audit).unwrap_or_else(|error| {
        let bytes = audit.len();
        tracing::error!(%error, bytes, "an audit of an earlier run is not readable and is lost: its window stays unverifiable");
        Vec::new()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_audits_are_kept_within_bounds() {
        let mut earlier = EarlierAudits::default();
        for number in 0..AUDIT_STORED_MESSAGES + 2 {
            let message = UnsentMessage::new(number.to_string(), b"{}".to_vec());
            earlier.add(&serde_json::to_vec(&[message]).unwrap());
        }
        earlier.add(b"torn");
        let ids: Vec<String> = earlier.into_messages().into_iter().map(|message| message.id).collect();
        assert_eq!((ids.len(), ids[0].as_str()), (AUDIT_STORED_MESSAGES - 1, "3"));
        let mut large = EarlierAudits::default();
        large.add(&vec![b'x'; AUDIT_STORED_BYTES + 1]);
        assert_eq!(large.bytes, 0);
    }
}
