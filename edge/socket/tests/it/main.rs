//! Sockets against servers within the test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod flow;
mod limits;
mod overlap;
mod pace;
mod pages;
mod plans;
mod polls;
mod reconnect;
mod references;
mod renewals;
mod rest;
mod scale;
mod silence;
mod stop;
mod storms;
mod tls;
mod venue;
mod windows;
