//! Answers at most a second old, shared by equal questions that arrive meanwhile. Bounded in questions and in concurrent computations.
//!
//! Hand-written: `moka` and `quick_cache` share one computation as well, but neither refuses questions beyond a bound of computations.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::{Mutex as AsyncMutex, Semaphore};
use tokio::time::timeout;

use crate::limits;

pub struct ResponseCache<T> {
    slots: Mutex<Vec<(String, Arc<CacheSlot<T>>)>>,
    running: Semaphore,
}

type CacheSlot<T> = AsyncMutex<Option<(Instant, Arc<T>)>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many different requests at once; try again in a moment")]
pub struct TooManyRequests;

impl<T> Default for ResponseCache<T> {
    fn default() -> Self {
        Self { slots: Mutex::default(), running: Semaphore::new(limits::REPORTS_AT_ONCE) }
    }
}

impl<T> ResponseCache<T> {
    /// Cached answer, the one being computed, or the result of `compute`.
    pub async fn get(
        &self,
        question: &str,
        compute: impl Future<Output = T>,
    ) -> Result<Arc<T>, TooManyRequests> {
        let slot = self.slot(question)?;
        let mut answer = slot.lock().await;
        if let Some((at, known)) = answer.as_ref()
            && at.elapsed() < limits::REPORT_FRESH
        {
            return Ok(Arc::clone(known));
        }
        let permit = timeout(limits::REPORT_TURN, self.running.acquire()).await;
        let Ok(Ok(_permit)) = permit else { return Err(TooManyRequests) };
        let computed = Arc::new(compute.await);
        *answer = Some((Instant::now(), Arc::clone(&computed)));
        Ok(computed)
    }

    fn slot(&self, question: &str) -> Result<Arc<CacheSlot<T>>, TooManyRequests> {
        // The list is consistent at every moment, so a panic of another holder does not matter.
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, slot)) = slots.iter().find(|(known, _)| known == question) {
            return Ok(Arc::clone(slot));
        }
        if slots.len() >= limits::REPORTS_KEPT {
            let unused =
                slots.iter().position(|(_, slot)| Arc::strong_count(slot) == 1).ok_or(TooManyRequests)?;
            slots.remove(unused);
        }
        let slot = Arc::new(AsyncMutex::new(None));
        slots.push((question.to_owned(), Arc::clone(&slot)));
        Ok(slot)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn equal_questions_share_one_computation_and_the_cache_stays_bounded() {
        let cache = ResponseCache::default();
        let computed = AtomicU32::new(0);
        let compute = || async {
            tokio::task::yield_now().await;
            computed.fetch_add(1, Ordering::SeqCst)
        };
        let all = futures_util::future::join_all((0..100).map(|_| cache.get("a", compute()))).await;
        assert!(all.iter().all(|answer| answer.as_deref() == Ok(&0)), "{all:?}");
        for question in 0..200 {
            assert!(cache.get(&question.to_string(), compute()).await.is_ok());
        }
        assert_eq!(computed.load(Ordering::SeqCst), 201);
        assert_eq!(cache.slots.lock().unwrap().len(), limits::REPORTS_KEPT);
    }
}
