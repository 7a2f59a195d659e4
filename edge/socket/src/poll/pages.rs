//! Further pages that a poll's answers ask for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use marketprism_adapter_host::contract::Request;
use tokio::sync::mpsc;

use crate::counters::{Counted, Counters};
use crate::error::Refused;
use crate::limits::PAGES_PER_ROUND_MAX;

/// Takes the further pages of one poll.
#[derive(Debug)]
pub(crate) struct Pages {
    queue: mpsc::Sender<Request>,
    round: Arc<Round>,
    counters: Arc<Counters>,
}

/// The pages of a poll's running round.
#[derive(Debug, Default)]
pub(crate) struct Round {
    pages: AtomicU32,
    incomplete: AtomicBool,
}

impl Pages {
    pub(crate) fn new(counters: Arc<Counters>) -> (Self, mpsc::Receiver<Request>, Arc<Round>) {
        let (queue, receiver) = mpsc::channel(PAGES_PER_ROUND_MAX as usize);
        let round = Arc::new(Round::default());
        (Self { queue, round: Arc::clone(&round), counters }, receiver, round)
    }

    /// Asks for a page. A venue, or an adapter, that never comes to an end is held by the round's number.
    pub(crate) fn ask(&self, request: Request) -> Result<(), Refused> {
        let before = self.round.pages.fetch_add(1, Ordering::Relaxed);
        if before >= PAGES_PER_ROUND_MAX {
            self.round.pages.store(PAGES_PER_ROUND_MAX, Ordering::Relaxed);
            if !self.round.incomplete.load(Ordering::Relaxed) {
                tracing::warn!(url = request.url, max = PAGES_PER_ROUND_MAX, "too many pages in a round");
            }
            return Err(self.refuse(Refused::TooManyPages));
        }
        self.queue.try_send(request).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => self.refuse(Refused::QueueFull),
            mpsc::error::TrySendError::Closed(_) => Refused::Stopping,
        })
    }

    /// Counts a page that will not be asked for.
    pub(crate) fn refuse(&self, why: Refused) -> Refused {
        self.counters.count(Counted::FollowUpsRefused);
        self.round.set_incomplete();
        why
    }
}

impl Round {
    /// A page of the round is missing.
    pub(crate) fn set_incomplete(&self) {
        self.incomplete.store(true, Ordering::Relaxed);
    }

    /// Begins another round and tells whether a page of the one before is missing.
    pub(crate) fn begin(&self) -> bool {
        self.pages.store(0, Ordering::Relaxed);
        self.incomplete.swap(false, Ordering::Relaxed)
    }
}
