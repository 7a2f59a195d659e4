//! Where a row goes.

use marketprism_schema::{DEAD_LETTERS, DataType, Table};

use super::columns::{self, DEAD_LETTER};

/// A hot table that rows are inserted into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// The table of a data type.
    Events(DataType),
    /// The table of refused messages.
    DeadLetters,
}

impl Target {
    /// Name of the table.
    pub fn table(self) -> &'static str {
        match self {
            Self::Events(data_type) => Table::of(data_type).name,
            Self::DeadLetters => DEAD_LETTERS,
        }
    }

    /// Names and types, as they stand in front of the rows.
    pub fn header(self) -> Vec<u8> {
        match self {
            Self::Events(data_type) => columns::header(&columns::columns_of(data_type)),
            Self::DeadLetters => columns::header(DEAD_LETTER),
        }
    }
}
