//! The simulator over real sockets.

mod backlog;
mod books;
mod client;
mod events;
mod faults;
mod limits;
mod protocol;
mod recordings;
mod rest_faults;
mod throughput;
mod transport;
