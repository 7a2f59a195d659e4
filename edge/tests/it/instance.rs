//! Leases of edge names at a real broker.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::{self, kv};
use marketprism_config::Nats;
use marketprism_edge::broker::{BrokerLink, connect};
use marketprism_edge::instance::{LeaseTimes, NameLease};
use marketprism_schema::{EDGE_LEASES_BUCKET, EdgeLease};
use marketprism_tests::broker::Broker;
use marketprism_tests::wait::eventually;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A process of some host that runs the edge `e1`.
struct Host {
    client: async_nats::Client,
    link: Arc<BrokerLink>,
    own: EdgeLease,
    stop: CancellationToken,
    task: JoinHandle<Option<EdgeLease>>,
}

impl Host {
    async fn start(broker: &Broker, host: &str, times: LeaseTimes) -> Self {
        let data_id = format!("folder of {host}");
        let own = EdgeLease { edge: "e1".into(), host: host.to_owned(), pid: 7, data_id, since: 5 };
        Self::start_as(broker, own, times).await
    }

    async fn start_as(broker: &Broker, own: EdgeLease, times: LeaseTimes) -> Self {
        Self::remembering(broker, own, times, None).await
    }

    async fn remembering(broker: &Broker, own: EdgeLease, times: LeaseTimes, memory: Option<&Path>) -> Self {
        let nats = Nats { urls: vec![broker.url().as_str().into()], ..Nats::default() };
        let (client, link) = connect(&nats, &own.host).await.unwrap();
        let stop = CancellationToken::new();
        let mut lease = NameLease::new(client.clone(), Arc::clone(&link), own.clone(), times);
        if let Some(path) = memory {
            lease = lease.remembered_in(path);
        }
        let task = tokio::spawn(lease.hold(stop.clone()));
        Self { client, link, own, stop, task }
    }

    /// A broker with the bucket of leases, and a host that holds the name.
    async fn alone(expiry: Duration) -> (TempDir, Broker, Self) {
        let folder = tempfile::tempdir().unwrap();
        let broker = Broker::start(folder.path()).await;
        bucket(&broker).await;
        let first = Self::start(&broker, "first", times(expiry)).await;
        first.publishes().await;
        (folder, broker, first)
    }

    async fn publishes(&self) {
        eventually("the name is free", || async { self.link.may_publish() }).await;
    }

    /// Returns the process that holds the name.
    async fn gives_way(self) -> EdgeLease {
        let twin = tokio::time::timeout(Duration::from_secs(60), self.task).await.unwrap().unwrap();
        assert!(!self.link.may_publish(), "it published in parallel with the holder");
        twin.expect("nobody else holds the name")
    }

    async fn release(self) {
        self.stop.cancel();
        assert_eq!(self.task.await.unwrap(), None);
        NameLease::release(&self.client, &self.link, &self.own).await;
    }
}

const NEVER: Duration = Duration::from_secs(3_600);

fn times(expiry: Duration) -> LeaseTimes {
    LeaseTimes { every: Duration::from_millis(50), expiry }
}

