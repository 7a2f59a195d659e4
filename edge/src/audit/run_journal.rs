//! The newest run of an edge on disk: its clean stop, the streams until then, and messages that the broker has not stored. One file per
//! edge name, always replaced as a whole; a run that is killed leaves no stop in it.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use marketprism_schema::{AuditError, Downtime, DowntimeReason, StreamId};
use marketprism_service::{read_file, replace_file};
use serde::{Deserialize, Serialize};

use super::origin::AuditOrigin;
use super::unsent::{UnsentMessage, encode_downtime};
use crate::limits::{KILLED_RUNS_MAX, RUN_JOURNAL_BYTES};

/// Folder of the journals inside the data folder.
const RUNS: &str = "runs";

#[derive(Debug, Clone)]
pub struct RunJournal {
    path: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JournaledRun {
    pub run_ns: i64,
    /// `None`: it runs, or it was killed.
    pub stop: Option<CleanStop>,
    pub lasting: Vec<LastingDowntime>,
    /// Oldest first.
    pub unsent: Vec<UnsentMessage>,
    /// Earlier runs that were killed and whose audits the broker does not have yet, oldest first.
    pub killed: Vec<UnfinishedRun>,
}

/// A run that was killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnfinishedRun {
    pub run_ns: i64,
    /// Start of the run after it.
    pub next_ns: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CleanStop {
    pub at_ns: i64,
    pub streams: Vec<String>,
    pub cause: StopCause,
}

/// Why a run stops cleanly: by default, an operator stops it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StopCause {
    pub reason: DowntimeReason,
    pub detail: Option<String>,
}

impl Default for StopCause {
    fn default() -> Self {
        Self { reason: DowntimeReason::Stopped, detail: None }
    }
}

/// A downtime of a stream (delisted, removed) that ends when a run has the stream again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LastingDowntime {
    pub stream: String,
    pub from_ns: i64,
    pub reason: DowntimeReason,
}

impl RunJournal {
    /// The edge's name is a legal file name.
    pub fn open(data_dir: &Path, edge: &str) -> io::Result<Self> {
        let folder = data_dir.join(RUNS);
        fs::create_dir_all(&folder)?;
        Ok(Self { path: folder.join(format!("{edge}.json")) })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn read(&self) -> io::Result<Option<JournaledRun>> {
        match read_file(&self.path, RUN_JOURNAL_BYTES) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub fn remove(&self) -> io::Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// After a crash of the machine the file has the old or the new content.
    pub fn write(&self, run: &JournaledRun) -> io::Result<()> {
        replace_file(&self.path, &serde_json::to_vec(run)?)
    }
}

/// Consequences of the run before for the one that starts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Resumption {
    /// The run before was stopped cleanly, earlier than this one starts.
    pub after_clean_stop: bool,
    /// Streams of the run before whose exchanges are still configured.
    pub streams: BTreeSet<StreamId>,
    /// Messages of the run before, and the end of its downtime.
    pub unsent: Vec<UnsentMessage>,
    /// Downtimes of earlier runs that last.
    pub lasting: Vec<LastingDowntime>,
    /// Runs that were killed and whose audits are to be recovered from the journal, oldest first.
    pub killed: Vec<UnfinishedRun>,
}

impl Resumption {
    pub fn new(
        last: Option<JournaledRun>,
        origin: &AuditOrigin,
        is_configured: impl Fn(&StreamId) -> bool,
    ) -> Result<Self, AuditError> {
        let Some(JournaledRun { run_ns, stop, mut unsent, mut lasting, mut killed }) = last else {
            return Ok(Self::default());
        };
        let Some(CleanStop { at_ns, streams, cause }) = stop else {
            killed.push(UnfinishedRun { run_ns, next_ns: origin.run_ns });
            let most = killed.len().saturating_sub(KILLED_RUNS_MAX);
            killed.drain(..most);
            return Ok(Self { unsent, lasting, killed, ..Self::default() });
        };
        let all: Vec<StreamId> = streams.iter().filter_map(|text| StreamId::parse(text).ok()).collect();
        let (kept, removed): (BTreeSet<_>, Vec<_>) = {
            let (kept, removed): (Vec<_>, Vec<_>) = all.iter().cloned().partition(is_configured);
            (kept.into_iter().collect(), removed)
        };
        // The clock went back: how long the edge was down is unknown, so the downtime ends where it began.
        let to_ns = origin.run_ns.max(at_ns.saturating_add(1));
        lasting.extend(removed.iter().map(|stream| LastingDowntime {
            stream: stream.to_string(),
            from_ns: to_ns,
            reason: DowntimeReason::Removed,
        }));
        let StopCause { reason, detail } = cause;
        let stopped = Downtime { detail, ..origin.downtime(at_ns, Some(to_ns), reason, all) };
        let removed = origin.downtime(to_ns, None, DowntimeReason::Removed, removed);
        for downtime in [stopped, removed] {
            unsent.append(&mut encode_downtime(downtime)?);
        }
        Ok(Self { after_clean_stop: at_ns < origin.run_ns, streams: kept, unsent, lasting, killed })
    }
}

#[cfg(test)]
mod tests {
    use marketprism_schema::{AuditPayload, decode_audit_payload};

