//! Evidence that explains missing rows: dead letters of the stream, and messages discarded before ingest.

use std::collections::{BTreeSet, HashMap};

use marketprism_schema::{StreamId, stream_of};

use super::queries::{self, DeadLetterRow, LossRow};
use crate::ledger::windows::WindowRange;
use crate::storage::{Storage, StorageError};

/// Longest delay of a dead letter or loss after its window: messages may have waited for ClickHouse or the broker.
const LATEST_NS: i64 = 3_600_000_000_000;
/// Characters of a reason that are quoted.
const QUOTE: usize = 160;

#[derive(Debug, Default)]
pub struct Evidence {
    letters: HashMap<String, Vec<DeadLetterRow>>,
    losses: Vec<LossRow>,
}

impl Evidence {
    pub async fn read(
        storage: &Storage,
        range: WindowRange,
        streams: &BTreeSet<&StreamId>,
    ) -> Result<Self, StorageError> {
        let range = WindowRange { to: range.to.saturating_add(LATEST_NS), ..range };
        let mut letters: HashMap<String, Vec<DeadLetterRow>> = HashMap::new();
        for letter in queries::dead_letters(storage, range, streams.iter().copied()).await? {
            letters.entry(letter.subject.clone()).or_default().push(letter);
        }
        Ok(Self { letters, losses: queries::losses(storage, range).await? })
    }

    /// Explanations and causes of missing rows; `event` is the missing one where it is a single one.
    pub fn explain(
        &self,
        stream: &StreamId,
        window: WindowRange,
        event: Option<u128>,
    ) -> (Vec<String>, Vec<String>) {
        let (mut explanations, mut causes) = (Vec::new(), Vec::new());
        let belongs =
            |at_ms: i64| (window.from..window.to + LATEST_NS).contains(&at_ms.saturating_mul(1_000_000));
        let letters = self.letters.get(&stream.to_string()).map(Vec::as_slice).unwrap_or_default();
        let of_window: Vec<&DeadLetterRow> = letters.iter().filter(|letter| belongs(letter.at_ms)).collect();
        let message_id = event.map(|id| format!("{id:032x}"));
        if let Some(letter) = of_window.iter().find(|letter| Some(&letter.message_id) == message_id.as_ref())
        {
            explanations.push(format!("the event is in dead_letters: {}", shorten(&letter.reason)));
            causes.push("ours".to_owned());
        } else if let Some(letter) = of_window.first() {
            let (count, reason) = (of_window.len(), shorten(&letter.reason));
            explanations
                .push(format!("{count} messages of this stream in dead_letters since then: {reason}"));
        }
        let stream = stream_of(stream.data_type);
        for loss in self.losses.iter().filter(|loss| loss.stream == stream && belongs(loss.at_ms)).take(3) {
            let LossRow { messages, from_seq, to_seq, cause, .. } = loss;
            explanations.push(format!(
                "{messages} messages of {stream} ({from_seq} to {to_seq}) were discarded before ingest: {cause}"
            ));
            causes.push(cause.clone());
        }
        (explanations, causes)
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(QUOTE).collect()
}
