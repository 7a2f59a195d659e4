//! The wall clock in the units of wire forms and tables. A clock before 1970 reads as 0.

use std::time::{SystemTime, UNIX_EPOCH};

/// Nanoseconds since 1970 UTC.
pub fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// Milliseconds since 1970 UTC.
pub fn now_ms() -> i64 {
    now_ns() / 1_000_000
}
