//! The stores of an edge: one per exchange, opened by the first feed that wants it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::shared::RawOptions;
use super::status::RawStatus;
use super::store::RawStore;
use crate::journal::JournalFiles;

/// Folder of an exchange's raw frames in the edge's data folder.
pub fn raw_folder(data_dir: &Path, exchange: &str) -> PathBuf {
    data_dir.join("raw").join(exchange)
}

pub struct RawStores {
    data_dir: PathBuf,
    files: Arc<dyn JournalFiles>,
    stores: Mutex<BTreeMap<String, Arc<RawStore>>>,
}

impl RawStores {
    pub fn new(data_dir: &Path, files: Arc<dyn JournalFiles>) -> Self {
        Self { data_dir: data_dir.to_owned(), files, stores: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<RawStore>>> {
        self.stores.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The store of an exchange, with these bounds from now on.
    pub fn open(&self, exchange: &str, options: RawOptions) -> Arc<RawStore> {
        let mut stores = self.lock();
        if let Some(store) = stores.get(exchange) {
            store.set_options(options);
            return Arc::clone(store);
        }
        let folder = raw_folder(&self.data_dir, exchange);
        let store = Arc::new(RawStore::start(exchange, folder, options, Arc::clone(&self.files)));
        stores.insert(exchange.to_owned(), Arc::clone(&store));
        store
    }

    /// By exchange. The disk of a store that no feed writes to any more cannot show that it works again: its failure is over.
    pub fn statuses(&self) -> Vec<(String, RawStatus)> {
        let stores = self.lock();
        let status = |(exchange, store): (&String, &Arc<RawStore>)| {
            let mut status = store.status();
            if Arc::strong_count(store) == 1 {
                status.failing = None;
            }
            (exchange.clone(), status)
        };
        stores.iter().map(status).collect()
    }

    /// Writes the rest of all. Names the exchanges whose disk did not answer in time.
    pub fn close(&self, limit: Duration) -> Vec<String> {
        let deadline = Instant::now() + limit;
        let stores: Vec<(String, Arc<RawStore>)> =
            self.lock().iter().map(|(exchange, store)| (exchange.clone(), Arc::clone(store))).collect();
        stores.iter().for_each(|(_, store)| store.end());
        stores.into_iter().filter(|(_, store)| !store.close(deadline)).map(|(exchange, _)| exchange).collect()
    }
}
