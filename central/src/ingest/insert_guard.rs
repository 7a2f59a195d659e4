//! The right to insert what one stream holds.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::lease::Lease;

/// Permission to insert messages of one stream: its lease, and the incarnation of the stream that may be acknowledged.
#[derive(Debug)]
pub struct InsertGuard {
    lease: Lease,
    incarnation: AtomicU64,
}

impl InsertGuard {
    pub fn new(lease: Lease) -> Self {
        Self { lease, incarnation: AtomicU64::new(0) }
    }

    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    pub async fn release(self) {
        self.lease.release().await;
    }

    /// The lease lasts long enough to start an insert and to abort it if the lease is lost.
    pub fn may_begin(&self) -> bool {
        self.lease.valid_for() >= self.lease.times().insert_margin()
    }

    /// The lease lasts long enough to send another chunk.
    pub fn may_continue(&self) -> bool {
        self.lease.valid_for() >= self.lease.times().chunk_margin()
    }

    /// The stream was recreated. Its sequences start at 1, so acknowledgements of earlier messages would hit new ones: they
    /// are no longer sent.
    pub fn next_incarnation(&self) -> u64 {
        self.incarnation.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// Messages of this incarnation may be acknowledged.
    pub fn may_acknowledge(&self, incarnation: u64) -> bool {
        self.incarnation.load(Ordering::Acquire) == incarnation
    }
}
