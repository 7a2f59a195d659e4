//! The pulls of a stream's consumers, taken in turn.

use std::future::poll_fn;
use std::task::Poll;

use async_nats::jetstream;
use async_nats::jetstream::consumer::pull::Stream as Pull;
use futures_util::StreamExt as _;

pub struct TablePulls {
    pulls: Vec<Pull>,
    /// The one that is asked first.
    first: usize,
}

/// A message with the place of its consumer; the reason if its pull failed.
pub type PulledMessage = (usize, Result<jetstream::Message, String>);

impl TablePulls {
    pub fn new(pulls: Vec<Pull>) -> Self {
        Self { pulls, first: 0 }
    }

    /// The next message of a consumer from which one may be taken. Dropping the future loses none.
    pub async fn next(&mut self, may_take: impl Fn(usize) -> bool) -> PulledMessage {
        let Self { pulls, first } = self;
        poll_fn(|context| {
            let count = pulls.len();
            for place in (*first..count).chain(0..*first) {
                if !may_take(place) {
                    continue;
                }
                let Some(pull) = pulls.get_mut(place) else { continue };
                if let Poll::Ready(item) = pull.poll_next_unpin(context) {
                    // A busy table must not keep the others waiting.
                    *first = (place + 1) % count;
                    let item = match item {
                        Some(Ok(message)) => Ok(message),
                        Some(Err(error)) => Err(error.to_string()),
                        None => Err("the pull ended".to_owned()),
                    };
                    return Poll::Ready((place, item));
                }
            }
            Poll::Pending
        })
        .await
    }
}
