//! Where a row goes.

use marketprism_schema::{DEAD_LETTERS, DataType, Table};

use super::columns::{self, COPY, Column, DEAD_LETTER};

/// Table of messages whose event is stored already by another message.
const COPIES: &str = "copies";

/// A hot table that rows are inserted into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// The table of a data type.
    Events(DataType),
    /// The table of messages whose event is stored already by another message.
    Copies,
    /// The table of refused messages.
    DeadLetters,
}

impl Target {
    /// Name of the table.
    pub fn table(self) -> &'static str {
        match self {
            Self::Events(data_type) => Table::of(data_type).name,
            Self::Copies => COPIES,
            Self::DeadLetters => DEAD_LETTERS,
        }
    }

    /// Names and types of the columns, in the order of a row.
    pub fn columns(self) -> Vec<Column> {
        match self {
            Self::Events(data_type) => columns::columns_of(data_type),
            Self::Copies => COPY.to_vec(),
            Self::DeadLetters => DEAD_LETTER.to_vec(),
        }
    }
}
