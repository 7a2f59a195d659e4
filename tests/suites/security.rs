//! Promise: the edge publishes over TLS with a client certificate, logs the reason when the broker refuses it, and follows renewed certificates.

use std::path::Path;

use marketprism_tests::broker::Broker;
use marketprism_tests::central::Central;
use marketprism_tests::edge::{Edge, Feed};
use marketprism_tests::laid_out;
use marketprism_tests::wait::eventually;
use marketprism_venue_sim::{Sim, SimConfig};

use crate::certificates::certificates;

fn nats_table(broker: &Broker, folder: &Path, with_certificate: bool) -> String {
    let path = |name: &str| folder.join(name).display().to_string();
    let mut text = format!(
        "urls = [\"tls://localhost:{}\"]\ntls_required = true\nca_file = {:?}\nuser = \"edge\"\npassword_file = {:?}\n",
        broker.port(),
        path("ca.pem"),
        path("password"),
    );
    if with_certificate {
        text += &format!(
            "client_cert_file = {:?}\nclient_key_file = {:?}\n",
            path("client.pem"),
            path("client.key")
        );
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn the_broker_accepts_an_edge_only_with_certificate_and_password() {
    let folder = tempfile::tempdir().unwrap();
    certificates(folder.path(), &["localhost", "127.0.0.1"]);
    std::fs::write(folder.path().join("password"), "correct horse\n").unwrap();
    let settings = format!(
        "tls {{ cert_file: {:?}, key_file: {:?}, ca_file: {:?}, verify: true }}\nauthorization {{ user: edge, password: \"correct horse\" }}",
        folder.path().join("server.pem"),
        folder.path().join("server.key"),
        folder.path().join("ca.pem"),
    );
    let mut broker = Broker::with_settings(folder.path(), &settings).await;
    let clickhouse = laid_out::engine(folder.path()).await;
    let nats = nats_table(&broker, folder.path(), true);
    let _central = Central::with_nats(folder.path(), &nats, &clickhouse.url()).await;
    let sim =
        Sim::start(SimConfig { symbols: vec!["BTCUSDT".to_owned()], ..SimConfig::default() }).await.unwrap();
    let feed = Feed::simulated("binance_spot", &sim.addr().to_string(), &["BTC-USDT"]);

    let refused_folder = folder.path().join("refused");
    std::fs::create_dir_all(&refused_folder).unwrap();
    let nats_without_certificate = nats_table(&broker, folder.path(), false);
    let mut refused =
        Edge::start(&refused_folder, &nats_without_certificate, std::slice::from_ref(&feed)).await;
    let log = eventually("the edge is refused", || {
        let output = refused.process().output();
        async move { if output.to_lowercase().contains("certificate") { Ok(output) } else { Err(output) } }
    })
    .await;
    assert!(!log.contains("correct horse"), "the password shows in the log");
    assert!(refused.get("/ready").await.is_err(), "an edge without a broker reports ready");
    let rows = "SELECT count() FROM marketprism_hot.trades";
    assert_eq!(clickhouse.number(rows).await.unwrap(), 0);
    drop(refused);

    let _edge = Edge::start(folder.path(), &nats, &[feed]).await;
    clickhouse.reaches(rows, 51).await;

    // A new authority and new certificates of all: edge and central read their files again when they connect again.
    certificates(folder.path(), &["localhost", "127.0.0.1"]);
    broker.restart().await;
    let before = clickhouse.number(rows).await.unwrap();
    clickhouse.reaches(rows, before + 51).await;
}
