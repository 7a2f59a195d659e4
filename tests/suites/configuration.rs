//! Promise: a wrong configuration is refused before anything starts, with all errors in one message.

use std::process::Command;

use marketprism_tests::edge::{Edge, Feed, check};
use marketprism_tests::parts;

#[test]
fn all_errors_of_an_edge_configuration_are_reported_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("edge.toml");
    let text = format!(
        r#"[edge]
name = "Edge One"
region = 7
data_dir = {data:?}
[nats]
urls = ["nats://127.0.0.1:4222"]
ca_file = "no/such/ca.pem"
[publisher]
max_in_flight_messages = 0
[sandbox]
call_deadline = 5
[[feed]]
exchange = "binance_spot"
adapter = "no/such/adapter.wasm"
symbols = ["BTC-USDT"]
data_types = ["trade"]
[[feed]]
exchange = "binance_spot"
adapter = {adapter:?}
symbols = ["BTC-USDT"]
data_types = ["trade", "trades", "volatility_index"]
depth = "deep"
"#,
        data = folder.path().join("data"),
        adapter = parts::adapter("binance"),
    );
    std::fs::write(&path, text).unwrap();
    let (passes, message) = check(&path);
    assert!(!passes, "{message}");
    for expected in [
        "edge.name",
        "Edge One",
        "edge.region",
        "nats.ca_file",
        "no/such/ca.pem",
        "publisher.max_in_flight_messages",
        "sandbox.call_deadline",
        "feed[0].adapter",
        "no/such/adapter.wasm",
        "feed[1].data_types",
        "\"trades\"",
        "volatility_index",
        "feed[1].depth",
        "\"deep\"",
    ] {
        assert!(message.contains(expected), "{expected} is not reported:\n{message}");
    }
}

#[test]
fn a_valid_configuration_passes_without_network() {
    let folder = tempfile::tempdir().unwrap();
    let feed = Feed::simulated("binance_spot", "127.0.0.1:9", &["BTC-USDT"]);
    let edge = Edge::prepared(folder.path(), "urls = [\"nats://127.0.0.1:9\"]", &[feed]);
    let (passes, message) = edge.check();
    assert!(passes, "{message}");
}

#[test]
fn all_errors_of_a_central_configuration_are_reported_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("central.toml");
    let text = "[nats]\nurls = \"nats://127.0.0.1:4222\"\n[clickhouse]\nurl = \"no address\"\nhot_ttl_days = 0\n[batch]\ntrade = 1\n";
    std::fs::write(&path, text).unwrap();
    let mut command = Command::new(parts::binary("marketprism-central"));
    let output = command
        .arg("init")
        .arg("--config")
        .arg(&path)
        .env("MARKETPRISM_HTTP__LISTEN", "nowhere")
        .output()
        .unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success(), "{message}");
    for expected in [
        "nats.urls",
        "clickhouse.url",
        "clickhouse.hot_ttl_days",
        "batch.trade",
        "MARKETPRISM_HTTP__LISTEN",
        "nowhere",
    ] {
        assert!(message.contains(expected), "{expected} is not reported:\n{message}");
    }
}
