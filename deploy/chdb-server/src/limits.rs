//! All limits and timeouts of the server.

use std::time::Duration;

/// Threads that run statements of one kind, and places in which more of them wait; then they are answered with 503.
#[derive(Debug, Clone, Copy)]
pub struct PoolSize {
    pub threads: usize,
    pub waiting: usize,
}

/// For inserts with their data, in addition to `--queries`: central stores what it receives also while all other places are taken.
pub const INSERT_PLACES: PoolSize = PoolSize { threads: 4, waiting: 64 };
/// For `KILL QUERY` and `system.processes`, so that a full server can be looked at and relieved.
pub const CONTROL_PLACES: PoolSize = PoolSize { threads: 2, waiting: 8 };
/// Connections served at once; a further one takes the place of the one that has been idle longest, first of those that never
/// logged in. If none is idle it waits in the listen queue of the operating system.
pub const CONNECTIONS: usize = 512;
/// Connections that have lost their place and are being closed.
pub const EVICTED_CONNECTIONS: usize = 16;
/// Longest wait for the head of a request, and longest idle time between two requests of a connection.
pub const HEAD_WAIT: Duration = Duration::from_secs(60);
/// Longest pause of a client inside a body, as a server's default `http_receive_timeout`. A request may ask
/// for less.
pub const BODY_WAIT: Duration = Duration::from_secs(30);
/// Longest time in which a client reads nothing of a response; then its query is cancelled.
pub const SEND_WAIT: Duration = Duration::from_secs(60);
/// Chunks of a body between the connection and the decoding thread; the client waits when all are taken.
pub const BODY_CHUNKS: usize = 8;
/// Longest address, as a server's default `http_max_uri_size`; a longer one is answered with 414.
pub const ADDRESS_BYTES: usize = 1 << 20;
/// Longest address that the HTTP library takes; the service gets a longer one outside its request.
pub const LIBRARY_ADDRESS_BYTES: usize = 60_000;
/// Headers of a request; more are answered with 431.
pub const HEADERS: usize = 256;
/// Bytes of the headers of a request; more are answered with 431.
pub const HEADER_BYTES: usize = 256 << 10;
/// Read and dropped of a head that is too long, so that its client sees the answer.
pub const DROPPED_BYTES: usize = 64 << 20;
/// Bytes of one read of a connection.
pub const READ_BYTES: usize = 16 << 10;
/// Longest query text, and longest head of an insert. The engine's own limit, `max_query_size`, is lower.
pub const QUERY_BYTES: usize = 4 << 20;
/// Uncompressed data of one insert; more is answered with 413.
pub const INSERT_BYTES: u64 = 16 << 30;
/// Data of one insert kept in memory; more goes to a temporary file.
pub const SPOOL_MEMORY_BYTES: u64 = 64 << 20;
/// Data of all inserts kept in memory; later ones go to temporary files.
pub const SPOOL_TOTAL_MEMORY_BYTES: u64 = 256 << 20;
/// Result bytes collected before the status line is sent. An earlier error gets its own status; a later one
/// is appended to the body.
pub const RESPONSE_BUFFER: usize = 1 << 20;
pub const RESPONSE_CHUNK: usize = 256 << 10;
/// Largest block of ClickHouse's compression framing that is decoded.
pub const FRAME_BYTES: usize = 256 << 20;
/// The engine takes half of the memory of the machine or of its cgroup, whichever is less, unless options say otherwise.
/// The rest is for the broker, the edges with their sandboxes, central, and the page cache of all of them.
pub const MEMORY_PERCENT: u64 = 50;
/// Longest first line of the password file.
pub const PASSWORD_BYTES: u64 = 4096;
/// Time that running queries have to end after they were cancelled at shutdown.
pub const STOP_WAIT: Duration = Duration::from_secs(10);
