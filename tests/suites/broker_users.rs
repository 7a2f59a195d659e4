//! Promise: the broker's users keep strangers out, an edge to its own subjects, and the whole system works with them.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use async_nats::{Client, ConnectOptions, Event};
use futures_util::StreamExt as _;
use marketprism_schema::{
    CENTRAL_CONNECTION, DataType, MarketType, RepairRequest, StreamId, edge_connection, repair_subject,
};
use marketprism_tests::broker::Broker;
use marketprism_tests::central::Central;
use marketprism_tests::edge::{Edge, Feed};
use marketprism_tests::laid_out;
use marketprism_tests::nats_files::variables;
use marketprism_tests::parts;
use marketprism_tests::wait::{PATIENCE, eventually};
use marketprism_venue_sim::{Sim, SimConfig};

const EDGE: &str = "edge-test";
/// A password is drawn for the edge that is new.
const EDGES: &str = "[[edge]]\nname = \"edge-other\"\nexchanges = [\"okx_spot\"]\n\
                     [[edge]]\nname = \"edge-test\"\nexchanges = [\"binance_spot\"]\n";
const VARIABLES: &str = "NATS_PASSWORD_CENTRAL=of-central\nNATS_PASSWORD_READER=change-me\n\
                         NATS_PASSWORD_EDGE_OTHER=of-another\n";

/// The users that `broker-users` writes, with their passwords in place of variables, and these by user.
fn users(folder: &Path) -> (String, BTreeMap<String, String>) {
    let (edges, env) = (folder.join("edges.toml"), folder.join("nats-server.env"));
    std::fs::write(&edges, EDGES).unwrap();
    std::fs::write(&env, VARIABLES).unwrap();
    let mut command = Command::new(parts::binary("marketprism-central"));
    command.arg("broker-users").arg(&edges).arg("--out").arg(folder).arg("--env").arg(&env);
    let written = command.output().unwrap();
    let said = String::from_utf8_lossy(&written.stdout).into_owned();
    assert!(written.status.success() && said.contains("new passwords for reader, edge-test"), "{written:?}");
    let variables = variables(&std::fs::read_to_string(&env).unwrap());
    let mut text = std::fs::read_to_string(folder.join("authorization.conf")).unwrap();
    let mut passwords = BTreeMap::new();
    for (name, password) in variables {
        text = text.replace(&format!("${name},"), &format!("\"{password}\","));
        let user = name.trim_start_matches("NATS_PASSWORD_").to_lowercase().replace('_', "-");
        passwords.insert(user, password);
    }
    assert_eq!(passwords["central"], "of-central");
    (text, passwords)
}

/// A client that notes what the broker refuses.
struct Visitor {
    client: Client,
    refused: Arc<Mutex<Vec<String>>>,
}

