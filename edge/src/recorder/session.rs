//! A recording from its start to its end.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use marketprism_service::Signals;
use tokio::time::{interval, sleep};

use super::observer::Recorder;
use crate::audit::Auditor;
use crate::config::{Adapters, Config};
use crate::feed::FrameObserver;
use crate::limits::RECORDING_FLUSH;
use crate::queue::DiscardQueue;
use crate::run::EdgeContext;

/// Length of a recording without a limit: a century.
const NO_LIMIT: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Records every feed to `dir` until a signal, or for `limit`. Feeds run as in `run`, adapters and books included, so that snapshots
/// are requested when they are needed.
pub async fn record(
    config: Config,
    adapters: &Adapters,
    dir: &Path,
    limit: Option<Duration>,
) -> anyhow::Result<()> {
    let mut signals = Signals::new().context("signals cannot be received")?;
    std::fs::create_dir_all(dir).with_context(|| format!("folder {}", dir.display()))?;
    let context = EdgeContext::new(&config, Arc::new(DiscardQueue::default()), Arc::new(Auditor::off()))?;
    let recorders: Vec<Arc<Recorder>> =
        config.feeds.iter().map(|feed| Arc::new(Recorder::new(dir, &feed.exchange))).collect();
    let mut feeds = context.start_feeds(&config, adapters, |index| {
        recorders.get(index).map(|recorder| Arc::clone(recorder) as Arc<dyn FrameObserver>)
    })?;
    let end = sleep(limit.unwrap_or(NO_LIMIT));
    tokio::pin!(end);
    let mut flush = interval(RECORDING_FLUSH);
    let mut written = Ok(());
    while written.is_ok() {
        tokio::select! {
            () = signals.next() => break,
            () = &mut end => break,
            _ = flush.tick() => written = flush_all(&recorders),
        }
    }
    context.stop.cancel();
    tokio::select! {
        () = feeds.join() => {}
        () = signals.next() => tracing::warn!("second signal: the last frames may be missing in the recording"),
    }
    let last = flush_all(&recorders);
    let skipped: u64 = recorders.iter().map(|recorder| recorder.skipped()).sum();
    if skipped > 0 {
        tracing::warn!(skipped, "frames that are not UTF-8 text are not in the recording");
    }
    written.and(last)
}

fn flush_all(recorders: &[Arc<Recorder>]) -> anyhow::Result<()> {
    for recorder in recorders {
        recorder.flush().context("the recording cannot be written")?;
    }
    Ok(())
}
