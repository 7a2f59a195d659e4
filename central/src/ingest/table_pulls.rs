//! The pulls of a stream's consumers, asked in turn.

use std::future::poll_fn;
use std::task::Poll;

use async_nats::jetstream;
use async_nats::jetstream::consumer::pull::Stream as Pull;
use futures_util::StreamExt as _;

pub struct TablePulls {
    pulls: Vec<Pull>,
    order: PullOrder,
}

/// A message with the place of its consumer; the reason if its pull failed.
pub type PulledMessage = (usize, Result<jetstream::Message, String>);

impl TablePulls {
    pub fn new(pulls: Vec<Pull>) -> Self {
        Self { order: PullOrder { first: 0, count: pulls.len() }, pulls }
    }

    /// The next message of a consumer from which one may be taken. Dropping the future loses none.
    pub async fn next(&mut self, may_take: impl Fn(usize) -> bool) -> PulledMessage {
        let Self { pulls, order } = self;
        poll_fn(|context| {
            for place in order.places() {
                if !may_take(place) {
                    continue;
                }
                let Some(pull) = pulls.get_mut(place) else { continue };
                if let Poll::Ready(item) = pull.poll_next_unpin(context) {
                    order.first = place;
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

    /// A busy table must not keep the others waiting: in the next turn it is asked last.
    pub fn end_turn(&mut self) {
        self.order.end_turn();
    }
}

/// Within a turn the pull that gave the last message is asked first: otherwise those without a message would be asked for each one.
#[derive(Debug, Clone, Copy)]
struct PullOrder {
    first: usize,
    count: usize,
}

impl PullOrder {
    fn places(self) -> impl Iterator<Item = usize> {
        (self.first..self.count).chain(0..self.first)
    }

    const fn end_turn(&mut self) {
        self.first += 1;
        if self.first >= self.count {
            self.first = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pull_that_always_has_a_message_is_asked_last_in_the_next_turn() {
        let mut order = PullOrder { first: 0, count: 3 };
        for (busy, next) in [(0, [1, 2, 0]), (1, [2, 0, 1]), (2, [0, 1, 2]), (2, [0, 1, 2])] {
            order.first = busy;
            assert_eq!(order.places().next(), Some(busy), "within the turn it goes on");
            order.end_turn();
            assert!(order.places().eq(next), "{busy}");
        }
    }
}