    use super::*;

    const STREAMS: [&str; 2] = ["trade.sim_spot.spot.A-B", "trade.sim_old.spot.C-D"];

    fn delisted() -> LastingDowntime {
        let stream = "trade.sim_spot.spot.GONE-B".to_owned();
        LastingDowntime { stream, from_ns: 3, reason: DowntimeReason::Delisted }
    }

    fn stopped(at_ns: i64) -> JournaledRun {
        let streams = STREAMS.map(str::to_owned).to_vec();
        let unsent = vec![UnsentMessage { id: "a".into(), payload: "{\"x\":\"y\"}".into() }];
        JournaledRun {
            run_ns: 5,
            stop: Some(CleanStop { at_ns, streams, cause: StopCause::default() }),
            unsent,
            lasting: vec![delisted()],
            killed: vec![UnfinishedRun { run_ns: 3, next_ns: 4 }],
        }
    }

    fn resume(last: Option<JournaledRun>, run_ns: i64) -> Resumption {
        let origin = AuditOrigin::fixture(run_ns);
        Resumption::new(last, &origin, |stream| stream.exchange == "sim_spot").unwrap()
    }

    fn downtimes(messages: &[UnsentMessage]) -> Vec<(i64, Option<i64>, DowntimeReason, usize)> {
        let read = |message: &UnsentMessage| match decode_audit_payload(message.payload.as_bytes()) {
            Ok(AuditPayload::Downtime(downtime)) => {
                Some((downtime.from, downtime.to, downtime.reason, downtime.streams.len()))
            }
            _ => None,
        };
        messages.iter().filter_map(read).collect()
    }

    #[test]
    fn a_journal_is_read_back_and_replaced_and_a_torn_one_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let journal = RunJournal::open(folder.path(), "e1").unwrap();
        assert_eq!(journal.read().unwrap(), None);
        journal.write(&stopped(9)).unwrap();
        assert_eq!(journal.read().unwrap(), Some(stopped(9)));
        journal.write(&JournaledRun::default()).unwrap();
        assert_eq!(journal.read().unwrap(), Some(JournaledRun::default()));
        let other = RunJournal::open(folder.path(), "e2").unwrap();
        assert_eq!(other.read().unwrap(), None, "a renamed edge is another one");
        fs::write(journal.path(), "{\"run_ns\":").unwrap();
        assert!(journal.read().is_err());
        journal.remove().unwrap();
        journal.remove().unwrap();
        assert_eq!(journal.read().unwrap(), None);
    }

    #[test]
    fn the_start_after_a_clean_stop_ends_the_downtime_and_reports_removed_streams() {
        let resumed = resume(Some(stopped(100)), 150);
        assert!(resumed.after_clean_stop && resumed.unsent[0].id == "a");
        assert_eq!(
            downtimes(&resumed.unsent),
            [(100, Some(150), DowntimeReason::Stopped, 2), (150, None, DowntimeReason::Removed, 1)]
        );
        assert_eq!(resumed.streams.len(), 1);
        let removed =
            LastingDowntime { stream: STREAMS[1].to_owned(), from_ns: 150, reason: DowntimeReason::Removed };
        assert_eq!(resumed.lasting, [delisted(), removed]);
    }

    #[test]
    fn a_kill_or_a_clock_that_went_back_is_no_known_downtime() {
        let killed = JournaledRun { stop: None, ..stopped(100) };
        let resumed = resume(Some(killed), 150);
        assert_eq!((resumed.after_clean_stop, resumed.unsent.len(), resumed.streams.len()), (false, 1, 0));
        assert_eq!(resumed.lasting, [delisted()], "known for longer than a run");
        let killed = [(3, 4), (5, 150)].map(|(run_ns, next_ns)| UnfinishedRun { run_ns, next_ns });
        assert_eq!(resumed.killed, killed, "their audits are still to be recovered");
        let back = resume(Some(stopped(100)), 60);
        assert!(!back.after_clean_stop);
        assert_eq!(downtimes(&back.unsent)[0], (100, Some(101), DowntimeReason::Stopped, 2));
        assert_eq!(resume(None, 60), Resumption::default());
    }
}
