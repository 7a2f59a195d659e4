//! Content of the edge's heartbeat: that of `/health`, `/adapters` and the journal.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use marketprism_schema::{
    AdapterState, EDGE_HEARTBEAT_VERSION, EdgeDisk, EdgeHeartbeat, EdgeRunState, FeedHeartbeat, FeedRunState,
    HEARTBEAT_SWAPS_MAX, JournalHeartbeat, RunningAdapter,
};
use marketprism_service::{DiskSpace, ProcessUsage, clock};

use super::pages::{Health, health_state};
use super::state::EdgeState;
use crate::feed::FeedPhase;
use crate::swap::{SwapOutcome, SwapRecord, SwapStep};

/// The heartbeat of now.
pub fn heartbeat(state: &EdgeState, life: EdgeRunState) -> EdgeHeartbeat {
    let Health { word, mut reasons, degraded, .. } = health_state(state);
    reasons.extend(degraded);
    let history = state.swaps.history();
    let newest = history.len().saturating_sub(HEARTBEAT_SWAPS_MAX);
    let journal = state.context.journal.as_ref().map(|journal| {
        let status = journal.status();
        let (bytes, waiting) = (status.bytes, status.waiting);
        JournalHeartbeat { bytes, waiting, oldest: status.oldest_ns, problem: status.failing }
    });
    EdgeHeartbeat {
        version: EDGE_HEARTBEAT_VERSION,
        edge: state.context.name.clone(),
        region: state.context.region.clone(),
        program_version: env!("CARGO_PKG_VERSION").to_owned(),
        host: state.host.clone(),
        started: state.started_ns,
        state: life,
        status: word.to_owned(),
        reasons,
        adapters: adapters(state, history.last()),
        swaps: history.iter().skip(newest).map(SwapRecord::reported).collect(),
        followed: state.swaps.followed(),
        feeds: feeds(state),
        data_dir: state.context.data_dir.display().to_string(),
        disk: disk(&state.context.data_dir),
        journal,
        clock: state.context.clocks.heartbeat(),
        resident_bytes: ProcessUsage::now().ok().map(|usage| usage.resident_bytes),
    }
}

fn disk(data_dir: &Path) -> Option<EdgeDisk> {
    let DiskSpace { free_bytes, total_bytes } = DiskSpace::of(data_dir).ok()?;
    Some(EdgeDisk { free_bytes, total_bytes })
}

/// Every version that gets frames. `newest`: the change that runs, if one does.
fn adapters(state: &EdgeState, newest: Option<&SwapRecord>) -> Vec<RunningAdapter> {
    let running = newest.filter(|record| record.outcome == SwapOutcome::Running);
    let is_switched = |record: &SwapRecord| matches!(record.step, SwapStep::Switch | SwapStep::Probation);
    let (mut adapters, mut shadowed) = (BTreeMap::<(String, String), RunningAdapter>::new(), BTreeSet::new());
    for feed in state.feeds.list() {
        let version = feed.adapter();
        let (name, digest) = (version.description().name.clone(), version.digest().to_owned());
        if running.is_some_and(|record| record.adapter.as_ref() == Some(&name)) {
            shadowed.insert(feed.exchange.clone());
        }
        let is_on_trial = running.is_some_and(|record| record.digest == digest && is_switched(record));
        let adapter = adapters.entry((name.clone(), digest.clone())).or_insert_with(|| RunningAdapter {
            adapter: name,
            version: version.description().version.clone(),
            digest,
            state: if is_on_trial { AdapterState::Probation } else { AdapterState::Active },
            exchanges: Vec::new(),
        });
        if !adapter.exchanges.contains(&feed.exchange) {
            adapter.exchanges.push(feed.exchange.clone());
        }
    }
    let shadow = running.filter(|record| record.step == SwapStep::Shadow).and_then(|record| {
        let (adapter, id) = (record.adapter.clone()?, record.to.as_ref()?);
        Some(RunningAdapter {
            version: version_of(id).to_owned(),
            adapter,
            digest: record.digest.clone(),
            state: AdapterState::Shadow,
            exchanges: shadowed.into_iter().collect(),
        })
    });
    adapters.into_values().chain(shadow).collect()
}

/// Version in an id such as `name@1.0.0+1a2b3c`.
fn version_of(id: &str) -> &str {
    let version = id.split_once('@').map_or(id, |(_, version)| version);
    version.rsplit_once('+').map_or(version, |(version, _)| version)
}

fn feeds(state: &EdgeState) -> Vec<FeedHeartbeat> {
    let rows = state.context.coverage.rows(clock::now_ns());
    let mut feeds: BTreeMap<String, FeedHeartbeat> = BTreeMap::new();
    for feed in state.feeds.list() {
        let of_exchange = feeds.entry(feed.exchange.clone()).or_insert_with(|| {
            let times = rows.iter().filter(|row| row.exchange == feed.exchange);
            FeedHeartbeat {
                exchange: feed.exchange.clone(),
                state: FeedRunState::Running,
                reason: None,
                instruments: 0,
                streams: state.context.auditor.subscribed_streams(&feed.exchange),
                newest_event: times.filter_map(|row| row.last_success_ns).max(),
            }
        });
        let collected = feed.instruments().iter().filter(|one| one.ended.is_none()).count();
        of_exchange.instruments += u64::try_from(collected).unwrap_or_default();
        match feed.phase() {
            FeedPhase::Running => {}
            FeedPhase::Starting(reason) => {
                (of_exchange.state, of_exchange.reason) = (FeedRunState::Starting, Some(reason));
            }
            FeedPhase::Stopped if of_exchange.state == FeedRunState::Running => {
                of_exchange.state = FeedRunState::Stopped;
            }
            FeedPhase::Stopped => {}
        }
    }
    feeds.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_an_id_has_neither_name_nor_digest() {
        assert_eq!(
            ["sim@1.0.0+1a2b3c", "sim@1.0.0-a+b+1a2b3c", "?"].map(version_of),
            ["1.0.0", "1.0.0-a+b", "?"]
        );
    }
}
