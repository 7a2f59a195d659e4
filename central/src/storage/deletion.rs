//! Deletes of rows that wait until no query sees the rows.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use clickhouse::query::Query;
use marketprism_service::LogLimit;

use super::{QUERY_BYTES, StorageError, bounded};

/// Error code of a mutation that has not ended, or that failed or was killed: only the text distinguishes them.
const UNFINISHED: u32 = 341;
const INACTIVE: &str = "replicas are inactive";

static INACTIVE_LINES: Mutex<LogLimit> = Mutex::new(LogLimit::new(Duration::from_secs(60)));

/// Executes a lightweight `DELETE` of as many ids as [`QUERY_BYTES`] has room for. Inactive replicas carry it out when they are back.
pub async fn delete_rows(query: Query, limit: Duration) -> Result<(), StorageError> {
    let query =
        query.with_setting("lightweight_deletes_sync", "2").with_setting("max_query_size", QUERY_BYTES);
    done_by_active(bounded(limit, query.execute()).await)
}

/// ClickHouse names inactive replicas after every active one has deleted the rows.
fn done_by_active(deleted: Result<(), StorageError>) -> Result<(), StorageError> {
    match deleted {
        Err(StorageError::Refused { code: UNFINISHED, text }) if text.contains(INACTIVE) => {
            let mut lines = INACTIVE_LINES.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(held_back) = lines.allow(Instant::now()) {
                tracing::warn!(
                    text,
                    held_back,
                    "rows deleted on the active replicas; inactive ones delete them when they are back"
                );
            }
            Ok(())
        }
        deleted => deleted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Copying, corrections and repairs failed as long as a replica was down, though the rows were gone.
    #[test]
    fn a_delete_is_done_when_all_but_the_inactive_replicas_have_carried_it_out() {
        let refused = |text: &str| StorageError::from(clickhouse::error::Error::BadResponse(text.to_owned()));
        let inactive = "Code: 341. DB::Exception: Mutation is not finished because some replicas are inactive right now: r2. \
                        Mutation will be done asynchronously. (UNFINISHED)";
        assert!(done_by_active(Err(refused(inactive))).is_ok());
        for failed in [
            "Code: 341. DB::Exception: Mutation 0000000001 was killed. (UNFINISHED)",
            "Code: 341. DB::Exception: Exception happened during execution of mutation '0000000001' with part 'all_0_0_0'",
            "Code: 242. DB::Exception: Table is in readonly mode. (TABLE_IS_READ_ONLY)",
        ] {
            assert!(done_by_active(Err(refused(failed))).is_err(), "{failed}");
        }
    }
}
