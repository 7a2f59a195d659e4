//! Promises of the sockets, proved against servers in the test itself.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod flow;
mod overlap;
mod pace;
mod plans;
mod polls;
mod reconnect;
mod rest;
mod silence;
mod stop;
mod tls;
mod venue;
