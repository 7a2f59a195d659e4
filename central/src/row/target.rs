use marketprism_schema::{DEAD_LETTERS, DataType, Table};

use super::columns::{self, COPY, Column, DEAD_LETTER};

const COPIES: &str = "copies";

/// A hot table that rows are inserted into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    Events(DataType),
    /// Messages whose event another message brought.
    Copies,
    DeadLetters,
}

impl Target {
    pub fn table(self) -> &'static str {
        match self {
            Self::Events(data_type) => Table::of(data_type).name,
            Self::Copies => COPIES,
            Self::DeadLetters => DEAD_LETTERS,
        }
    }

    /// In the order of a row.
    pub fn columns(self) -> Vec<Column> {
        match self {
            Self::Events(data_type) => columns::columns_of(data_type),
            Self::Copies => COPY.to_vec(),
            Self::DeadLetters => DEAD_LETTER.to_vec(),
        }
    }
}
