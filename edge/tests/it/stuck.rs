//! A feed whose pipeline hangs, and a stop meanwhile.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use marketprism_adapter_host::fixtures::FixtureKind;
use marketprism_edge::audit::Auditor;
use marketprism_edge::feed::{
    EdgeContext, FeedPhase, FeedStatus, FrameObserver, PIPELINE, PipelineTimes, SourceMap,
};
use marketprism_edge::queue::DiscardQueue;
use marketprism_edge::telemetry::LossAtStop;
use marketprism_socket::SocketEvent;
use marketprism_tests::wait::eventually;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::configuration::{folder, good, read};
use crate::feeds::{adapter, run};
use crate::polling::serve;

/// Holds the threads of the first `blocked` pipelines at their first event, until it is released.
struct HoldingObserver {
    blocked: usize,
    held: AtomicUsize,
    passed: AtomicUsize,
    is_released: Mutex<bool>,
    released: Condvar,
}

impl HoldingObserver {
    fn new(blocked: usize) -> Arc<Self> {
        let (held, passed) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Arc::new(Self { blocked, held, passed, is_released: Mutex::new(false), released: Condvar::new() })
    }

    fn held(&self) -> usize {
        self.held.load(Ordering::Acquire).min(self.blocked)
    }

    fn release(&self) {
        *self.is_released.lock().unwrap() = true;
        self.released.notify_all();
    }
}

impl FrameObserver for HoldingObserver {
    fn answer(&self, _: &str, _: &bytes::Bytes, _: i64) {}

    fn event(&self, _: &SocketEvent, _: &SourceMap) {
        if self.held.fetch_add(1, Ordering::AcqRel) < self.blocked {
            let is_released = self.is_released.lock().unwrap();
            drop(self.released.wait_while(is_released, |is_released| !*is_released).unwrap());
        } else {
            self.passed.fetch_add(1, Ordering::AcqRel);
        }
    }
}

struct RunningFeed {
    edge: Arc<EdgeContext>,
    status: Arc<FeedStatus>,
    task: JoinHandle<()>,
    venue: JoinHandle<()>,
    _folder: tempfile::TempDir,
}

impl RunningFeed {
    async fn start(observer: &Arc<HoldingObserver>, times: PipelineTimes) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let folder = folder();
        let config = read(&good(folder.path()), folder.path(), &[]).unwrap();
        let edge =
            EdgeContext::new(&config, Arc::new(DiscardQueue::default()), Arc::new(Auditor::off())).unwrap();
        let edge = Arc::new(EdgeContext { pipeline_times: times, ..edge });
        let mut feed = config.feeds[0].clone();
        // The fixture's poll goes there.
        feed.endpoints.insert("ws".to_owned(), url.as_str().into());
        let adapter = adapter(FixtureKind::FollowUpForever);
        let (status, task) = run(&edge, &feed, adapter, Arc::clone(observer) as _);
        Self { edge, status, task, venue: tokio::spawn(serve(listener)), _folder: folder }
    }

    /// Returns the frames that nobody processed.
    async fn stop(self) -> u64 {
        self.edge.stop.cancel();
        tokio::time::timeout(Duration::from_secs(60), self.task)
            .await
            .expect("the stop waits for a pipeline")
            .unwrap();
        assert_eq!(self.status.phase(), FeedPhase::Stopped);
        self.venue.abort();
        self.edge.metrics.left_at_stop(LossAtStop::Unprocessed)
    }
}

fn times(checks: u32) -> PipelineTimes {
    let drain = Duration::from_millis(200);
    PipelineTimes { check_every: Duration::from_millis(100), checks, drain }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipeline_that_hangs_is_found_and_its_feed_collects_again_without_it() {
    let observer = HoldingObserver::new(1);
    // Longer than a busy machine needs for a turn.
    let feed = RunningFeed::start(&observer, times(20)).await;
    let restarts = feed.edge.metrics.stuck_restarts.with_label_values(&["sim_hostile", PIPELINE]);
    eventually("another pipeline collects", || async {
        observer.passed.load(Ordering::Acquire) > 0 && restarts.get() > 0
    })
    .await;
    assert!(feed.edge.hanging.count() > 0, "the thread is held still");
    observer.release();
    eventually("the thread has ended", || async { feed.edge.hanging.count() == 0 }).await;
    eventually("the feed runs", || async { feed.status.phase() == FeedPhase::Running }).await;
    feed.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_does_not_wait_for_a_pipeline_that_hangs() {
    let observer = HoldingObserver::new(1);
    let feed = RunningFeed::start(&observer, times(u32::MAX)).await;
    eventually("the pipeline is held", || async { observer.held() > 0 }).await;
    assert!(feed.stop().await > 0, "its frames are lost silently");
    observer.release();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn feeds_whose_pipelines_always_hang_do_not_pile_up_threads() {
    let observer = HoldingObserver::new(usize::MAX);
    let feed = RunningFeed::start(&observer, times(1)).await;
    eventually("the feed waits", || async {
        matches!(feed.status.phase(), FeedPhase::Starting(text) if text.contains("4 pipelines hang"))
    })
    .await;
    assert!(feed.edge.hanging.is_full());
    observer.release();
    eventually("the threads have ended", || async { feed.edge.hanging.count() == 0 }).await;
    feed.stop().await;
}
