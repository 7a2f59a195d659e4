//! Promise: whatever a NATS server refuses is reported with its cause and its remedy, in `init`, `run`, `diagnose` and at the edge.

use async_nats::jetstream;
use marketprism_schema::{BrokerUser, broker_authorization};
use marketprism_tests::broker::{Broker, free_port};
use marketprism_tests::central::{Central, Settings};
use marketprism_tests::edge::{Edge, Feed};
use marketprism_tests::process::contains_all;
use marketprism_tests::wait::eventually;

const USER: &str = "ann@desk:1";
const PASSWORD: &str = "p@s/s:w%rd#?+ü&=";
/// User and password as they stand in an address.
const ESCAPED: &str = "ann%40desk%3A1:p%40s%2Fs%3Aw%25rd%23%3F%2B%C3%BC%26%3D";

/// Central with a ClickHouse that nothing needs here.
fn central(folder: &std::path::Path, url: &str) -> Central {
    let hot = format!("http://127.0.0.1:{}", free_port());
    Central::prepared(folder, &Settings::plain(&format!("urls = [{url:?}]"), &hot))
}

fn with_login(broker: &Broker, login: &str) -> String {
    broker.url().replace("nats://", &format!("nats://{login}@"))
}

/// Error of an `init` that fails.
async fn refused_init(central: &Central) -> String {
    let (status, _, error) = central.ask(&["init"]).await;
    assert_eq!(status, Some(1), "{error}");
    error
}

async fn diagnosis(central: &Central) -> String {
    let (_, found, error) = central.ask(&["diagnose"]).await;
    assert!(!found.is_empty(), "{error}");
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_with_special_characters_is_decoded_and_a_refused_one_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let login = format!("authorization {{ user: {USER:?}, password: {PASSWORD:?} }}");
    let broker = Broker::with_settings(folder.path(), &login).await;
    // The streams are made before ClickHouse is asked.
    let error = refused_init(&central(folder.path(), &with_login(&broker, ESCAPED))).await;
    assert!(error.contains("clickhouse unreachable"), "{error}");
    let feeds = [Feed::simulated("binance_spot", "127.0.0.1:9", &["BTC-USDT"])];
    let edge =
        Edge::start(folder.path(), &format!("urls = [{:?}]", with_login(&broker, ESCAPED)), &feeds).await;
    eventually("the edge is connected", || async {
        let text = edge.get("/health").await.unwrap_or_else(|refused| refused);
        if text.contains("nats is not connected") { Err(text) } else { Ok(()) }
    })
    .await;
    drop(edge);

    let wrong = with_login(&broker, "ann%40desk%3A1:wrong");
    let refused = central(folder.path(), &wrong);
    let reason = "the server refused user \"ann@desk:1\"";
    for said in [refused_init(&refused).await, diagnosis(&refused).await] {
        assert!(said.contains(reason) && !said.contains("wrong"), "{said}");
    }
    let edge = Edge::start(folder.path(), &format!("urls = [{wrong:?}]"), &feeds).await;
    eventually("the edge reports the refusal", || async {
        let text = edge.get("/health").await.unwrap_or_else(|refused| refused);
        if text.contains("the server refused user") { Ok(()) } else { Err(text) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_holds_the_subjects_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(folder.path()).await;
    let context = jetstream::new(async_nats::connect(broker.url()).await.unwrap());
    let foreign = jetstream::stream::Config {
        name: "OLD_TRADES".to_owned(),
        subjects: vec!["trade.>".to_owned()],
        ..Default::default()
    };
    context.create_stream(foreign).await.unwrap();
    let mut central = central(folder.path(), &broker.url());
    let reason = ["stream OLD_TRADES takes it already", "nats stream rm OLD_TRADES"];
    contains_all(&refused_init(&central).await, &reason);
    contains_all(&diagnosis(&central).await, &reason);
    central.start_without_waiting();
    eventually("run names the stream", || async {
        let text =
            marketprism_tests::central::get(central.url("/ready")).await.unwrap_or_else(|refused| refused);
        if reason.iter().all(|part| text.contains(part)) { Ok(()) } else { Err(text) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_without_jetstream_room_or_permission_says_so() {
    const NO_ROOM: &str = "the broker has no room for stream";
    const NOT_PERMITTED: &str = "nats refuses user \"a\" a subject: Permissions Violation";
    let folder = tempfile::tempdir().unwrap();
    let mut broker = Broker::start(folder.path()).await;
    let login =
        |limits: &str| format!("accounts {{ A {{ {limits} users: [ {{ user: a, password: b }} ] }} }}");
    let store = folder.path().join("small");
    let small = format!("jetstream {{ store_dir: {store:?}, max_file_store: 1MB }}");
    let edge_user = broker_authorization(&[BrokerUser::edge("a", &["binance_spot"], "b")]);
    for (settings, user, reason) in [
        ("jetstream: false".to_owned(), "", "JetStream is off at the nats server"),
        (login(""), "a:b", "JetStream is off for this user's account"),
        (login("jetstream: { max_file: 1MB },"), "a:b", "the broker's account may store"),
        (small, "", NO_ROOM),
        (edge_user, "a:b", NOT_PERMITTED),
    ] {
        broker.set_settings(&settings);
        broker.restart().await;
        let url = if user.is_empty() { broker.url() } else { with_login(&broker, user) };
        let central = central(folder.path(), &url);
        let mut told = vec![refused_init(&central).await];
        // Only an attempt shows how much the server itself may store; what is not permitted is not answered, which takes its time.
        if ![NO_ROOM, NOT_PERMITTED].contains(&reason) {
            told.push(diagnosis(&central).await);
        }
        for said in told {
            // ClickHouse is unreachable too, and reported behind the broker.
            let of_broker = said.split("clickhouse hot").next().unwrap();
            let is_blamed = of_broker.contains("check that it runs");
            assert!(of_broker.contains(reason) && !is_blamed, "{settings}: {said}");
        }
    }
}
