//! Promise: the table `instruments` has each version of an instrument once, in hot and cold, and gives rows the terms of their day. And central
//! knows the edges that reported them: a killed one is silent, a stopped one is not.

use std::collections::BTreeSet;

use marketprism_tests::central::{Central, Settings};
use marketprism_tests::clickhouse::ClickHouse;
use marketprism_tests::edge::{Edge, Feed};
use marketprism_tests::stack::two_sides;
use marketprism_tests::wait::{PATIENCE, eventually};
use marketprism_venue_sim::{Sim, SimConfig};
use serde_json::{Value, json};

const EXCHANGE: &str = "binance_spot";
const REPLICATION: &str = "[batch]\nmax_age_ms = 400\n[replication]\nwindow_seconds = 4\nsafety_lag_seconds = 1\ninterval_ms = 200\n[ledger]\ninterval_ms = 500\n";

/// Status, tick and whether it lasts, of each version in order.
async fn versions(clickhouse: &ClickHouse, database: &str, symbol: &str) -> Result<Value, String> {
    let query = format!(
        "SELECT toString(status), toString(tick_size), valid_to IS NULL FROM {database}.instruments FINAL \
         WHERE exchange = '{EXCHANGE}' AND symbol = '{symbol}' ORDER BY valid_from FORMAT JSONCompact"
    );
    let answer: Value = serde_json::from_str(&clickhouse.text(&query).await?).map_err(|e| e.to_string())?;
    Ok(answer["data"].clone())
}

/// Waits until both sides have these versions.
async fn reach(hot: &ClickHouse, cold: &ClickHouse, symbol: &str, expected: &[(&str, &str, u8)]) {
    let expected = json!(expected);
    for (side, database) in [(hot, "marketprism_hot"), (cold, "marketprism_cold")] {
        eventually("the versions are there", || async {
            let found = versions(side, database, symbol).await?;
            if found == expected { Ok(()) } else { Err(format!("{database}: {found}, expected {expected}")) }
        })
        .await;
    }
}

/// A moment within the first terms of BTC-USDT.
async fn first_began(hot: &ClickHouse) -> String {
    let query = "SELECT formatDateTime(min(valid_from) + INTERVAL 1 MILLISECOND, '%Y-%m-%dT%H:%i:%S.%fZ', 'UTC') \
                 FROM marketprism_hot.instruments FINAL WHERE symbol = 'BTC-USDT'";
    hot.text(query).await.unwrap().trim().to_owned()
}

