//! Promises of the edge, tested through its public parts.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

mod answers;
mod auditing;
mod backfill;
mod batches;
mod broker;
mod configuration;
mod deltas;
mod disks;
mod feeds;
mod instance;
mod journal;
mod journal_losses;
mod journaled;
mod memory;
mod moved;
mod pages;
mod polling;
mod publishing;
mod quotes;
mod raw;
mod records;
mod resends;
mod resized;
mod restarts;
mod routing;
mod stuck;
mod subscription;
mod tls_first;
