//! Promise: central brings a signed adapter from edge to edge, stops at the first that is worse off, and edges that were unreachable follow. Each
//! user of the broker has its own rights only.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use async_nats::{ConnectOptions, jetstream};
use marketprism_adapter_host::{component_digest, with_custom_section};
use marketprism_broken_adapters::SwapFault;
use marketprism_schema::{BrokerUser, EDGE_LEASES_BUCKET, WANTED_ADAPTERS_BUCKET, broker_authorization};
use marketprism_tests::broker::Broker;
use marketprism_tests::central::{Central, Settings};
use marketprism_tests::edge::{Edge, keygen, sign};
use marketprism_tests::parts;
use marketprism_tests::wait::{PATIENCE, becomes, eventually};
use serde_json::Value;

use crate::edge_audits::create_streams;
use crate::swaps::SoundVenue;

const EDGES: [&str; 3] = ["edge-1", "edge-2", "edge-3"];
const PASSWORD: &str = "correct horse";

struct Headquarters {
    central: Central,
    broker: Broker,
    folder: tempfile::TempDir,
    key: String,
    /// With all rights.
    operator: jetstream::Context,
}

impl Headquarters {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let password = format!("{PASSWORD:?}");
        let mut users = vec![BrokerUser::central(&password)];
        users.extend(EDGES.map(|edge| BrokerUser::edge(edge, &["sound"], &password)));
        let operator = format!("users: [\n    {{ user: \"operator\", password: {password} }}\n");
        let users = broker_authorization(&users).replace("users: [\n", &operator);
        let broker = Broker::with_settings(folder.path(), &users).await;
        let operator = ConnectOptions::with_user_and_password("operator".into(), PASSWORD.into());
        let operator = operator.connect(broker.url()).await.unwrap();
        create_streams(&operator).await;
        let operator = jetstream::new(operator);
        let heartbeats =
            jetstream::kv::Config { bucket: EDGE_LEASES_BUCKET.to_owned(), ..Default::default() };
        operator.create_key_value(heartbeats).await.unwrap();
        let key = keygen(&folder.path().join("key"));
        keygen(&folder.path().join("stranger"));
        std::fs::write(folder.path().join("password"), PASSWORD).unwrap();
        let nats = login(&broker, folder.path(), "central");
        let more = format!("[adapters]\ntrusted_keys = [{key:?}]");
        // No ClickHouse: the commands need the broker only.
        let settings = Settings { more: &more, ..Settings::plain(&nats, "http://127.0.0.1:1") };
        let central = Central::prepared(folder.path(), &settings);
        Self { central, broker, folder, key, operator }
    }

    fn edge(&self, name: &str, venue: &SoundVenue) -> Edge {
        let tables = format!(
            "[adapters]\ntrusted_keys = [{:?}]\nshadow_frames = 20\nshadow_ms = 0\nprobation_ms = 100\n[sandbox]\ncall_deadline_ms = 5000",
            self.key
        );
        let nats = format!("{}\n{tables}", login(&self.broker, self.folder.path(), name));
        Edge::named(name, self.folder.path(), &nats, &[venue.feed()])
    }

    /// Runs `adapters` with these arguments: exit status and output.
    async fn adapters(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let (status, output, errors) = self.central.ask(&[&["adapters"], arguments].concat()).await;
        (status, format!("{output}{errors}"))
    }

    /// Signs a component, and pushes it. Returns its digest.
    async fn push(&self, component: &[u8], name: &str) -> String {
        let file = self.sign(component, name, "key");
        let (status, text) = self.adapters(&["push", file.to_str().unwrap()]).await;
        let digest = component_digest(&std::fs::read(&file).unwrap());
        assert!(status == Some(0) && text.contains(&digest), "{text}");
        digest
    }

    fn sign(&self, component: &[u8], name: &str, key: &str) -> PathBuf {
        sign(self.folder.path(), component, name, key, None)
    }

    /// State and digest of each edge, in the order of their names.
    async fn status(&self) -> Vec<(String, String)> {
        let (status, text, _) = self.central.ask(&["adapters", "status", "--json"]).await;
        assert_eq!(status, Some(0), "{text}");
        let rows: Vec<Value> = serde_json::from_str(&text).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        rows.iter().map(|row| (text(&row["state"]), text(&row["active"]["digest"]))).collect()
    }

    async fn are(&self, what: &str, expected: [(&str, &str); 3]) {
        let expected = expected.map(|(state, digest)| (state.to_owned(), digest.to_owned()));
        becomes(what, || self.status(), |status| *status == expected).await;
    }

    /// A reader that has seen enough (`| head -1`) stopped a deletion half-way.
    async fn deletes_unread(&self, built: &[u8], used: &str) {
        for version in [b"4", b"5"] {
            self.push(&with_custom_section(built, "version", version), "unused").await;
        }
        assert_eq!(self.central.ask_unread(&["adapters", "delete", "--unused"]).await, Some(0));
        let (_, text, _) = self.central.ask(&["adapters", "list", "--json"]).await;
        let left: Vec<Value> = serde_json::from_str(&text).unwrap();
        assert!(left.len() == 1 && left[0]["digest"] == used, "{text}");
    }

    /// The bucket is deleted and restored meanwhile: the edge goes on, and says it.
    async fn loses_its_wishes(&self, edge: &Edge) {
        let bucket = self.operator.get_key_value(WANTED_ADAPTERS_BUCKET).await.unwrap();
        let kept = bucket.get("broken").await.unwrap().unwrap();
        self.operator.delete_key_value(WANTED_ADAPTERS_BUCKET).await.unwrap();
        eventually("an edge misses the bucket", || async {
            let failures = edge.metric("marketprism_edge_adapter_follow_failures_total", "wanted").await;
            failures > 0
        })
        .await;
        // Creates it again.
        self.status().await;
        let bucket = self.operator.get_key_value(WANTED_ADAPTERS_BUCKET).await.unwrap();
        bucket.put("broken", kept).await.unwrap();
    }
}

