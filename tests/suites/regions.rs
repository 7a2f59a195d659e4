//! Promise: the brokers start from the files of `deploy/nats`; a region behind its leaf node collects into the centre's cluster, which goes on
//! without one of its servers, and reaches no more than its own subjects.

use std::path::Path;
use std::time::Duration;

use async_nats::jetstream::context::ContextBuilder;
use async_nats::{Client, ConnectOptions, jetstream};
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use marketprism_schema::{
    CENTRAL_CONNECTION, DataType, EDGE_STATUS_SUBJECT, MarketType, RepairRequest, StreamId, edge_connection,
    repair_subject,
};
use marketprism_tests::central::{Central, Settings};
use marketprism_tests::edge::{Edge, Feed};
use marketprism_tests::laid_out;
use marketprism_tests::nats_files::{NatsFromFiles, certificates, cluster, nats_table};
use marketprism_tests::wait::eventually;
use marketprism_venue_sim::{Sim, SimConfig};

const EDGE: &str = "tokyo-1";
const ACKNOWLEDGED: &str = "marketprism_edge_acknowledged_total";
const UNANSWERED: Duration = Duration::from_millis(500);

/// The servers of a centre and the leaf node of a region, which do not answer yet.
fn started(folder: &Path, tls: &Path) -> (Vec<NatsFromFiles>, NatsFromFiles) {
    let (mut servers, leaf_ports) = cluster(folder, tls, "127.0.0.1");
    let password = servers[0].password("LEAF_TOKYO").to_owned();
    let hubs: Vec<String> =
        leaf_ports.iter().map(|port| format!("tls://leaf-tokyo:{password}@127.0.0.1:{port}")).collect();
    let own = [("NATS_HUB_URLS", format!("[{}]", hubs.join(", ")))];
    let mut leaf = NatsFromFiles::prepared(folder, tls, "leaf", "leaf-tokyo", &own);
    servers.iter_mut().for_each(NatsFromFiles::start);
    leaf.start();
    (servers, leaf)
}

fn login(certificates: &Path, user: &str, password: &str, name: &str) -> ConnectOptions {
    ConnectOptions::with_user_and_password(user.to_owned(), password.to_owned())
        .custom_inbox_prefix(format!("_INBOX.{name}"))
        .add_root_certificates(certificates.join("ca.pem"))
        .add_client_certificate(certificates.join("client.pem"), certificates.join("client-key.pem"))
}

/// Requests that a leaf node could pass on, whatever users it admits itself: `client` has its user at the centre.
async fn a_region_reaches_its_own_subjects_only(client: &Client) {
    eventually("the centre stores what is the region's", || async {
        let answer = client.request("trade.binance_spot.spot.OTHER-USDT", "{}".into()).await;
        let text = String::from_utf8_lossy(&answer.map_err(|error| error.to_string())?.payload).into_owned();
        if text.contains("\"stream\":\"MARKET_DATA\"") { Ok(()) } else { Err(text) }
    })
    .await;
    let foreign = [
        "trade.kraken_spot.spot.BTC-USD",
        "audit.virginia-1",
        "repair.virginia-1",
        "$KV.MARKETPRISM_EDGES.virginia-1",
        "$KV.MARKETPRISM_CONFIRMED.MARKET_DATA",
        // Central writes the key above too, but not this one.
        "$KV.MARKETPRISM_CONFIRMED.FORGED",
        "$JS.API.STREAM.DELETE.MARKET_DATA",
        "$JS.API.STREAM.CREATE.x",
        "$JS.hub.API.STREAM.DELETE.MARKET_DATA",
    ];
    let ask = |subject: &'static str| async move { (subject, client.request(subject, "".into()).await) };
    for (subject, refused) in join_all(foreign.map(ask)).await {
        assert!(refused.is_err(), "{subject}: {refused:?}");
    }
}

/// Waits until a stream has three replicas and a leader; returns its name.
async fn replicated(context: &jetstream::Context, name: &str) -> String {
    eventually(&format!("{name} has three replicas and a leader"), || async {
        let stream = context.get_stream(name).await.map_err(|error| error.to_string())?;
        let info = stream.cached_info();
        let leader = info.cluster.as_ref().and_then(|cluster| cluster.leader.clone());
        leader.filter(|_| info.config.num_replicas == 3).ok_or_else(|| format!("{info:?}"))
    })
    .await
}

/// `client` has central's user.
async fn a_request_of_central_reaches_the_edge(client: &Client) {
    let stream = StreamId::new(DataType::Trade, "binance_spot", MarketType::Spot, "BTC-USDT").unwrap();
    let request = RepairRequest::new("r".into(), &stream, 1, 2).encode().unwrap();
    for (subject, payload, expected) in
        [(repair_subject(EDGE), request, "not_kept"), (EDGE_STATUS_SUBJECT.to_owned(), Vec::new(), EDGE)]
    {
        eventually(&format!("{subject} is answered"), || async {
            let answer = client.request(subject.clone(), payload.clone().into()).await;
            let answer = answer.map_err(|error| error.to_string())?;
            let text = String::from_utf8_lossy(&answer.payload).into_owned();
            if text.contains(expected) { Ok(()) } else { Err(text) }
        })
        .await;
    }
}

