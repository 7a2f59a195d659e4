//! All limits and timeouts of the one-machine stack.

use std::time::Duration;

/// Longest wait for another `marketprism-local` that holds a lock; then an error.
pub const LOCK_WAIT: Duration = Duration::from_secs(15 * 60);
/// Longest time in which a download brings no byte; then it is killed with an error.
pub const DOWNLOAD_STALL: Duration = Duration::from_secs(180);
/// Interval of looking at a download.
pub const DOWNLOAD_POLL: Duration = Duration::from_millis(200);
/// Interval of progress lines without a terminal.
pub const PROGRESS_LINE_EVERY: Duration = Duration::from_secs(5);
/// Longest wait for one answer of a local part.
pub const LOCAL_ANSWER: Duration = Duration::from_secs(3);
/// Longest wait for a live venue, connection and TLS included; then the venue counts as unreachable.
pub const VENUE_ANSWER: Duration = Duration::from_secs(3);
/// Longest start of a part; then an error with the end of its log. The part keeps running.
pub const START_WAIT: Duration = Duration::from_secs(30);
/// Interval of looking at a starting or stopping part.
pub const PART_POLL: Duration = Duration::from_millis(50);
/// Longest run of `marketprism-central init`; then it is killed with an error.
pub const INIT_WAIT: Duration = Duration::from_secs(90);
/// Longest wait for rows in both tables; then an error that names the part where they stop.
pub const DATA_WAIT: Duration = Duration::from_secs(30);
/// Interval of querying the tables.
pub const DATA_POLL: Duration = Duration::from_millis(250);
/// Time of a part to end after SIGTERM; then it is killed, and the report says so.
pub const STOP_WAIT: Duration = Duration::from_secs(15);
/// Time of the kernel to end a killed process.
pub const KILL_WAIT: Duration = Duration::from_secs(5);
/// Bytes of a third-party part's log; then a new file begins, and the one before is kept. MarketPrism's parts do the same at this size.
pub const LOG_FILE_BYTES: u64 = 32 << 20;
/// Lines of a log that an error, and `logs`, shows.
pub const LOG_TAIL_LINES: usize = 20;
/// Bytes at the end of a log that are searched for those lines.
pub const LOG_TAIL_BYTES: u64 = 64 * 1024;
/// Broker storage for key-value buckets and for that of adapters, which reserves 1 GiB, in addition to the streams.
pub const BROKER_STORE_SPARE_BYTES: u64 = 2048 * 1024 * 1024;
/// Share of the memory for the embedded engine; two engines share it. The rest is for the other parts and the page cache.
pub const ENGINE_MEMORY_PERCENT: u64 = 50;
