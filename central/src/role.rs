//! What a central does: everything, or one side of it.

use clap::ValueEnum;

/// What a central does. Every role answers over HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Role {
    /// Both sides.
    #[default]
    All,
    /// Takes messages into hot and keeps the ledger.
    Hot,
    /// Copies hot to cold.
    Cold,
}

impl Role {
    /// Whether it takes messages into hot and keeps the ledger.
    pub const fn takes_messages(self) -> bool {
        matches!(self, Self::All | Self::Hot)
    }

    /// Whether it copies hot to cold.
    pub const fn replicates(self) -> bool {
        matches!(self, Self::All | Self::Cold)
    }
}
