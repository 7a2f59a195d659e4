//! Books without sequence numbers while two connections of their stream overlap: a book takes updates only of the connection that its
//! snapshot came from; those of another would put levels back.

use std::collections::HashMap;

use marketprism_adapter_host::InstrumentIndex;
use marketprism_adapter_host::contract::BookChange;

#[derive(Debug, Default)]
pub(super) struct BookHandover {
    /// Generation of the connection that a book's snapshot came from.
    followed: HashMap<InstrumentIndex, u64>,
}

impl BookHandover {
    /// False for an event that the snapshot of a newer connection superseded.
    pub(super) fn admits(
        &mut self,
        instrument: InstrumentIndex,
        generation: u64,
        (change, is_live): (BookChange, bool),
    ) -> bool {
        let followed = self.followed.get(&instrument).copied();
        if change != BookChange::Snapshot {
            // A snapshot by request leaves the connection open.
            return followed.is_none_or(|followed| followed == generation);
        }
        // A book that waits takes any snapshot.
        let is_admitted = !is_live || followed.is_none_or(|followed| followed <= generation);
        if is_admitted {
            self.followed.insert(instrument, generation);
        }
        is_admitted
    }

    /// A loss on this connection costs the book nothing: it follows another one of the stream, and restarts when that one ends.
    pub(super) fn follows_another(&self, instrument: InstrumentIndex, generation: u64) -> bool {
        self.followed.get(&instrument).is_some_and(|followed| *followed != generation)
    }

    /// True if the book followed the connection that ended.
    pub(super) fn ended(&mut self, instrument: InstrumentIndex, generation: u64) -> bool {
        let was_followed = self.followed.get(&instrument) == Some(&generation);
        if was_followed {
            self.followed.remove(&instrument);
        }
        was_followed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_book_follows_the_connection_of_its_newest_snapshot() {
        let mut handover = BookHandover::default();
        let (one, two) = (InstrumentIndex::from(1), InstrumentIndex::from(2));
        let (snapshot, delta) = ((BookChange::Snapshot, true), (BookChange::Delta, true));
        assert!(handover.admits(one, 4, delta), "a snapshot by request");
        assert!(handover.admits(one, 4, snapshot) && !handover.admits(one, 5, delta));
        assert!(handover.admits(one, 5, snapshot) && handover.admits(one, 5, delta));
        assert!(!handover.admits(one, 4, delta) && !handover.admits(one, 4, snapshot));
        assert!(handover.admits(two, 4, delta), "each book for itself");
        assert!(!handover.ended(one, 4) && !handover.ended(two, 4));
        assert!(handover.admits(one, 4, (BookChange::Snapshot, false)), "the book has no state");
        assert!(
            handover.admits(one, 4, delta) && !handover.admits(one, 5, delta),
            "one connection at a time"
        );
        assert!(handover.admits(one, 5, snapshot) && handover.admits(one, 5, delta), "back to the newer");
        assert!(handover.ended(one, 5) && !handover.ended(one, 5));
    }

    #[test]
    fn a_book_depends_on_the_connection_that_it_follows_alone() {
        let mut handover = BookHandover::default();
        let (one, two) = (InstrumentIndex::from(1), InstrumentIndex::from(2));
        assert!(handover.admits(one, 4, (BookChange::Snapshot, true)));
        assert!(!handover.follows_another(one, 4) && handover.follows_another(one, 5));
        assert!(!handover.follows_another(two, 5), "a book without a snapshot of a connection");
        assert!(handover.ended(one, 4) && !handover.follows_another(one, 5));
    }
}
