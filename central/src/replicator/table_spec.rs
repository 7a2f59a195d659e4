//! A table as it is copied.

use marketprism_schema::{DataType, Table};

use crate::limits;
use crate::row::columns_of;

/// A table as it is copied: by named columns, so that their order in a server does not matter.
#[derive(Debug, Clone)]
pub struct TableSpec {
    /// Its name in both databases.
    pub name: &'static str,
    /// Names of the columns, comma-separated.
    pub columns: String,
    /// Names and types of the columns, comma-separated.
    pub definition: String,
    /// An expression: 64-bit hash of the whole row. The values are hashed as one tuple, because a hash over arguments is NULL as soon as
    /// one of them is, and aggregates leave NULLs out.
    pub row_hash: String,
    /// Hash of the columns that `row_hash` is made over.
    pub columns_hash: u64,
    /// Whether it is one of the tables with many rows.
    pub is_high: bool,
    /// Rows that are copied by one insert at most.
    pub slice_rows: u64,
}

impl TableSpec {
    /// Each of the eight tables.
    pub fn all() -> Vec<Self> {
        Table::ALL.iter().map(Self::new).collect()
    }

    fn new(table: &Table) -> Self {
        let columns = columns_of(table.data_type);
        let quoted: Vec<String> = columns.iter().map(|(name, _)| format!("`{name}`")).collect();
        let names = quoted.join(", ");
        let typed: Vec<String> = columns.iter().map(|(name, kind)| format!("`{name}` {kind}")).collect();
        let definition = typed.join(", ");
        Self {
            name: table.name,
            row_hash: format!("cityHash64(tuple({names}))"),
            columns_hash: xxhash_rust::xxh3::xxh3_64(definition.as_bytes()),
            columns: names,
            definition,
            is_high: matches!(table.data_type, DataType::Trade | DataType::OrderBook),
            slice_rows: match table.data_type {
                DataType::OrderBook => limits::SLICE_ROWS_ORDER_BOOKS,
                _ => limits::SLICE_ROWS,
            },
        }
    }
}
