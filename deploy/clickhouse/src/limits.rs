//! Every bound and time limit of the server, in one table.

use std::time::Duration;

/// Connections served at once; more wait in the listen queue of the operating system.
pub const CONNECTIONS: usize = 512;
/// Longest wait for the head of a request, and longest rest between two requests of a connection.
pub const HEAD_WAIT: Duration = Duration::from_secs(60);
/// Longest pause of a client in the middle of a body, as a server's `http_receive_timeout` is by default. A request may ask for less.
pub const BODY_WAIT: Duration = Duration::from_secs(30);
/// Longest time a client may take no byte of a response; its query is stopped then.
pub const SEND_WAIT: Duration = Duration::from_secs(60);
/// Chunks of a body between the connection and the thread that decodes it; the client waits when all are
/// taken.
pub const BODY_CHUNKS: usize = 8;
/// Longest query text, and longest head of an insert. The engine's own limit, the setting `max_query_size`,
/// is lower.
pub const QUERY_BYTES: usize = 4 << 20;
/// Most data of one insert, uncompressed; the client gets 413 beyond.
pub const INSERT_BYTES: u64 = 16 << 30;
/// Data of one insert kept in memory; a temporary file takes it over beyond.
pub const SPOOL_MEMORY_BYTES: u64 = 64 << 20;
/// Data of all inserts kept in memory; later ones go to temporary files beyond.
pub const SPOOL_TOTAL_MEMORY_BYTES: u64 = 256 << 20;
/// Result bytes gathered before the status line is sent. An error before that gets a status of its own; one
/// after it is appended to the body.
pub const RESPONSE_BUFFER: usize = 1 << 20;
/// Bytes read from the engine at once.
pub const RESPONSE_CHUNK: usize = 256 << 10;
/// Largest block of ClickHouse's compression framing that is decoded.
pub const FRAME_BYTES: usize = 256 << 20;
/// How long running queries may take after they were told to stop at shutdown.
pub const STOP_WAIT: Duration = Duration::from_secs(10);
