//! Promise: one process runs an edge. Another one, in the same folder or on another host, says who holds the name and ends before it publishes.

use async_nats::jetstream::{self, kv};
use marketprism_schema::{EDGE_LEASES_BUCKET, EdgeLease};
use marketprism_tests::broker::Broker;
use marketprism_tests::edge::{Edge, Feed};
use marketprism_tests::wait::{PATIENCE, eventually};

const NOT_STARTED: Option<i32> = Some(3);

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_of_an_edge_says_who_holds_the_name_and_ends() {
    let [folder, other] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let broker = Broker::start(folder.path()).await;
    let jetstream = jetstream::new(async_nats::connect(broker.url()).await.unwrap());
    let config = kv::Config { bucket: EDGE_LEASES_BUCKET.to_owned(), history: 1, ..kv::Config::default() };
    let names = jetstream.create_key_value(config).await.unwrap();
    let nats = format!("urls = [{:?}]\n", broker.url());
    // Nobody answers there.
    let feed = [Feed::simulated("binance_spot", "127.0.0.1:9", &["BTC-USDT"])];
    let mut first = Edge::start(folder.path(), &nats, &feed).await;
    let held = eventually("the edge holds its name", || async {
        let value = names.get("edge-test").await.map_err(|error| error.to_string())?;
        Ok(serde_json::from_slice::<EdgeLease>(&value.ok_or("no lease")?).unwrap())
    })
    .await;
    assert_eq!(held.pid, first.process().pid());

    // The same configuration again, in the same folder, but for its addresses.
    let config = folder.path().join("edge-test/edge.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    let mut beside = Edge::prepared(other.path(), &nats, &feed);
    let data_dir = |text: &str| text.lines().find(|line| line.starts_with("data_dir")).unwrap().to_owned();
    let path = beside.folder().join("edge.toml");
    let own = std::fs::read_to_string(&path).unwrap();
    let in_one_folder = own.replace(&data_dir(&own), &data_dir(&text));
    for (config, evidence) in [(&in_one_folder, "runs already in "), (&own, "runs already: ")] {
        std::fs::write(&path, config).unwrap();
        beside.start_without_waiting();
        let status = beside.process().ended(PATIENCE).await;
        let said = beside.process().output();
        assert_eq!(status.code(), NOT_STARTED, "{said}");
        let holder = format!("process {} on host {}, since 20", held.pid, held.host);
        assert!(
            said.contains(evidence) && said.contains(&holder) && said.contains("ALLOW_MULTIPLE=1"),
            "{said}"
        );
    }
    let mut beside = beside.with_variable("ALLOW_MULTIPLE", "1");
    beside.restart().await;
    assert!(first.process().is_running() && beside.process().is_running());

    assert!(first.process().terminate(PATIENCE).await.success());
    assert_eq!(names.get("edge-test").await.unwrap(), None, "a stop releases the name");
}
