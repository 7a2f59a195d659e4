//! The right to insert what one stream holds.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::lease::Lease;
use crate::limits;

/// The right to insert what one stream holds, and which making of the stream our acknowledgements are for.
#[derive(Debug)]
pub struct InsertGuard {
    lease: Lease,
    incarnation: AtomicU64,
}

impl InsertGuard {
    /// With the lease of the stream.
    pub fn new(lease: Lease) -> Self {
        Self { lease, incarnation: AtomicU64::new(0) }
    }

    /// The lease.
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Gives the lease back.
    pub async fn release(self) {
        self.lease.release().await;
    }

    /// Whether an insert may begin: the lease lasts long enough to notice its loss and to break the insert off.
    pub fn may_begin(&self) -> bool {
        self.lease.valid_for() >= limits::INSERT_MARGIN
    }

    /// Whether another piece of an insert may be sent.
    pub fn may_go_on(&self) -> bool {
        self.lease.valid_for() >= limits::PIECE_MARGIN
    }

    /// The stream was made anew. Its sequences start from one, so an acknowledgement of an earlier message would be taken for one of a
    /// new message: from now on those are not sent.
    pub fn next_incarnation(&self) -> u64 {
        self.incarnation.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// Whether messages of this making of the stream may be acknowledged.
    pub fn may_acknowledge(&self, incarnation: u64) -> bool {
        self.incarnation.load(Ordering::Acquire) == incarnation
    }
}
