//! The simulator over real sockets.

mod backlog;
mod books;
mod client;
mod deribit;
mod deribit_rest;
mod events;
mod faults;
mod limits;
mod okx;
mod okx_books;
mod protocol;
mod recordings;
mod rest_faults;
mod throughput;
mod transport;
