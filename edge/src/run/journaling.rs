//! The journals of a run, of its events and of its audits: their start from what the run before left, and their end.

use std::sync::Arc;

use anyhow::Context as _;
use marketprism_schema::StreamId;
use marketprism_service::{Exit, Failure, FailureContext as _, clock};
use tokio::time::timeout;

use super::settings::queue_limits;
use super::tasks::JournaledStart;
use crate::audit::{Auditor, JournaledRun, Resumption, RunJournal};
use crate::config::Config;
use crate::feed::EdgeContext;
use crate::journal::{DiskFiles, Journal, JournalOptions};
use crate::limits::{JOURNAL_CLOSE, JOURNAL_END};
use crate::queue::MemoryQueue;

pub(super) fn queue(config: &Config, auditor: &Arc<Auditor>, journal: Option<&Arc<Journal>>) -> MemoryQueue {
    let [limits, catch_up] = queue_limits(&config.publisher);
    let queue = MemoryQueue::new(limits, Arc::clone(auditor));
    match journal {
        Some(journal) => queue.with_journal(Arc::clone(journal) as _, catch_up),
        None => queue,
    }
}

pub(super) fn open_journal(config: &Config, auditor: &Arc<Auditor>) -> Result<Option<Arc<Journal>>, Failure> {
    if !config.journal.enabled {
        return Ok(None);
    }
    let options = JournalOptions {
        folder: config.journal_dir(),
        run_ns: auditor.origin().map_or_else(clock::now_ns, |origin| origin.run_ns),
        bytes: config.journal.max_bytes,
        age: config.journal.max_age,
        keep_confirmed: config.journal.keep_confirmed,
        sync_every: config.journal.sync_interval,
    };
    let journal = Journal::open(options, Arc::new(DiskFiles), Arc::clone(auditor));
    Ok(Some(Arc::new(journal.or_exit(Exit::NOT_STARTED)?)))
}

pub(super) fn start_journal(
    journal: Option<&Arc<Journal>>,
    queue: &Arc<MemoryQueue>,
    start: Option<&JournaledStart>,
) -> anyhow::Result<()> {
    let Some(journal) = journal else { return Ok(()) };
    let killed = start.map(|start| start.run.killed.clone()).unwrap_or_default();
    journal.start(Arc::clone(queue), killed).context("the threads of the journal cannot start")
}

/// Before the last audits.
pub(super) async fn end_journaled_run(context: &EdgeContext) {
    let Some(journal) = context.journal.clone() else { return };
    let ended = tokio::task::spawn_blocking(move || journal.end_run(JOURNAL_END)).await;
    if !matches!(ended, Ok(true)) {
        tracing::warn!(limit = ?JOURNAL_END, "not all events on disk were read for the last audits: their windows cannot be verified");
    }
}

/// After everything that writes into it.
/// False: events may be lost.
pub(super) async fn close_journal(context: &EdgeContext, kept: u64) -> bool {
    let Some(journal) = context.journal.clone() else { return true };
    let waiting = kept + journal.status().waiting;
    if waiting > 0 {
        tracing::warn!(waiting, "events wait in the journal: the next start sends them");
    }
    let closed = tokio::task::spawn_blocking(move || journal.close(JOURNAL_CLOSE)).await;
    let is_closed = matches!(closed, Ok(true));
    if !is_closed {
        tracing::error!(limit = ?JOURNAL_CLOSE, "journal not closed: its disk does not answer, its newest events may be lost");
    }
    is_closed
}

/// After the pipelines: blocked budgets, and positions of trades. Those after lost events would hide their trades from the next run.
pub(super) async fn save_for_next_run(context: &EdgeContext, is_kept: bool) {
    if !context.budgets.written(JOURNAL_CLOSE).await {
        tracing::warn!(limit = ?JOURNAL_CLOSE, "blocked budgets not written: the next start asks the venues at once");
    }
    if !is_kept {
        return;
    }
    let positions = Arc::clone(&context.positions);
    let saved = tokio::task::spawn_blocking(move || positions.save_newest());
    let saved = timeout(JOURNAL_CLOSE, saved).await;
    if !matches!(saved, Ok(Ok(Ok(())))) {
        tracing::warn!(?saved, "trade positions not written: trades until the next start may not be filled");
    }
}

/// Takes over from the run before: its stop encloses the time until this start, and its unsent messages are sent. From here on the
/// journal says that this run was killed, until it is stopped.
pub(super) fn resume(config: &Config, auditor: &Auditor) -> anyhow::Result<Option<JournaledStart>> {
    let Some(origin) = auditor.origin() else { return Ok(None) };
    let journal = RunJournal::open(&config.data_dir, &config.name)
        .with_context(|| format!("no folder for the journal of runs in {}", config.data_dir.display()))?;
    let path = journal.path();
    let last = journal.read().unwrap_or_else(|error| {
        tracing::error!(%error, ?path, "journal of the last run not readable: the time since its stop cannot be verified");
        None
    });
    let is_configured = |stream: &StreamId| config.has_exchange(stream);
    let resumption = Resumption::new(last, origin, is_configured)?;
    auditor.resume(&resumption, |stream| config.selects(stream));
    let Resumption { unsent, lasting, mut killed, .. } = resumption;
    if !config.journal.enabled {
        killed.clear();
    }
    let run = JournaledRun { run_ns: origin.run_ns, stop: None, unsent, lasting, killed };
    if let Err(error) = journal.write(&run) {
        // A full disk does not keep the edge from collecting; but the stop of the run before must not be taken for one of this run.
        tracing::error!(%error, ?path, "journal of the run not written: a message that the broker does not store before a kill is lost");
        journal.remove().with_context(|| format!("cannot replace or remove {}", path.display()))?;
    }
    Ok(Some(JournaledStart { journal, run }))
}