impl Visitor {
    async fn new(broker: &Broker, user: &str, password: &str, connection: &str) -> Self {
        let refused = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&refused);
        let options = ConnectOptions::with_user_and_password(user.to_owned(), password.to_owned())
            .custom_inbox_prefix(format!("_INBOX.{connection}"))
            .event_callback(move |event| {
                if let Event::ServerError(error) = event {
                    noted.lock().unwrap().push(error.to_string().to_lowercase());
                }
                std::future::ready(())
            });
        Self { client: options.connect(broker.url()).await.unwrap(), refused }
    }

    /// `what`: publish or subscription, as the broker calls it.
    async fn may_not(&self, what: &str, subject: &str) {
        let mut subscriber = None;
        if what == "publish" {
            self.client.publish(subject.to_owned(), "x".into()).await.unwrap();
        } else {
            subscriber = Some(self.client.subscribe(subject.to_owned()).await.unwrap());
        }
        self.client.flush().await.unwrap();
        let expected = format!("violation for {what} to \"{}\"", subject.to_lowercase());
        eventually(&format!("the refusal of {what} to {subject}"), || async {
            let refused = self.refused.lock().unwrap().clone();
            if refused.iter().any(|text| text.contains(&expected)) {
                Ok(())
            } else {
                Err(format!("{refused:?}"))
            }
        })
        .await;
        drop(subscriber);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_stay_out_an_edge_publishes_only_its_own_and_everything_works() {
    let folder = tempfile::tempdir().unwrap();
    let (authorization, passwords) = users(folder.path());
    let broker = Broker::with_settings(folder.path(), &authorization).await;
    let clickhouse = laid_out::engine(folder.path()).await;
    let nats = |user: &str| {
        let password_file = folder.path().join(format!("password-{user}"));
        std::fs::write(&password_file, &passwords[user]).unwrap();
        format!("urls = [{:?}]\nuser = {user:?}\npassword_file = {password_file:?}\n", broker.url())
    };
    let mut central = Central::with_nats(folder.path(), &nats("central"), &clickhouse.url()).await;
    let sim =
        Sim::start(SimConfig { symbols: vec!["BTCUSDT".to_owned()], ..SimConfig::default() }).await.unwrap();
    let feed = Feed::simulated("binance_spot", &sim.addr().to_string(), &["BTC-USDT"]);
    let reader = Visitor::new(&broker, "reader", &passwords["reader"], "reader").await;
    let mut read = reader.client.subscribe("trade.>").await.unwrap();
    let mut mirrored = reader.client.subscribe("core.>").await.unwrap();
    let settings =
        "[audit]\nwindow_seconds = 1\nsettle_ms = 200\n[mirror_to_core]\nsubjects = [\"trade.>\"]\n";
    let mut edge = Edge::with_tables(folder.path(), &nats(EDGE), settings, &[feed]).await;

    for table in ["trades", "orderbooks", "audits"] {
        clickhouse.reaches(&format!("SELECT count() FROM marketprism_hot.{table}"), 6).await;
    }
    assert!(tokio::time::timeout(PATIENCE, read.next()).await.unwrap().is_some(), "the reader reads");
    let mirror = tokio::time::timeout(PATIENCE, mirrored.next()).await.unwrap().unwrap();
    assert!(mirror.subject.starts_with("core.trade.binance_spot."), "{mirror:?}");
    let period = eventually("events come both ways", || async {
        let compared = central.ask(&["ab-latency", "--subject", "trade.>", "--for", "2s", "--json"]).await;
        if compared.0 == Some(0) { Ok(compared.1) } else { Err(format!("{compared:?}")) }
    })
    .await;
    let period: serde_json::Value =
        serde_json::from_str(&period).unwrap_or_else(|error| panic!("{error}: {period}"));
    assert!(period["pairs"].as_u64() > Some(0), "{period:#}");
    for quantiles in [&period["core"], &period["jetstream"], &period["jetstream_behind"]] {
        assert!(
            ["p50_us", "p90_us", "p95_us", "p99_us"].iter().all(|name| quantiles[name].is_u64()),
            "{period:#}"
        );
    }

    let own = Visitor::new(&broker, "central", &passwords["central"], CENTRAL_CONNECTION).await;
    let stream = StreamId::new(DataType::Trade, "binance_spot", MarketType::Spot, "BTC-USDT").unwrap();
    let request = RepairRequest::new("r".into(), &stream, 1, 2);
    let answer = own.client.request(repair_subject(EDGE), request.encode().unwrap().into()).await.unwrap();
    assert!(String::from_utf8_lossy(&answer.payload).contains("not_kept"), "{answer:?}");

    assert!(async_nats::connect(broker.url()).await.is_err(), "a stranger is let in");
    let forger = Visitor::new(&broker, EDGE, &passwords[EDGE], &edge_connection(EDGE)).await;
    all_else_is_refused(&forger, &own, &reader).await;
    eventually("the edge holds its name", || async {
        let key = own
            .client
            .request("$JS.API.DIRECT.GET.KV_MARKETPRISM_EDGES.$KV.MARKETPRISM_EDGES.edge-test", "".into());
        let value = key.await.map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&value.payload).into_owned();
        if text.contains("\"edge\":\"edge-test\"") { Ok(()) } else { Err(text) }
    })
    .await;
    for output in [edge.process().output(), central.process().output()] {
        assert!(!output.to_lowercase().contains("permissions violation"), "{output}");
    }
}

