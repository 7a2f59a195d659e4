//! Tests of installing and of the stack's processes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod install;
mod processes;
mod venues;
