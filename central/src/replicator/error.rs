use crate::storage::StorageError;

/// Reason why copying stopped. Nothing is lost: the next round continues.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    #[error("{side}: {error}")]
    Storage {
        side: &'static str,
        #[source]
        error: StorageError,
    },
    /// Another central may hold the lease.
    #[error("the lease is lost")]
    LeaseLost,
}

impl CopyError {
    /// The server was too slow, so a smaller insert may succeed.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Storage { error: StorageError::TimedOut(_), .. })
    }
}