/// `forger` has the edge's credentials, `own` those of central.
async fn all_else_is_refused(forger: &Visitor, own: &Visitor, reader: &Visitor) {
    for subject in [
        "trade.okx_spot.spot.BTC-USDT",
        "trade.binance_spot.spot",
        "core.trade.okx_spot.spot.BTC-USDT",
        "audit.edge-other",
        // Its correction of an exchange that is not its own.
        "audit.edge-test.okx_spot",
        "repair.edge-other",
        "$JS.API.STREAM.DELETE.MARKET_DATA",
        "$JS.API.STREAM.PURGE.MARKET_DATA",
        "$JS.API.CONSUMER.MSG.NEXT.MARKET_DATA.x",
        "$JS.ACK.MARKET_DATA.x.1.1.1.1.1",
        "$KV.MARKETPRISM_LEASES.ledger",
        "$KV.MARKETPRISM_EDGES.edge-other",
        "$KV.MARKETPRISM_CONFIRMED.MARKET_DATA",
        "$KV.MARKETPRISM_ADAPTERS.binance",
        "$O.adapters.M.x",
        "$JS.API.CONSUMER.CREATE.OBJ_adapters",
        "$JS.API.STREAM.CREATE.x",
        "$JS.API.STREAM.MSG.GET.MARKET_DATA",
        "_INBOX.marketprism-central.x",
    ] {
        forger.may_not("publish", subject).await;
    }
    // An edge that received central's writes could answer them before the broker does.
    let writes = ["$KV.MARKETPRISM_ADAPTERS.*", "$KV.MARKETPRISM_ADAPTERS.binance", "$O.adapters.>"];
    let others = [">", "trade.>", "core.>", "_INBOX.>", "_INBOX.marketprism-central.>", "repair.edge-other"];
    for subject in writes.into_iter().chain(others) {
        forger.may_not("subscription", subject).await;
    }
    for subject in [
        "trade.binance_spot.spot.BTC-USDT",
        "orderbook.binance_spot.spot.BTC-USDT",
        "core.trade.binance_spot.spot.BTC-USDT",
        "audit.edge-test",
        "$KV.MARKETPRISM_EDGES.edge-test",
        "$JS.API.STREAM.DELETE.MARKET_DATA",
        "$JS.API.STREAM.PURGE.MARKET_DATA",
        "$JS.API.STREAM.MSG.DELETE.MARKET_DATA",
        "$JS.API.STREAM.PURGE.KV_MARKETPRISM_EDGES",
    ] {
        own.may_not("publish", subject).await;
    }
    reader.may_not("publish", "trade.binance_spot.spot.BTC-USDT").await;
}

/// Values of a key at the begin of lines, without quotes.
fn values<'a>(text: &'a str, key: &str) -> Vec<&'a str> {
    let value = |line: &'a str| {
        Some(line.strip_prefix(key)?.trim_start().strip_prefix('=')?.trim().trim_matches('"'))
    };
    text.lines().filter_map(value).collect()
}

#[test]
fn the_shipped_edges_have_the_name_region_and_exchanges_that_the_shipped_users_admit() {
    let deploy = parts::root().join("deploy");
    let read = |path: &Path| std::fs::read_to_string(path).unwrap();
    let users = read(&deploy.join("nats/edges.toml"));
    let users: BTreeMap<&str, &str> =
        users.split("[[edge]]").skip(1).map(|user| (values(user, "name")[0], user)).collect();
    let examples = std::fs::read_dir(deploy.join("examples")).unwrap().map(|entry| entry.unwrap().path());
    let is_edge =
        |path: &std::path::PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with("edge-");
    let others =
        ["compose/edge/edge.toml", "kubernetes/overlays/tokyo/edge.toml"].map(|path| deploy.join(path));
    let mut seen = std::collections::BTreeSet::new();
    for path in examples.filter(is_edge).chain(others) {
        let config = read(&path);
        let name = values(&config, "name")[0];
        let user = users.get(name).unwrap_or_else(|| panic!("{}: no user {name}", path.display()));
        assert_eq!(values(&config, "region"), values(user, "region"), "{}", path.display());
        for exchange in values(&config, "exchange") {
            assert!(
                values(user, "exchanges")[0].contains(&format!("{exchange:?}")),
                "{}: {exchange}",
                path.display()
            );
        }
        seen.insert(name.to_owned());
    }
    assert_eq!(seen.len(), users.len(), "an edge without an example");
}
