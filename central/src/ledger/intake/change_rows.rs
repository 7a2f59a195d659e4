//! Rows of `edge_changes`.

use marketprism_schema::EdgeChanges;

use crate::row::{Column, TEXT, TableRows};

/// In the order in which rows are written.
pub const EDGE_CHANGES: &[Column] = &[
    ("edge", TEXT),
    ("region", TEXT),
    ("changed_at", "DateTime64(9, 'UTC')"),
    ("change_id", "String"),
    ("kind", TEXT),
    ("subject", "String"),
    ("why", "String"),
    ("before", "String"),
    ("after", "String"),
    ("outcome", TEXT),
    ("cause", "String"),
    ("digest", "String"),
    ("stream_seq", "UInt64"),
    ("created_at", "DateTime64(3, 'UTC')"),
];

/// `created_at` is the broker's time, so that a redelivery gives the same bytes, and replaces no later report of the change.
pub fn encode_change_rows(changes: &EdgeChanges, stream_seq: u64, published_ns: i64, rows: &mut TableRows) {
    for change in &changes.changed {
        rows.push(|row| {
            row.text(&changes.edge);
            row.text(&changes.region);
            row.int64(change.at);
            let (cause, digest) = (change.cause.as_deref(), change.digest.as_deref());
            for text in [
                &change.id,
                change.kind.as_str(),
                &change.subject,
                &change.why,
                &change.from,
                &change.to,
                change.outcome.as_str(),
                cause.unwrap_or_default(),
                digest.unwrap_or_default(),
            ] {
                row.text(text);
            }
            row.uint64(stream_seq);
            row.int64(published_ns / 1_000_000);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::defined::{defined, owned};

    #[test]
    fn columns_are_those_of_the_table_definition() {
        assert_eq!(owned(EDGE_CHANGES), defined("edge_changes"));
    }
}
