//! Rows of `corrections`, one for each data type.

use marketprism_schema::Correction;

use crate::row::{Column, TEXT, TableRows};

/// In the order in which rows are written.
pub const CORRECTIONS: &[Column] = &[
    ("correction", "UInt128"),
    ("data_type", TEXT),
    ("exchange", TEXT),
    ("edge", TEXT),
    ("region", TEXT),
    ("from_at", "DateTime64(9, 'UTC')"),
    ("to_at", "DateTime64(9, 'UTC')"),
    ("frames", "UInt64"),
    ("old_adapter", "String"),
    ("old_digest", "String"),
    ("new_adapter", "String"),
    ("new_digest", "String"),
    ("old_count", "UInt64"),
    ("old_xor", "UInt64"),
    ("old_sum", "UInt64"),
    ("new_count", "UInt64"),
    ("new_xor", "UInt64"),
    ("new_sum", "UInt64"),
    ("changed", "UInt64"),
    ("added", "UInt64"),
    ("withdrawn", "UInt64"),
    ("stream_seq", "UInt64"),
    ("created_at", "DateTime64(3, 'UTC')"),
];

/// `created_at` is the broker's time, so that a redelivery gives the same bytes.
pub fn encode_correction_rows(
    correction: &Correction,
    stream_seq: u64,
    published_ns: i64,
    rows: &mut TableRows,
) {
    let Correction { edge, region, id, exchange, from, to, frames, old, new, types, .. } = correction;
    for one in types {
        rows.push(|row| {
            row.uint128(id.0);
            for text in [one.data_type.as_str(), exchange, edge, region] {
                row.text(text);
            }
            row.int64(*from);
            row.int64(*to);
            row.uint64(*frames);
            for text in [&old.id, &old.digest, &new.id, &new.digest] {
                row.text(text);
            }
            for digest in [one.old, one.new] {
                for number in [digest.count, digest.xor, digest.sum] {
                    row.uint64(number);
                }
            }
            for number in [one.changed, one.added, one.withdrawn, stream_seq] {
                row.uint64(number);
            }
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
        assert_eq!(owned(CORRECTIONS), defined("corrections"));
    }
}
