//! Answers at most a second old, or as old as is allowed, shared by equal questions that arrive meanwhile. Bounded in questions and in concurrent computations.
//!
//! A computation belongs to the cache, not to the request that began it: a client that disconnects does not cost the others a second one.
//! Hand-written: `moka` and `quick_cache` share one computation as well, but neither refuses questions beyond a bound of computations.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use crate::limits;

pub struct ResponseCache<T> {
    /// The oldest question first.
    answers: Mutex<Vec<(String, PendingAnswer<T>)>>,
    running: Arc<Semaphore>,
    fresh: Duration,
}

/// The answer and when it was computed.
type PendingAnswer<T> = Shared<BoxFuture<'static, Result<(Instant, Arc<T>), AnswerError>>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    #[error("too many different requests at once; try again in a moment")]
    TooMany,
    #[error("the computation panicked; see the log")]
    Panicked,
}

impl<T> Default for ResponseCache<T> {
    fn default() -> Self {
        Self::fresh_for(limits::REPORT_FRESH)
    }
}

impl<T> ResponseCache<T> {
    /// Answers are at most that old.
    pub fn fresh_for(fresh: Duration) -> Self {
        let running = Arc::new(Semaphore::new(limits::REPORTS_AT_ONCE));
        Self { answers: Mutex::default(), running, fresh }
    }
}

impl<T: Send + Sync + 'static> ResponseCache<T> {
    /// Cached answer, the one being computed, or the result of `compute`.
    pub async fn get(
        &self,
        question: &str,
        compute: impl Future<Output = T> + Send + 'static,
    ) -> Result<Arc<T>, AnswerError> {
        let answer = self.answer(question, compute)?;
        answer.await.map(|(_, answer)| answer)
    }

    fn answer(
        &self,
        question: &str,
        compute: impl Future<Output = T> + Send + 'static,
    ) -> Result<PendingAnswer<T>, AnswerError> {
        // The list is consistent at every moment, so a panic of another holder does not matter.
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        // Polled, because nobody else may have been waiting when it ended.
        let ended = |answer: &PendingAnswer<T>| answer.clone().now_or_never();
        let is_usable = |answer: &PendingAnswer<T>| match ended(answer) {
            None => true,
            Some(Ok((at, _))) => at.elapsed() < self.fresh,
            Some(Err(_)) => false,
        };
        if let Some((_, answer)) = answers.iter().find(|(known, _)| known == question)
            && is_usable(answer)
        {
            return Ok(answer.clone());
        }
        answers.retain(|(known, _)| known != question);
        if answers.len() >= limits::REPORTS_KEPT {
            let oldest = answers.iter().position(|(_, answer)| ended(answer).is_some());
            drop(answers.remove(oldest.ok_or(AnswerError::TooMany)?));
        }
        let answer = self.begin(compute);
        answers.push((question.to_owned(), answer.clone()));
        Ok(answer)
    }

    fn begin(&self, compute: impl Future<Output = T> + Send + 'static) -> PendingAnswer<T> {
        let running = Arc::clone(&self.running);
        let task = AbortOnDropHandle::new(tokio::spawn(async move {
            let permit = timeout(limits::REPORT_TURN, running.acquire()).await;
            let Ok(Ok(_permit)) = permit else { return Err(AnswerError::TooMany) };
            let answer = Arc::new(compute.await);
            Ok((Instant::now(), answer))
        }));
        async move { task.await.unwrap_or(Err(AnswerError::Panicked)) }.boxed().shared()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn equal_questions_share_one_computation_and_the_cache_stays_bounded() {
        let cache = ResponseCache::default();
        let computed = Arc::new(AtomicU32::new(0));
        let compute = || {
            let computed = Arc::clone(&computed);
            async move {
                tokio::task::yield_now().await;
                computed.fetch_add(1, Ordering::SeqCst)
            }
        };
        let all = futures_util::future::join_all((0..100).map(|_| cache.get("a", compute()))).await;
        assert!(all.iter().all(|answer| answer.as_deref() == Ok(&0)), "{all:?}");
        for question in 0..200 {
            assert!(cache.get(&question.to_string(), compute()).await.is_ok());
        }
        assert_eq!(computed.load(Ordering::SeqCst), 201);
        assert_eq!(cache.answers.lock().unwrap().len(), limits::REPORTS_KEPT);
    }

    #[tokio::test]
    async fn a_client_that_disconnects_does_not_cost_a_second_computation() {
        let cache = ResponseCache::default();
        let (computed, go_on) = (Arc::new(AtomicU32::new(0)), Arc::new(Notify::new()));
        let compute = || {
            let (computed, go_on) = (Arc::clone(&computed), Arc::clone(&go_on));
            async move {
                computed.fetch_add(1, Ordering::SeqCst);
                go_on.notified().await;
            }
        };
        let mut first = Box::pin(cache.get("a", compute()));
        assert_eq!(futures_util::poll!(first.as_mut()), std::task::Poll::Pending);
        tokio::task::yield_now().await;
        drop(first);
        let second = cache.get("a", compute());
        go_on.notify_one();
        assert!(second.await.is_ok());
        assert_eq!(computed.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn while_every_place_is_computing_other_questions_are_refused() {
        let cache = ResponseCache::<()>::default();
        let busy = (0..limits::REPORTS_KEPT).map(|n| cache.answer(&n.to_string(), std::future::pending()));
        let busy: Vec<_> = busy.collect::<Result<_, _>>().unwrap();
        assert_eq!(cache.get("another", async {}).await, Err(AnswerError::TooMany));
        drop(busy);
    }
}
