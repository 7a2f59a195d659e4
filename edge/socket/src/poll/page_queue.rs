//! Further pages requested by a poll's answers, bounded per round.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use marketprism_adapter_host::contract::Request;
use tokio::sync::mpsc;

use crate::counters::{Counters, SocketCounter};
use crate::error::CommandError;
use crate::limits::PAGES_PER_ROUND_MAX;

#[derive(Debug)]
pub(crate) struct PageQueue {
    queue: mpsc::Sender<Request>,
    round: Arc<PollRound>,
    counters: Arc<Counters>,
}

#[derive(Debug, Default)]
pub(crate) struct PollRound {
    pages: AtomicU32,
    incomplete: AtomicBool,
}

impl PageQueue {
    pub(crate) fn new(counters: Arc<Counters>) -> (Self, mpsc::Receiver<Request>, Arc<PollRound>) {
        let (queue, receiver) = mpsc::channel(PAGES_PER_ROUND_MAX as usize);
        let round = Arc::new(PollRound::default());
        (Self { queue, round: Arc::clone(&round), counters }, receiver, round)
    }

    /// Bounded per round, against venues and adapters that never finish.
    pub(crate) fn ask(&self, request: Request) -> Result<(), CommandError> {
        let before = self.round.pages.fetch_add(1, Ordering::Relaxed);
        if before >= PAGES_PER_ROUND_MAX {
            self.round.pages.store(PAGES_PER_ROUND_MAX, Ordering::Relaxed);
            if !self.round.incomplete.load(Ordering::Relaxed) {
                tracing::warn!(
                    url = request.url,
                    max = PAGES_PER_ROUND_MAX,
                    "poll requests too many pages in a round"
                );
            }
            return Err(self.refuse(CommandError::TooManyPages));
        }
        self.queue.try_send(request).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => self.refuse(CommandError::QueueFull),
            mpsc::error::TrySendError::Closed(_) => CommandError::Stopping,
        })
    }

    /// Counts a page that will not be requested.
    pub(crate) fn refuse(&self, why: CommandError) -> CommandError {
        self.counters.count(SocketCounter::FollowUpsRefused);
        self.round.set_incomplete();
        why
    }
}

impl PollRound {
    pub(crate) fn set_incomplete(&self) {
        self.incomplete.store(true, Ordering::Relaxed);
    }

    /// Begins the next round; true if a page of the last one is missing.
    pub(crate) fn begin(&self) -> bool {
        self.pages.store(0, Ordering::Relaxed);
        self.incomplete.swap(false, Ordering::Relaxed)
    }
}
