//! Equal questions at about the same time share one answer.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::{Mutex as Turn, Semaphore};
use tokio::time::timeout;

use crate::limits;

/// Answers that are at most a second old, and those being made. Bounded in questions and in work.
pub struct Flights<T> {
    slots: Mutex<Vec<(String, Arc<Slot<T>>)>>,
    running: Semaphore,
}

type Slot<T> = Turn<Option<(Instant, Arc<T>)>>;

/// Too many different questions at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many different questions at once; ask again in a moment")]
pub struct Busy;

impl<T> Default for Flights<T> {
    fn default() -> Self {
        Self { slots: Mutex::default(), running: Semaphore::new(limits::REPORTS_AT_ONCE) }
    }
}

impl<T> Flights<T> {
    /// The answer to a question: a fresh one, the one being made, or that of `make`.
    pub async fn get(&self, question: &str, make: impl Future<Output = T>) -> Result<Arc<T>, Busy> {
        let slot = self.slot(question)?;
        let mut answer = slot.lock().await;
        if let Some((at, known)) = answer.as_ref()
            && at.elapsed() < limits::REPORT_FRESH
        {
            return Ok(Arc::clone(known));
        }
        let permit = timeout(limits::REPORT_TURN, self.running.acquire()).await;
        let Ok(Ok(_permit)) = permit else { return Err(Busy) };
        let made = Arc::new(make.await);
        *answer = Some((Instant::now(), Arc::clone(&made)));
        Ok(made)
    }

    fn slot(&self, question: &str) -> Result<Arc<Slot<T>>, Busy> {
        // The list is whole at every moment, so a panic of another holder does not matter.
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, slot)) = slots.iter().find(|(known, _)| known == question) {
            return Ok(Arc::clone(slot));
        }
        if slots.len() >= limits::REPORTS_KEPT {
            let unused = slots.iter().position(|(_, slot)| Arc::strong_count(slot) == 1).ok_or(Busy)?;
            slots.remove(unused);
        }
        let slot = Arc::new(Turn::new(None));
        slots.push((question.to_owned(), Arc::clone(&slot)));
        Ok(slot)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// Goal: a hundred equal questions at once are one computation, and other questions have their own, however many came before.
    #[tokio::test]
    async fn equal_questions_share_one_answer() {
        let flights = Flights::default();
        let made = AtomicU32::new(0);
        let make = || async {
            tokio::task::yield_now().await;
            made.fetch_add(1, Ordering::SeqCst)
        };
        let all = futures_util::future::join_all((0..100).map(|_| flights.get("a", make()))).await;
        assert!(all.iter().all(|answer| answer.as_deref() == Ok(&0)), "{all:?}");
        for question in 0..200 {
            assert!(flights.get(&question.to_string(), make()).await.is_ok());
        }
        assert_eq!(made.load(Ordering::SeqCst), 201);
        assert_eq!(flights.slots.lock().unwrap().len(), limits::REPORTS_KEPT);
    }
}