/// Lines of `[nats]`.
fn login(broker: &Broker, folder: &Path, user: &str) -> String {
    format!("urls = [{:?}]\nuser = {user:?}\npassword_file = {:?}\n", broker.url(), folder.join("password"))
}

async fn digest_and_step(edge: &Edge) -> (String, Option<String>) {
    let page: Value = serde_json::from_str(&edge.get("/adapters").await.unwrap()).unwrap();
    let last = page["swaps"].as_array().unwrap().last().cloned().unwrap_or_default();
    let step = (last["outcome"] == "running").then(|| last["step"].as_str().unwrap().to_owned());
    (page["feeds"][0]["digest"].as_str().unwrap().to_owned(), step)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_goes_from_edge_to_edge_until_one_is_worse_off_and_absent_edges_follow() {
    let (calm, marked) = (SoundVenue::start().await, SoundVenue::start().await);
    let built = std::fs::read(parts::adapter("broken-adapters")).unwrap();
    let first = component_digest(&built);
    let hq = Headquarters::start().await;
    // Creates the buckets of adapters, as `init` does.
    assert!(hq.status().await.is_empty());
    let mut edges = EDGES.map(|name| hq.edge(name, if name == EDGES[1] { &marked } else { &calm }));
    for edge in &mut edges {
        edge.start_without_waiting();
    }
    hq.are("all edges are online", [("-", &first); 3]).await;
    edges[2].process().terminate(PATIENCE).await;
    hq.are("the third edge is offline", [("-", &first), ("-", &first), ("offline", &first)]).await;

    for (file, cause) in [
        (parts::adapter("broken-adapters"), "has no signature"),
        (hq.sign(&built, "strange", "stranger"), "fits none of the 1 keys"),
    ] {
        let (status, text) = hq.adapters(&["push", file.to_str().unwrap()]).await;
        assert!(status == Some(2) && text.contains(cause), "{text}");
    }
    let good = hq.push(&with_custom_section(&built, "version", b"2"), "good").await;
    let (status, text) = hq.adapters(&["push", hq.folder.path().join("good.wasm").to_str().unwrap()]).await;
    assert!(status == Some(0) && text.contains("already there"), "{text}");

    let (status, text) = hq.adapters(&["promote", &good, "--all", "--soak", "1s"]).await;
    assert_eq!(status, Some(0), "{text}");
    assert!(text.contains("active: edge-1, edge-2\noffline, follow when they come back: edge-3"), "{text}");
    let (_, text, _) = hq.central.ask(&["adapters", "list", "--json"]).await;
    let listed: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&listed[0]["digest"], &listed[0]["promoted"][0]), (&good.as_str().into(), &"all".into()));
    edges[2].start_without_waiting();
    hq.are("the third edge follows", [("active", &good); 3]).await;

    // Longer than any wait of this test: a version that is not rolled back does not pass.
    edges[1].set_variable("MARKETPRISM_ADAPTERS__PROBATION_MS", "600000");
    edges[1].process().terminate(PATIENCE).await;
    hq.are("the second edge is offline", [("active", &good), ("offline", &good), ("active", &good)]).await;
    edges[1].start_without_waiting();
    hq.are("the restarted edge has the last good version", [("active", &good); 3]).await;
    let bad = SwapFault::Trap.put(&with_custom_section(&built, "version", b"3")).unwrap();
    let bad = hq.push(&bad, "bad").await;
    let arguments = ["promote", &bad[..12], "--edge", "edge-1", "--all", "--soak", "0s"];
    let ((status, text), ()) = tokio::join!(hq.adapters(&arguments), async {
        eventually("the second edge has the version on probation", || async {
            let state = digest_and_step(&edges[1]).await;
            if state == (bad.clone(), Some("probation".to_owned())) {
                Ok(())
            } else {
                Err(format!("{state:?}"))
            }
        })
        .await;
        marked.is_marked.store(true, Ordering::SeqCst);
    });
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains("STOPPED at edge edge-2: rolled_back: step probation: sound: "), "{text}");
    assert!(text.contains("(take it back with `adapters rollback`): edge-1\n"), "{text}");
    hq.are("only the first edge has it", [("active", &bad), ("active", &good), ("active", &good)]).await;

    hq.loses_its_wishes(&edges[0]).await;
    let (status, text) = hq.adapters(&["rollback", "broken", "--edge", "edge-1"]).await;
    assert!(status == Some(0) && text.contains("edge-1: runs the earlier version"), "{text}");
    hq.are("every edge has the good version", [("active", &good); 3]).await;
    let (status, text) = hq.adapters(&["delete", &bad[..12], &good[..12]]).await;
    assert!(
        status == Some(2) && text.contains("nothing was deleted") && text.contains("edge edge-1 runs it"),
        "{text}"
    );
    let (status, text) = hq.adapters(&["delete", "--unused"]).await;
    assert!(status == Some(0) && text.lines().count() == 1 && text.contains(&bad[..12]), "{text}");
    hq.deletes_unread(&built, &good).await;
    for edge in &mut edges {
        let output = edge.process().output().to_lowercase();
        assert!(!output.contains("permissions violation"), "{output}");
    }
}
