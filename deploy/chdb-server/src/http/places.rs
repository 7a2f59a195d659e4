//! Places of connections. When they run out, a new connection takes that of the one that has been idle longest, first among those that
//! never logged in: neither idle clients nor strangers keep others out.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;

pub struct Places {
    entries: Mutex<Entries>,
    most: usize,
}

#[derive(Default)]
struct Entries {
    next: u64,
    open: HashMap<u64, OpenConnection>,
}

struct OpenConnection {
    /// `None`: a request runs.
    idle_since: Option<Instant>,
    has_logged_in: bool,
    evicted: Arc<Notify>,
}

/// ConnectionPlace of one connection, given back when dropped.
pub struct ConnectionPlace {
    places: Arc<Places>,
    number: u64,
    evicted: Arc<Notify>,
}

/// A running request. Its connection is not evicted.
pub struct Busy(Arc<ConnectionPlace>);

impl Places {
    pub fn new(most: usize) -> Arc<Places> {
        Arc::new(Places { entries: Mutex::default(), most })
    }

    /// Never waits: if all places are taken, that of an idle connection becomes free.
    pub fn enter(self: &Arc<Self>) -> Arc<ConnectionPlace> {
        let evicted = Arc::new(Notify::new());
        let mut entries = self.lock();
        if entries.open.len() >= self.most {
            entries.evict();
        }
        let number = entries.next;
        entries.next += 1;
        let entry = OpenConnection {
            idle_since: Some(Instant::now()),
            has_logged_in: false,
            evicted: Arc::clone(&evicted),
        };
        entries.open.insert(number, entry);
        drop(entries);
        Arc::new(ConnectionPlace { places: Arc::clone(self), number, evicted })
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    fn evict(&mut self) {
        let idle = self.open.iter().filter_map(|(number, entry)| {
            entry.idle_since.map(|since| ((entry.has_logged_in, since), *number))
        });
        if let Some(entry) = idle.min().and_then(|(_, number)| self.open.remove(&number)) {
            tracing::debug!("all connections are taken: closing the one that was idle longest");
            entry.evicted.notify_one();
        }
    }
}

impl ConnectionPlace {
    /// Resolves when another connection takes this place.
    pub async fn evicted(&self) {
        self.evicted.notified().await;
    }

    pub fn begin(self: &Arc<Self>) -> Busy {
        self.change(|entry| entry.idle_since = None);
        Busy(Arc::clone(self))
    }

    pub fn logged_in(&self) {
        self.change(|entry| entry.has_logged_in = true);
    }

    fn change(&self, change: impl FnOnce(&mut OpenConnection)) {
        if let Some(entry) = self.places.lock().open.get_mut(&self.number) {
            change(entry);
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.change(|entry| entry.idle_since = Some(Instant::now()));
    }
}

impl Drop for ConnectionPlace {
    fn drop(&mut self) {
        self.places.lock().open.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::time::timeout;

    use super::{ConnectionPlace, Places};

    async fn evicted(places: &[&Arc<ConnectionPlace>]) -> Vec<bool> {
        let mut found = Vec::new();
        for place in places {
            found.push(timeout(Duration::from_millis(1), place.evicted()).await.is_ok());
        }
        found
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_idle_connection_makes_room_strangers_first() {
        let places = Places::new(3);
        let known = places.enter();
        known.logged_in();
        let busy = places.enter();
        let _request = busy.begin();
        let stranger = places.enter();
        let fourth = places.enter();
        assert_eq!(evicted(&[&known, &busy, &stranger, &fourth]).await, [false, false, true, false]);
        fourth.logged_in();
        let fifth = places.enter();
        assert_eq!(evicted(&[&known, &busy, &fourth, &fifth]).await, [true, false, false, false]);
        drop(fourth);
        let sixth = places.enter();
        assert_eq!(evicted(&[&busy, &fifth, &sixth]).await, [false, false, false]);
    }
}
