//! A race of alternatives (RFC 8305 section 5): one that gives no answer does not hold up the next.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, sleep_until};

/// Starts an attempt per alternative: when the one before has failed, or after `delay`, or earlier if the limit would not reach for
/// all. Gives the first success, or the failure of each alternative; `None` had no end within the limit.
pub(crate) async fn race<A, T, E, F: Future<Output = Result<T, E>>>(
    alternatives: Vec<A>,
    limit: Duration,
    delay: Duration,
    attempt: impl Fn(A) -> F,
) -> Result<T, Vec<Option<E>>> {
    let count = alternatives.len();
    let shares = u32::try_from(count).unwrap_or(u32::MAX).saturating_add(1);
    let delay = delay.min(limit / shares);
    let deadline = Instant::now() + limit;
    let mut next_at = Instant::now();
    let mut waiting = alternatives.into_iter().enumerate();
    let mut running = FuturesUnordered::new();
    let mut failures: Vec<Option<E>> = std::iter::repeat_with(|| None).take(count).collect();
    loop {
        tokio::select! {
            biased;
            Some((index, ended)) = running.next() => match ended {
                Ok(value) => return Ok(value),
                Err(error) => {
                    if let Some(place) = failures.get_mut(index) {
                        *place = Some(error);
                    }
                    next_at = Instant::now();
                }
            },
            () = sleep_until(deadline) => return Err(failures),
            () = sleep_until(next_at), if waiting.len() > 0 => {
                if let Some((index, alternative)) = waiting.next() {
                    let ending = attempt(alternative);
                    running.push(async move { (index, ending.await) });
                }
                next_at = Instant::now() + delay;
            }
        }
        if waiting.len() == 0 && running.is_empty() {
            return Err(failures);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::time::sleep;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);
    const DELAY: Duration = Duration::from_millis(250);

    async fn silent() -> Result<&'static str, &'static str> {
        std::future::pending().await
    }

    #[tokio::test(start_paused = true)]
    async fn silent_alternatives_hold_up_the_next_for_the_delay_only() {
        let start = Instant::now();
        let ended = race(vec![0, 1, 2, 3], LIMIT, DELAY, |number| async move {
            match number {
                2 => {
                    sleep(Duration::from_millis(100)).await;
                    Err("refused")
                }
                3 => Ok("found"),
                _ => silent().await,
            }
        })
        .await;
        assert_eq!((ended, start.elapsed().as_millis()), (Ok("found"), 600));
    }

    #[tokio::test(start_paused = true)]
    async fn every_alternative_gets_a_share_of_a_limit_that_is_short() {
        let started = Mutex::new(Vec::new());
        let start = Instant::now();
        let limit = Duration::from_secs(1);
        let ended = race((0..19).collect(), limit, DELAY, |number| {
            started.lock().unwrap().push((number, start.elapsed().as_millis()));
            silent()
        })
        .await;
        assert_eq!(ended, Err(vec![None; 19]));
        assert_eq!(start.elapsed(), limit);
        assert_eq!(started.lock().unwrap().last(), Some(&(18, 900)));
    }

    #[tokio::test(start_paused = true)]
    async fn failures_start_the_next_at_once_and_all_are_reported() {
        let start = Instant::now();
        let ended: Result<(), _> = race(vec!["a", "b"], LIMIT, DELAY, |name| async move { Err(name) }).await;
        assert_eq!((ended, start.elapsed()), (Err(vec![Some("a"), Some("b")]), Duration::ZERO));
        let none: Result<(), Vec<Option<()>>> = race(vec![], LIMIT, DELAY, |()| async { Ok(()) }).await;
        assert_eq!(none, Err(Vec::new()));
    }
}
