use clap::ValueEnum;

/// Part of the work that a central does. Every role serves HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Role {
    #[default]
    All,
    /// Ingest and ledger.
    Hot,
    /// Replication.
    Cold,
}

impl Role {
    /// Ingest and ledger.
    pub const fn takes_messages(self) -> bool {
        matches!(self, Self::All | Self::Hot)
    }

    /// Replication.
    pub const fn replicates(self) -> bool {
        matches!(self, Self::All | Self::Cold)
    }
}