async fn bucket(broker: &Broker) {
    let client = async_nats::connect(broker.url()).await.unwrap();
    let config = kv::Config { bucket: EDGE_LEASES_BUCKET.to_owned(), history: 1, ..kv::Config::default() };
    jetstream::new(client).create_key_value(config).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_host_gives_way_to_one_that_lives_and_follows_one_that_stopped_or_died() {
    let (_folder, broker, first) = Host::alone(NEVER).await;
    let twin = Host::start(&broker, "second", times(NEVER)).await.gives_way().await;
    assert_eq!(twin, first.own);
    first.release().await;

    let second = Host::start(&broker, "second", times(NEVER)).await;
    second.publishes().await;
    second.task.abort();
    let third = Host::start(&broker, "third", times(Duration::from_millis(200))).await;
    third.publishes().await;
    let again = Host::start(&broker, "second", times(NEVER)).await.gives_way().await;
    assert_eq!(again.host, "third");
    third.release().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_that_comes_back_and_finds_another_one_gives_way() {
    let (_folder, _broker, first) = Host::alone(NEVER).await;
    // Taken over while the first one was suspended, for example.
    let other = EdgeLease { host: "second".to_owned(), data_id: "another".to_owned(), ..first.own.clone() };
    let store = jetstream::new(first.client.clone()).get_key_value(EDGE_LEASES_BUCKET).await.unwrap();
    let stop = CancellationToken::new();
    let lease = serde_json::to_vec(&other).unwrap();
    let written = tokio::spawn({
        let stop = stop.clone();
        async move {
            while !stop.is_cancelled() {
                store.put("e1", lease.clone().into()).await.unwrap();
            }
        }
    });
    assert_eq!(first.gives_way().await, other);
    stop.cancel();
    written.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_outlives_the_lease_of_a_dead_process_that_a_restored_broker_shows() {
    let (_folder, _broker, first) = Host::alone(Duration::from_millis(200)).await;
    let store = jetstream::new(first.client.clone()).get_key_value(EDGE_LEASES_BUCKET).await.unwrap();
    let dead = EdgeLease { host: "dead".to_owned(), data_id: "another".to_owned(), ..first.own.clone() };
    store.put("e1", serde_json::to_vec(&dead).unwrap().into()).await.unwrap();
    eventually("the holder writes its lease again", || async {
        let lease = store.get("e1").await.ok()??;
        (serde_json::from_slice::<EdgeLease>(&lease).unwrap() == first.own).then_some(())
    })
    .await;
    first.publishes().await;
    first.release().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_lost_the_last_lease_is_known_to_have_gone_back() {
    let (folder, mut broker, host) = Host::alone(NEVER).await;
    let store = jetstream::new(host.client.clone()).get_key_value(EDGE_LEASES_BUCKET).await.unwrap();
    let revision = async || store.entry("e1").await.ok()?.map(|entry| entry.revision);
    let writes = async |more: u64| {
        let before = eventually("the lease", &revision).await;
        eventually("later leases", async || revision().await.filter(|after| *after > before + more)).await
    };
    writes(0).await;
    broker.kill();
    broker.copy_store(&folder.path().join("copy"));
    broker.restart().await;
    writes(2).await;
    assert_eq!(host.link.take_loss(), None, "a restart loses nothing");
    broker.kill();
    broker.restore_store(&folder.path().join("copy"));
    broker.restart().await;
    eventually("the loss is known", async || host.link.take_loss()).await;
    writes(2).await;
    assert_eq!(host.link.take_loss(), None, "it is reported once");
    host.release().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_put_back_while_the_edge_was_down_is_known_to_have_gone_back() {
    let folder = tempfile::tempdir().unwrap();
    let (copy, memory) = (folder.path().join("copy"), folder.path().join("e1.lease"));
    let mut broker = Broker::start(folder.path()).await;
    bucket(&broker).await;
    broker.kill();
    broker.copy_store(&copy);
    broker.restart().await;
    let own = EdgeLease { edge: "e1".into(), host: "first".into(), pid: 7, data_id: "id".into(), since: 5 };
    let start =
        async |broker: &Broker| Host::remembering(broker, own.clone(), times(NEVER), Some(&memory)).await;
    let sequence =
        async || std::fs::read_to_string(&memory).ok()?.parse::<u64>().ok().filter(|known| *known > 2);
    let run = start(&broker).await;
    let known = eventually("a few leases", sequence).await;
    run.release().await;
    let after_restart = start(&broker).await;
    eventually("a later lease", async || sequence().await.filter(|now| *now > known + 1)).await;
    assert_eq!(after_restart.link.take_loss(), None, "a restart of the edge loses nothing");
    after_restart.task.abort();

    broker.kill();
    broker.restore_store(&copy);
    broker.restart().await;
    let run = start(&broker).await;
    eventually("the loss is known", async || run.link.take_loss()).await;
    run.release().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_processes_with_copies_of_one_folder_one_gives_way() {
    let (_folder, broker, first) = Host::alone(NEVER).await;
    let copied = EdgeLease { host: "second".to_owned(), since: 9, ..first.own.clone() };
    let holder = first.own.clone();
    assert_eq!(Host::start_as(&broker, copied, times(NEVER)).await.gives_way().await, holder);
    // A cloned machine has the name of the host too, as a process that starts again in the folder of a killed one.
    let cloned = EdgeLease { since: 9, ..holder };
    let cloned = Host::start_as(&broker, cloned, times(NEVER)).await;
    assert_eq!(first.gives_way().await, cloned.own);
    cloned.publishes().await;
    cloned.release().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_bucket_or_broker_the_edge_runs_and_the_name_is_taken_later() {
    let folder = tempfile::tempdir().unwrap();
    let mut broker = Broker::start(folder.path()).await;
    broker.kill();
    let host = Host::start(&broker, "first", times(NEVER)).await;
    assert!(!host.link.may_publish());
    broker.restart().await;
    host.publishes().await;
    bucket(&broker).await;
    let mut host = host;
    let mut second = Host::start(&broker, "second", times(NEVER)).await;
    // The first one may not have written yet: then it gives way.
    let gave_way = tokio::select! {
        twin = &mut host.task => twin,
        twin = &mut second.task => twin,
        () = tokio::time::sleep(Duration::from_secs(60)) => panic!("both run"),
    };
    assert!(gave_way.unwrap().is_some());
}
