use marketprism_schema::{DataType, Table};

use crate::limits;
use crate::row::columns_of;

/// A replicated table. Columns are named, so their order on a server does not matter.
#[derive(Debug, Clone)]
pub struct TableSpec {
    pub name: &'static str,
    pub columns: String,
    pub definition: String,
    /// SQL expression: 64-bit hash of the whole row. The values are hashed as one tuple, because a hash of several arguments
    /// is NULL if one of them is, and aggregates skip NULLs.
    pub row_hash: String,
    /// Hash of the columns that `row_hash` covers.
    pub columns_hash: u64,
    /// One of the tables with many rows.
    pub is_high: bool,
    /// Limit of rows per insert.
    pub slice_rows: u64,
}

impl TableSpec {
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
