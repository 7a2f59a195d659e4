//! Why copying stopped.

use crate::storage::StorageError;

/// Why copying stopped. Nothing is lost: it goes on where it was.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// A server did not do as asked.
    #[error("{side}: {error}")]
    Storage {
        /// hot or cold.
        side: &'static str,
        /// Why.
        #[source]
        error: StorageError,
    },
    /// Another central may copy now.
    #[error("the lease is not ours any more")]
    LeaseLost,
}

impl CopyError {
    /// From the hot side.
    pub fn hot(error: StorageError) -> Self {
        Self::Storage { side: "hot", error }
    }

    /// From the cold side.
    pub fn cold(error: StorageError) -> Self {
        Self::Storage { side: "cold", error }
    }

    /// Whether it took too long, so that less at once may help.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Storage { error: StorageError::TimedOut(_), .. })
    }
}
