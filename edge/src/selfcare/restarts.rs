//! Restarts of the process: their numbers, which outlive it, and the start in its place.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use marketprism_service::read_file;

use crate::telemetry::{Metrics, RestartCause, follow};

/// Largest file: four numbers.
const LOG_BYTES_MAX: u64 = 4_096;

/// Restarts by cause since the edge's first run, in a file of its own.
#[derive(Debug, Clone)]
pub struct RestartLog {
    path: PathBuf,
}

impl RestartLog {
    /// The edge's name is a legal file name.
    pub fn new(data_dir: &Path, edge: &str) -> Self {
        Self { path: data_dir.join("runs").join(format!("{edge}.restarts.json")) }
    }

    pub fn read(&self) -> io::Result<BTreeMap<String, u64>> {
        match read_file(&self.path, LOG_BYTES_MAX) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(BTreeMap::new()),
            Err(error) => Err(error),
        }
    }

    /// Counts a restart. A file that cannot be read begins again.
    pub fn add(&self, cause: RestartCause) -> io::Result<()> {
        let mut counts = self.read().unwrap_or_default();
        *counts.entry(cause.as_str().to_owned()).or_default() += 1;
        if let Some(folder) = self.path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let part = self.path.with_extension("part");
        std::fs::write(&part, serde_json::to_vec(&counts)?)?;
        std::fs::rename(part, &self.path)
    }

    /// The counters go on where the run before has ended.
    pub fn show(&self, metrics: &Metrics) {
        let counts = self.read().unwrap_or_else(|error| {
            tracing::warn!(%error, path = ?self.path, "numbers of earlier restarts not readable: they begin at 0");
            BTreeMap::new()
        });
        for cause in RestartCause::ALL {
            let counter = metrics.selfcare_restarts.with_label_values(&[cause.as_str()]);
            follow(&counter, counts.get(cause.as_str()).copied().unwrap_or_default());
        }
    }
}

/// Replaces this process by a new start of `program` with the same arguments, environment and process id. Returns by error only.
pub fn start_again(program: &Path) -> io::Error {
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_else(|| OsString::from(program));
    Command::new(program).arg0(name).args(arguments).exec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::CareLimit;

    #[test]
    fn the_numbers_of_restarts_outlive_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let log = RestartLog::new(folder.path(), "e1");
        let metrics = Metrics::new().unwrap();
        let count = || metrics.selfcare_restarts.with_label_values(&["memory"]).get();
        log.show(&metrics);
        assert_eq!(count(), 0);
        for _ in 0..2 {
            log.add(RestartCause::Limit(CareLimit::Memory)).unwrap();
        }
        log.show(&metrics);
        assert_eq!(count(), 2);
        std::fs::write(folder.path().join("runs/e1.restarts.json"), "{").unwrap();
        log.add(RestartCause::Stuck).unwrap();
        assert_eq!(log.read().unwrap(), BTreeMap::from([("stuck".to_owned(), 1)]));
    }
}