/// Answers of `/instruments`: the versions in hot.
async fn told_over_http(central: &Central, hot: &ClickHouse) {
    let told = async |query: &str| -> Value {
        let answer = central.get(&format!("/instruments?exchange={EXCHANGE}&{query}")).await.unwrap();
        serde_json::from_str::<Value>(&answer).unwrap()["instruments"].take()
    };
    let now = told("").await;
    let shown =
        |one: &Value| format!("{} {} {} {}", one["symbol"], one["status"], one["tick_size"], one["to"]);
    let rows: Vec<String> = now.as_array().unwrap().iter().map(shown).collect();
    assert_eq!(
        rows,
        [r#""BTC-USDT" "trading" "0.05" null"#, r#""SOL-USDT" "delisted" "0.0001" null"#],
        "{now}"
    );
    assert_eq!((&now[0]["venue_symbol"], &now[0]["market_type"]), (&json!("BTCUSDT"), &json!("spot")));
    // A late report of another edge may still move the begin of the second terms.
    let earlier = told(&format!("symbol=BTC-USDT&at={}", first_began(hot).await)).await;
    assert!(earlier[0]["tick_size"] == "0.01" && earlier[0]["to"].is_string(), "{earlier}");
    assert!(told("at=7d").await.as_array().unwrap().is_empty(), "nothing was known then");
    let refused = central.get("/instruments?market_type=swap").await.unwrap_err();
    assert!(refused.contains("400"), "{refused}");
}

async fn trades_after(hot: &ClickHouse, symbol: &str) {
    let count = format!("SELECT count() FROM marketprism_hot.trades WHERE symbol = '{symbol}'");
    let before = hot.number(&count).await.unwrap();
    hot.reaches(&count, before + 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_terms_begin_a_version_and_rows_are_read_with_the_terms_of_their_day() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let settings = Settings { more: REPLICATION, ..Settings::plain("", "") };
    let (broker, hot, cold, central) = two_sides(path, settings).await;
    let nats = broker.nats();
    let symbols = ["BTCUSDT", "SOLUSDT"].map(str::to_owned).to_vec();
    let exchanges = vec![EXCHANGE.to_owned()];
    let sim = Sim::start(SimConfig { exchanges, symbols, rate: 40, ..SimConfig::default() }).await.unwrap();
    sim.set_listed(EXCHANGE, "SOLUSDT", false).unwrap();
    let address = sim.addr().to_string();
    let feed = Feed {
        extra: "listing_interval_ms = 1000".to_owned(),
        ..Feed::simulated(EXCHANGE, &address, &["*-USDT"])
    };
    // Two edges report the same.
    let feeds = [feed];
    let (mut edge, mut other) =
        tokio::join!(Edge::start_as("e1", path, &nats, &feeds), Edge::start_as("e2", path, &nats, &feeds));
    reach(&hot, &cold, "BTC-USDT", &[("trading", "0.01", 1)]).await;
    trades_after(&hot, "BTC-USDT").await;

    sim.set_listed_ticks(EXCHANGE, "BTCUSDT", 5).unwrap();
    let changed = [("trading", "0.01", 0), ("trading", "0.05", 1)];
    reach(&hot, &cold, "BTC-USDT", &changed).await;
    sim.set_listed(EXCHANGE, "SOLUSDT", true).unwrap();
    reach(&hot, &cold, "SOL-USDT", &[("trading", "0.0001", 1)]).await;
    sim.set_listed(EXCHANGE, "SOLUSDT", false).unwrap();
    reach(&hot, &cold, "SOL-USDT", &[("trading", "0.0001", 0), ("delisted", "0.0001", 1)]).await;

    told_over_http(&central, &hot).await;
    changes_are_in_the_report(&central).await;
    // Found silent while the rest is checked.
    other.kill();

    // A restarted edge reports the terms again: it confirms a version and begins none.
    let seen = "SELECT max(toUnixTimestamp64Micro(seen_at)) FROM marketprism_hot.instruments FINAL WHERE symbol = 'BTC-USDT'";
    let before = hot.number(seen).await.unwrap();
    assert!(edge.process().terminate(PATIENCE).await.success());
    edge.restart().await;
    hot.reaches(seen, before + 1).await;
    reach(&hot, &cold, "BTC-USDT", &changed).await;

    // Hot lost the table's rows: they come back from cold.
    hot.text("TRUNCATE TABLE marketprism_hot.instruments").await.unwrap();
    reach(&hot, &cold, "BTC-USDT", &changed).await;

    // A report that arrived before them began the current version again: it ends the restored one.
    let begun = "INSERT INTO marketprism_hot.instruments SELECT * REPLACE (now64(6, 'UTC') AS version, now64(6, 'UTC') AS valid_from, \
                 now64(6, 'UTC') AS seen_at, now64(9, 'UTC') AS updated_at) FROM marketprism_hot.instruments FINAL \
                 WHERE symbol = 'BTC-USDT' AND valid_to IS NULL";
    hot.text(begun).await.unwrap();
    reach(&hot, &cold, "BTC-USDT", &[("trading", "0.01", 0), ("trading", "0.05", 0), ("trading", "0.05", 1)])
        .await;

    trades_after(&hot, "BTC-USDT").await;
    let readme = include_str!("../../schema/sql/README.md");
    let (_, section) = readme.split_once("## Rows with the terms of their day").unwrap();
    let (_, query) = section.split_once("```sql\n").unwrap();
    let (query, _) = query.split_once("```").unwrap();
    let by_terms = format!(
        "SELECT groupArray((tick, before)) FROM (SELECT toString(tick_size) AS tick, \
         toBool(max(timestamp) < (SELECT max(valid_from) FROM marketprism_cold.instruments FINAL WHERE symbol = 'BTC-USDT')) AS before \
         FROM ({query}) WHERE symbol = 'BTC-USDT' GROUP BY tick_size ORDER BY tick_size) FORMAT TSV"
    );
    eventually("trades with both ticks are in cold", || async {
        let found = cold.text(&by_terms).await?;
        let found = found.trim();
        if found == "[('0.01',true),('0.05',false)]" { Ok(()) } else { Err(found.to_owned()) }
    })
    .await;
    a_killed_edge_is_silent_and_a_stopped_one_is_not(&central, &mut edge).await;
}

/// Edges with their states in an answer.
fn states(text: &str) -> Result<Vec<String>, String> {
    let answer: Value = serde_json::from_str(text).map_err(|error| format!("{error}: {text}"))?;
    let state = |one: &Value| format!("{} {}", one["edge"], one["state"]).replace('"', "");
    Ok(answer["edges"].as_array().ok_or(text)?.iter().map(state).collect())
}

/// By the page, then by the command too.
async fn states_are(central: &Central, expected: [&str; 2]) {
    eventually("the states of the edges", || async {
        let served = states(&central.get("/edges").await?)?;
        if served != expected {
            return Err(format!("{served:?} on the page, expected {expected:?}"));
        }
        let told = states(&central.ask(&["edges", "--json"]).await.1)?;
        if told == expected { Ok(()) } else { Err(format!("{told:?} by the command, expected {expected:?}")) }
    })
    .await;
}

async fn a_killed_edge_is_silent_and_a_stopped_one_is_not(central: &Central, edge: &mut Edge) {
    states_are(central, ["e1 running", "e2 silent"]).await;
    eventually("the health names the silent edge", || async {
        let health = central.get("/health").await?;
        if health.contains("\"degraded\":[\"edge e2: silent\"]") { Ok(()) } else { Err(health) }
    })
    .await;
    for command in ["edges", "status", "diagnose"] {
        eventually("a command names the silent edge", || async {
            let (_, text, _) = central.ask(&[command]).await;
            let is_named = text.contains("edge e2: no heartbeat for ") && text.contains("[edge.silent]");
            if is_named { Ok(()) } else { Err(text) }
        })
        .await;
    }
    let (status, text, error) = central.ask(&["edges", "--forget", "e1"]).await;
    assert!(status == Some(2) && error.contains("\"e1\" is running"), "{text}{error}");
    assert!(edge.process().terminate(PATIENCE).await.success());
    states_are(central, ["e1 stopped", "e2 silent"]).await;
    let (status, text, _) = central.ask(&["edges", "--forget", "e2"]).await;
    let is_named = text.lines().any(|line| line.trim_start().starts_with("e2 "));
    assert!(status == Some(0) && !is_named, "{text}");
}

/// Changes of the venue's list are reported by every edge that saw them, and by each once.
async fn changes_are_in_the_report(central: &Central) {
    eventually("the changes are in the report", || async {
        let report: Value = serde_json::from_str(&central.get("/integrity?from=1h").await?).unwrap();
        let changes = report["changes"]["items"].as_array().unwrap().iter();
        let told: Vec<String> = changes
            .filter(|one| one["kind"] == "symbols")
            .map(|one| format!("{} {}", one["edge"], one["why"]).replace('"', ""))
            .collect();
        let distinct: BTreeSet<&str> = told.iter().map(|one| &one[3..]).collect();
        let once: BTreeSet<&String> = told.iter().collect();
        let expected = ["delisted by the venue", "listed by the venue", "terms changed by the venue"];
        let is_whole = distinct.into_iter().eq(expected) && once.len() == told.len();
        let edges = report["edges"].as_array().unwrap();
        let is_shown = edges.len() == 2 && edges.iter().all(|one| one["adapters"][0]["adapter"] == "binance");
        if is_whole && is_shown { Ok(()) } else { Err(format!("{told:?} {edges:?}")) }
    })
    .await;
}
