//! Every time limit and size of the one-machine stack, with what happens when it is reached.

use std::time::Duration;

/// Longest wait for another `marketprism-local` that holds a lock. Passed: an error that says so.
pub const LOCK_WAIT: Duration = Duration::from_secs(15 * 60);

/// Longest time for which a download may bring no byte. Passed: it is stopped, and the error says so.
pub const DOWNLOAD_STALL: Duration = Duration::from_secs(180);

/// How often a download is looked at.
pub const DOWNLOAD_POLL: Duration = Duration::from_millis(200);

/// How often progress is told where no terminal shows it.
pub const PROGRESS_LINE_EVERY: Duration = Duration::from_secs(5);

/// Longest wait for one answer of a local part.
pub const LOCAL_ANSWER: Duration = Duration::from_secs(3);

/// Longest wait for an answer of the live venues, connection and TLS included. Passed: the venue counts as not there.
pub const VENUE_ANSWER: Duration = Duration::from_secs(3);

/// Longest start of a part. Passed: an error with the tail of its log; the part stays.
pub const START_WAIT: Duration = Duration::from_secs(30);

/// How often a starting or stopping part is looked at.
pub const PART_POLL: Duration = Duration::from_millis(50);

/// Longest run of `marketprism-central init`. Passed: it is killed, and the error says so.
pub const INIT_WAIT: Duration = Duration::from_secs(90);

/// Longest wait for rows in both tables. Passed: an error that names the silent hop.
pub const DATA_WAIT: Duration = Duration::from_secs(30);

/// How often the tables are asked.
pub const DATA_POLL: Duration = Duration::from_millis(250);

/// Time that a part has for its own end. Passed: it is killed, and the report says so.
pub const STOP_WAIT: Duration = Duration::from_secs(15);

/// Time that the kernel has to end a killed process.
pub const KILL_WAIT: Duration = Duration::from_secs(5);

/// Lines of a log that a report shows.
pub const LOG_TAIL_LINES: usize = 20;

/// Bytes at the end of a log that are searched for those lines.
pub const LOG_TAIL_BYTES: u64 = 64 * 1024;

/// Room in the broker's store beside the streams, for key-value buckets.
pub const BROKER_STORE_SPARE_BYTES: u64 = 1024 * 1024 * 1024;
