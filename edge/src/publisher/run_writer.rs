//! Writes the journal of runs, one write at a time: two would share its partial file, and could publish a mixture of both.

use std::io;
use std::time::{Duration, Instant};

use marketprism_service::LogLimit;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::audit::{JournaledRun, RunJournal};

pub(super) struct RunWriter {
    journal: RunJournal,
    pub(super) run_ns: i64,
    /// Wait for a write.
    limit: Duration,
    /// A write that the disk did not answer in time.
    unfinished: Option<JoinHandle<io::Result<()>>>,
    error_lines: LogLimit,
}

impl RunWriter {
    pub(super) fn new(journal: RunJournal, run_ns: i64, limit: Duration) -> Self {
        Self { journal, run_ns, limit, unfinished: None, error_lines: LogLimit::default() }
    }

    /// `earlier`: wait for an unfinished write. False: not written.
    pub(super) async fn write(&mut self, run: JournaledRun, earlier: Duration) -> bool {
        let limit = self.limit;
        if let Some(unfinished) = &mut self.unfinished {
            if timeout(earlier, unfinished).await.is_err() {
                return self
                    .fail(&format!("its disk has not answered an earlier write for more than {limit:?}"));
            }
            self.unfinished = None;
        }
        let journal = self.journal.clone();
        let mut write = tokio::task::spawn_blocking(move || journal.write(&run));
        match timeout(limit, &mut write).await {
            Ok(Ok(Ok(()))) => true,
            Ok(Ok(Err(error))) => self.fail(&error.to_string()),
            Ok(Err(panicked)) => self.fail(&panicked.to_string()),
            Err(_elapsed) => {
                self.unfinished = Some(write);
                self.fail(&format!("its disk does not answer within {limit:?}"))
            }
        }
    }

    fn fail(&mut self, error: &str) -> bool {
        if let Some(held_back) = self.error_lines.allow(Instant::now()) {
            let path = self.journal.path();
            tracing::error!(
                error,
                ?path,
                held_back,
                "journal of the run not written: if it stays so, the time since the stop cannot be verified after the next start"
            );
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

    use super::*;

    /// A pipe that nobody reads stands for the disk that does not answer.
    #[tokio::test]
    async fn no_write_begins_while_one_hangs_and_the_next_one_replaces_it() {
        let folder = tempfile::tempdir().unwrap();
        let journal = RunJournal::open(folder.path(), "e1").unwrap();
        let part = journal.path().with_extension("part");
        assert!(Command::new("mkfifo").arg(&part).status().unwrap().success());
        let mut writer = RunWriter::new(journal.clone(), 1, Duration::from_millis(20));
        let run = |run_ns| JournaledRun { run_ns, ..JournaledRun::default() };
        assert!(!writer.write(run(1), Duration::ZERO).await);
        assert!(!writer.write(run(2), Duration::ZERO).await);
        let written = fs::read(&part).unwrap();
        assert_eq!(written, serde_json::to_vec(&run(1)).unwrap(), "of the first one only");
        // A pipe cannot be synced: the write fails, and removes it.
        writer.limit = Duration::from_secs(60);
        assert!(writer.write(run(3), Duration::from_secs(60)).await);
        assert_eq!(journal.read().unwrap(), Some(run(3)));
    }
}
