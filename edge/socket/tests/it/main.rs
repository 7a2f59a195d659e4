//! Sockets against servers within the test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod expectations;
mod floods;
mod flow;
mod limits;
mod overlap;
mod plans;
mod poll_answers;
mod polls;
mod proxies;
mod reconnect;
mod rest;
mod silence;
mod tls;
mod venue;
mod venue_clock;
