//! Contracts with another size in the venue's newest list: what was collected by the earlier size is in the audits as a gap.

use std::sync::Arc;

use marketprism_adapter_host::contract::{Decimal, Instrument};
use marketprism_adapter_host::fixtures::{EXCHANGE, FixtureKind};
use marketprism_edge::audit::Auditor;
use marketprism_edge::config::CurrentAdapter;
use marketprism_edge::feed::{
    EdgeContext, FeedContext, FeedListing, FeedPhase, FeedRoster, FeedSetup, PartSet, PartStart, run_feed,
};
use marketprism_edge::queue::{DiscardQueue, QueueLane};
use marketprism_schema::{Capability, DataType, DataTypeMap, GapCause, GapKind, MarketType, StreamId};
use marketprism_service::clock;
use marketprism_tests::wait::eventually;
use tempfile::TempDir;
use tokio::sync::Mutex;

use crate::auditing::setup::{SECOND, origin};
use crate::configuration::{folder, good, read};
use crate::feeds::{adapter, supervisor};

/// A feed that collected by a list with a size of ten, which the fixture's own list does not have. It does not run.
struct CollectedFeed {
    edge: Arc<EdgeContext>,
    parts: PartSet,
    /// By the list before.
    instruments: Vec<Instrument>,
    /// Time of that list.
    listed_ns: i64,
    _folder: TempDir,
}

impl CollectedFeed {
    fn new() -> Self {
        let folder = folder();
        let config = read(&good(folder.path()), folder.path(), &[]).unwrap();
        let listed_ns = clock::now_ns();
        let auditor = Arc::new(Auditor::new(origin(listed_ns)));
        let edge = Arc::new(EdgeContext::new(&config, Arc::new(DiscardQueue::default()), auditor).unwrap());
        let adapter = adapter(FixtureKind::Echo);
        let mut instruments = supervisor(&adapter, Vec::new()).instruments().to_vec();
        instruments[0].contract_size = Some(Decimal { mantissa: 10, scale: 0 });
        let current = CurrentAdapter::from(adapter);
        let setup = FeedSetup::new(&edge, &config.feeds[0], &current, false).unwrap();
        let place = (edge.auditor.feed(EXCHANGE), QueueLane::default());
        let context = FeedContext::new(&edge, setup, place, current, None);
        let streams = DataTypeMap::from_fn(|kind| {
            let id = StreamId::new(kind, EXCHANGE, MarketType::Spot, &instruments[0].symbol).unwrap();
            // A rate is no quantity.
            matches!(kind, DataType::Trade | DataType::FundingRate).then_some((id, Capability::UNNUMBERED))
        });
        edge.auditor.subscribe(context.audit_feed, &[streams], listed_ns);
        context.parts.begin(0, &instruments, listed_ns);
        let parts = PartSet::new(context, Arc::new(FeedRoster::default()));
        Self { edge, parts, instruments, listed_ns, _folder: folder }
    }
}

/// Data type and begin of each gap by an earlier size.
fn doubtful(auditor: &Auditor) -> Vec<(DataType, i64)> {
    let audits = auditor.close(clock::now_ns() + 9 * SECOND, i64::MAX, 1_000);
    let mut found = Vec::new();
    for stream in audits.into_iter().flat_map(|audit| audit.streams) {
        let gaps = stream.gaps.iter();
        let doubts = gaps.filter(|gap| (gap.kind, gap.cause) == (GapKind::AdapterFault, GapCause::Venue));
        found.extend(doubts.map(|gap| (stream.id.data_type, gap.from)));
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_with_another_contract_size_leaves_a_gap_of_the_quantities_since_the_list_before() {
    let CollectedFeed { edge, mut parts, mut instruments, listed_ns, _folder } = CollectedFeed::new();
    instruments[0].contract_size = Some(Decimal { mantissa: 1, scale: 0 });
    let asked_ns = clock::now_ns();
    parts.apply(FeedListing { asked_ns, instruments, ..FeedListing::default() }).await;
    assert_eq!(doubtful(&edge.auditor), [(DataType::Trade, listed_ns)]);
    edge.stop.cancel();
}

/// A feed that failed reads the venue's list before it starts again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_feed_that_starts_again_by_a_list_with_another_contract_size_has_a_gap_since_the_list_before() {
    let CollectedFeed { edge, parts, listed_ns, _folder, .. } = CollectedFeed::new();
    let status = Arc::clone(&parts.first.status);
    let running = tokio::spawn(run_feed(Arc::new(Mutex::new(parts)), PartStart::Lists));
    eventually("the feed runs", || async { status.phase() == FeedPhase::Running }).await;
    edge.stop.cancel();
    running.await.unwrap();
    assert_eq!(doubtful(&edge.auditor), [(DataType::Trade, listed_ns)]);
}
