//! Waiting for a condition, never for a time.

use std::future::Future;
use std::time::{Duration, Instant};

/// Pause between two looks at a condition.
const LOOK: Duration = Duration::from_millis(50);

/// Looks until `condition` gives a value, and fails with `what` and the last answer when it has not within `limit`.
pub async fn until<T, F, Fut>(what: &str, limit: Duration, mut condition: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, String>>,
{
    let started = Instant::now();
    loop {
        match condition().await {
            Ok(value) => return value,
            Err(last) if started.elapsed() > limit => {
                panic!("not within {limit:?}: {what}; last seen: {last}")
            }
            Err(_) => tokio::time::sleep(LOOK).await,
        }
    }
}
