//! Brokers with `handshake_first`, which say nothing before TLS.

use marketprism_config::Nats;
use marketprism_edge::broker::connect;
use marketprism_tests::broker::Broker;
use marketprism_tests::wait::eventually;

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_wants_tls_first_is_used_with_the_key_and_named_without_it() {
    let folder = tempfile::tempdir().unwrap();
    let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let [certificate, key] = ["own.pem", "own.key"].map(|name| folder.path().join(name));
    std::fs::write(&certificate, own.cert.pem()).unwrap();
    std::fs::write(&key, own.signing_key.serialize_pem()).unwrap();
    let settings = format!("tls {{ cert_file: {certificate:?}, key_file: {key:?}, handshake_first: true }}");
    let broker = Broker::with_settings(folder.path(), &settings).await;
    let nats = |tls_first| Nats {
        urls: vec![format!("tls://localhost:{}", broker.port()).into()],
        ca_file: Some(certificate.clone()),
        tls_first,
        ..Nats::default()
    };
    let (_client, link) = connect(&nats(true), "first").await.unwrap();
    eventually("a connection", async || link.is_connected()).await;
    let (_client, link) = connect(&nats(false), "second").await.unwrap();
    eventually("the key is named", async || {
        let problem = link.problem().unwrap_or_default();
        if problem.contains("says nothing before TLS: set nats.tls_first") { Ok(()) } else { Err(problem) }
    })
    .await;
    assert!(!link.is_connected());
}
