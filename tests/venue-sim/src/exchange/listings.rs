//! Instruments that an exchange lists and delists while it runs. A delisted one is in no answer, gets no events, and no new subscriber.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};

use super::state::Exchange;
use crate::venue::ListedInstrument;

/// By position of the instrument in its exchange.
#[derive(Debug)]
pub(crate) struct Delisted(Vec<AtomicBool>);

impl Delisted {
    pub(crate) fn none(instruments: usize) -> Delisted {
        Delisted((0..instruments).map(|_| AtomicBool::new(false)).collect())
    }

    pub(crate) fn has(&self, index: usize) -> bool {
        self.0.get(index).is_some_and(|delisted| delisted.load(Ordering::Acquire))
    }
}

impl Exchange {
    pub(crate) fn set_listed(&self, index: usize, listed: bool) {
        if let Some(delisted) = self.delisted.0.get(index) {
            delisted.store(!listed, Ordering::Release);
        }
    }

    /// The instruments that are listed now.
    pub(crate) fn listed_now(&self) -> Cow<'_, [ListedInstrument]> {
        let is_listed = |one: &&ListedInstrument| !self.delisted.has(one.index);
        if self.listed.iter().all(|one| is_listed(&one)) {
            return Cow::Borrowed(&self.listed);
        }
        Cow::Owned(self.listed.iter().filter(is_listed).cloned().collect())
    }
}
