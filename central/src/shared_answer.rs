//! The newest answer to a question that several tasks ask. While the other side hangs they wait together, not each in turn.

use std::future::Future;
use std::time::Instant;

use tokio::sync::Mutex;

#[derive(Debug)]
pub struct SharedAnswer<T, E>(Mutex<Option<(Instant, Result<T, E>)>>);

impl<T, E> Default for SharedAnswer<T, E> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<T: Clone, E: Clone> SharedAnswer<T, E> {
    /// The answer, or the error, to a question that was asked at this time or later.
    pub async fn since(&self, since: Instant, question: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let mut newest = self.0.lock().await;
        if let Some((asked, answer)) = &*newest
            && *asked >= since
        {
            return answer.clone();
        }
        let (asked, answer) = (Instant::now(), question.await);
        *newest = Some((asked, answer.clone()));
        answer
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use futures_util::future::join_all;

    use super::*;

    #[tokio::test]
    async fn tasks_that_asked_before_a_question_share_its_failure_and_a_later_one_asks_again() {
        let (shared, questions) = (SharedAnswer::<u32, u32>::default(), Cell::new(0));
        let ask = || {
            shared.since(Instant::now(), async {
                questions.set(questions.get() + 1);
                tokio::task::yield_now().await;
                Err(questions.get())
            })
        };
        assert_eq!(join_all((0..16).map(|_| ask())).await, [Err(1); 16]);
        assert_eq!(ask().await, Err(2));
    }
}