fn certificates_end_in_a_month(metrics: &str) {
    for key in ["nats.ca_file", "nats.client_cert_file"] {
        let series = format!("marketprism_certificate_expiry_seconds{{key=\"{key}\"}} ");
        let seconds = metrics.lines().find_map(|line| line.strip_prefix(&series)).unwrap();
        let days = seconds.parse::<f64>().unwrap() / 86_400.0;
        assert!((28.0..=30.0).contains(&days), "{key} ends in {days} days");
    }
}

async fn nothing_of_others_is_stored(context: &jetstream::Context) {
    for (stream, subject) in [
        ("MARKET_DATA", "trade.kraken_spot.>"),
        ("AUDIT", "audit.virginia-1"),
        ("KV_MARKETPRISM_EDGES", "$KV.MARKETPRISM_EDGES.virginia-1"),
        ("KV_MARKETPRISM_CONFIRMED", "$KV.MARKETPRISM_CONFIRMED.FORGED"),
    ] {
        eventually(&format!("{stream} is there and has nothing of {subject}"), || async {
            let stream = context.get_stream(stream).await.map_err(|error| error.to_string())?;
            let found = stream.info_with_subjects(subject).await.map_err(|error| error.to_string())?;
            let found: Vec<_> = found.collect().await;
            if found.is_empty() { Ok(()) } else { Err(format!("{found:?}")) }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_behind_a_leaf_node_collects_into_a_cluster_that_loses_a_server() {
    let folder = tempfile::tempdir().unwrap();
    let tls = folder.path().join("tls");
    certificates(&tls, &["server", "client"]);
    let (mut servers, mut leaf) = started(folder.path(), &tls);
    let clickhouse = laid_out::engine(folder.path()).await;
    for server in servers.iter_mut().chain([&mut leaf]) {
        server.listens().await;
    }
    let urls: Vec<String> = servers.iter().map(NatsFromFiles::url).collect();
    let nats = nats_table(&tls, &urls, "central", servers[0].password("CENTRAL"));
    let hot = clickhouse.url();
    let impatient = Settings::impatient(&nats, &hot);
    let more = format!("{}\n[streams]\nreplicas = 3", impatient.more);
    let settings = Settings { more: &more, ..impatient };
    let mut central = Central::prepared(folder.path(), &settings);
    // It waits until the servers have elected one.
    central.restart().await;

    let sim = Sim::start(SimConfig { symbols: vec!["BTCUSDT".to_owned()], rate: 50, ..SimConfig::default() })
        .await
        .unwrap();
    let feed = Feed::simulated("binance_spot", &sim.addr().to_string(), &["BTC-USDT"]);
    let at_leaf = nats_table(&tls, &[leaf.url()], EDGE, leaf.password("TOKYO_1"));
    let domain = format!("{at_leaf}jetstream_domain = \"hub\"\n");
    let mut edge = Edge::start_as(EDGE, folder.path(), &domain, &[feed]).await;
    clickhouse.reaches("SELECT count() FROM marketprism_hot.trades", 21).await;
    eventually("central knows the edge by its heartbeat", || async {
        let edges = central.get("/edges").await?;
        if edges.contains("\"tokyo-1\"") && edges.contains("\"running\"") { Ok(()) } else { Err(edges) }
    })
    .await;
    certificates_end_in_a_month(&edge.get("/metrics").await.unwrap());
    certificates_end_in_a_month(&central.get("/metrics").await.unwrap());
    let hub = login(&tls, "central", servers[0].password("CENTRAL"), CENTRAL_CONNECTION)
        .connect(&urls)
        .await
        .unwrap();
    a_request_of_central_reaches_the_edge(&hub).await;
    let context = ContextBuilder::new().timeout(Duration::from_secs(5)).build(hub);
    replicated(&context, "KV_MARKETPRISM_EDGES").await;
    let leader = replicated(&context, "MARKET_DATA").await;
    let killed = servers.iter().position(|server| server.name() == leader).unwrap();
    servers[killed].kill();
    let before = edge.metric(ACKNOWLEDGED, "").await;
    edge.reaches(ACKNOWLEDGED, "", before + 21).await;

    let forger =
        login(&tls, EDGE, leaf.password("TOKYO_1"), &edge_connection(EDGE)).request_timeout(Some(UNANSWERED));
    let forger = forger.connect(leaf.url()).await.unwrap();
    let through = ContextBuilder::new().timeout(Duration::from_secs(5)).domain("hub").build(forger.clone());
    eventually("an edge may ask for the state of the streams", || async {
        through.get_stream("MARKET_DATA").await.map(drop).map_err(|error| error.to_string())
    })
    .await;
    let refused = forger.request("trade.kraken_spot.spot.BTC-USD", "{}".into()).await;
    assert!(refused.is_err(), "the leaf node lets through what is another edge's: {refused:?}");
    let alive = servers[(killed + 1) % 3].url();
    let password = servers[0].password("LEAF_TOKYO");
    let region = login(&tls, "leaf-tokyo", password, "x").request_timeout(Some(UNANSWERED));
    a_region_reaches_its_own_subjects_only(&region.connect(alive).await.unwrap()).await;
    nothing_of_others_is_stored(&context).await;
    for output in [edge.process().output(), central.process().output(), leaf.process().output()] {
        assert!(!output.to_lowercase().contains("permissions violation"), "{output}");
    }
}
