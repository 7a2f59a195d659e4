//! What explains a mismatch: dead letters of the stream, and messages that were lost before central read them.

use std::collections::{BTreeSet, HashMap};

use marketprism_schema::{DEAD_LETTERS, stream_of};
use serde::Deserialize;

use super::facts::millis;
use crate::ledger::source::Source;
use crate::ledger::windows::Span;
use crate::limits;
use crate::storage::{Storage, StorageError, bounded};

/// A dead letter or a loss belongs to windows at most so much older: what waited for ClickHouse or the broker came late.
const LATEST_NS: i64 = 3_600_000_000_000;
/// Dead letters looked at; more of them are no better explanation.
const LETTERS_MAX: usize = 1_000;
/// Subjects of one query, which stays below the server's limit of a query's size (256 KiB).
const SUBJECTS_A_QUERY: usize = 1_000;
/// Characters of a reason that are quoted.
const QUOTE: usize = 160;

#[derive(Debug, clickhouse::Row, Deserialize)]
struct Letter {
    subject: String,
    message_id: String,
    reason: String,
    at_ms: i64,
}

#[derive(Debug, clickhouse::Row, Deserialize)]
struct Loss {
    stream: String,
    from_seq: u64,
    to_seq: u64,
    messages: u64,
    cause: String,
    at_ms: i64,
}

/// Dead letters and losses since the beginning of a span.
#[derive(Debug, Default)]
pub struct Evidence {
    letters: HashMap<String, Vec<Letter>>,
    losses: Vec<Loss>,
}

impl Evidence {
    /// Reads what there is about some subjects since the beginning of a span.
    pub async fn read(
        storage: &Storage,
        span: Span,
        subjects: &BTreeSet<String>,
    ) -> Result<Self, StorageError> {
        let database = &storage.database;
        let times = |column: &str| {
            let (from, to) = (millis(span.from), millis(span.to.saturating_add(LATEST_NS)));
            format!("{column} >= {from} AND {column} < {to}")
        };
        let mut letters: Vec<Letter> = Vec::new();
        let quoted: Vec<String> = subjects.iter().map(|subject| quote(subject)).collect();
        for some in quoted.chunks(SUBJECTS_A_QUERY) {
            let sql = format!(
                "SELECT subject, message_id, reason, toUnixTimestamp64Milli(created_at) AS at_ms \
                 FROM {database}.{DEAD_LETTERS} FINAL WHERE {} AND subject IN ({}) ORDER BY at_ms LIMIT {LETTERS_MAX}",
                times("created_at"),
                some.join(",")
            );
            let found: Vec<Letter> =
                bounded(limits::COMPARISON_TIMEOUT, storage.client.query_raw(&sql).fetch_all()).await?;
            letters.extend(found);
        }
        let sql = format!(
            "SELECT toString(stream) AS stream, from_seq, to_seq, messages, toString(cause) AS cause, \
             toUnixTimestamp64Milli(seen_at) AS at_ms FROM {database}.losses FINAL WHERE {} ORDER BY at_ms LIMIT \
             {LETTERS_MAX}",
            times("seen_at")
        );
        let losses = bounded(limits::COMPARISON_TIMEOUT, storage.client.query_raw(&sql).fetch_all()).await?;
        let mut evidence = Self { losses, ..Self::default() };
        for letter in letters {
            evidence.letters.entry(letter.subject.clone()).or_default().push(letter);
        }
        Ok(evidence)
    }

    /// What explains missing rows of a window, and the causes that it gives. `event` is the missing one, where it is a single one.
    pub fn explain(&self, source: &Source, window: Span, event: Option<u128>) -> (Vec<String>, Vec<String>) {
        let (mut words, mut causes) = (Vec::new(), Vec::new());
        let belongs =
            |at_ms: i64| (window.from..window.to + LATEST_NS).contains(&at_ms.saturating_mul(1_000_000));
        let letters = self.letters.get(&source.subject()).map(Vec::as_slice).unwrap_or_default();
        let of_window: Vec<&Letter> = letters.iter().filter(|letter| belongs(letter.at_ms)).collect();
        let message_id = event.map(|id| format!("{id:032x}"));
        if let Some(letter) = of_window.iter().find(|letter| Some(&letter.message_id) == message_id.as_ref())
        {
            words.push(format!("it is in dead_letters: {}", shorten(&letter.reason)));
            causes.push("ours".to_owned());
        } else if let Some(letter) = of_window.first() {
            let count = of_window.len();
            words.push(format!("{count} of this stream in dead_letters since: {}", shorten(&letter.reason)));
        }
        let stream = stream_of(source.data_type);
        for loss in self.losses.iter().filter(|loss| loss.stream == stream && belongs(loss.at_ms)).take(3) {
            let Loss { messages, from_seq, to_seq, cause, .. } = loss;
            words.push(format!(
                "{messages} messages of {stream} ({from_seq} to {to_seq}) were gone before central took them: {cause}"
            ));
            causes.push(cause.clone());
        }
        (words, causes)
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(QUOTE).collect()
}

fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}
