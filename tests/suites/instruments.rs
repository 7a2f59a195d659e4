//! Promise: the table `instruments` has each version of an instrument once, in hot and cold, and gives rows the terms of their day.

use std::time::Duration;

use marketprism_tests::broker::Broker;
use marketprism_tests::central::{Central, Settings};
use marketprism_tests::clickhouse::ClickHouse;
use marketprism_tests::edge::{Edge, Feed};
use marketprism_tests::wait::until;
use marketprism_venue_sim::{Sim, SimConfig};
use serde_json::{Value, json};

const EXCHANGE: &str = "binance_spot";
const TIME: Duration = Duration::from_secs(60);
const REPLICATION: &str = "[batch]\nmax_age_ms = 50\n[replication]\nwindow_seconds = 2\nsafety_lag_seconds = 1\ninterval_ms = 200\n[ledger]\ninterval_ms = 500\n";

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
        until("the versions are there", TIME, || async {
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
    // The late word of another edge may still move the begin of the second terms.
    let earlier = told(&format!("symbol=BTC-USDT&at={}", first_began(hot).await)).await;
    assert!(earlier[0]["tick_size"] == "0.01" && earlier[0]["to"].is_string(), "{earlier}");
    assert!(told("at=7d").await.as_array().unwrap().is_empty(), "nothing was known then");
    let refused = central.get("/instruments?market_type=swap").await.unwrap_err();
    assert!(refused.contains("400"), "{refused}");
}

async fn trades_after(hot: &ClickHouse, symbol: &str) {
    let count = format!("SELECT count() FROM marketprism_hot.trades WHERE symbol = '{symbol}'");
    let before = hot.number(&count).await.unwrap();
    until("trades arrive", TIME, || async {
        let found = hot.number(&count).await?;
        if found > before { Ok(()) } else { Err(format!("{found} trades")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_terms_begin_a_version_and_rows_are_read_with_the_terms_of_their_day() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let (broker, hot, cold) =
        tokio::join!(Broker::start(path), ClickHouse::start(path), ClickHouse::named(path, "cold"));
    let nats = format!("urls = [{:?}]", broker.url());
    let (hot_url, cold_url) = (hot.url(), cold.url());
    let settings = Settings { cold: Some(&cold_url), more: REPLICATION, ..Settings::plain(&nats, &hot_url) };
    let central = Central::with_settings(path, &settings).await;
    let symbols = ["BTCUSDT", "SOLUSDT"].map(str::to_owned).to_vec();
    let exchanges = vec![EXCHANGE.to_owned()];
    let sim = Sim::start(SimConfig { exchanges, symbols, rate: 100, ..SimConfig::default() }).await.unwrap();
    sim.set_listed(EXCHANGE, "SOLUSDT", false).unwrap();
    let address = sim.addr().to_string();
    let feed = Feed {
        extra: "listing_interval_ms = 1000".to_owned(),
        ..Feed::simulated(EXCHANGE, &address, &["*-USDT"])
    };
    // Two edges tell the same.
    let feeds = [feed];
    let (mut edge, _other) =
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

    // A restarted edge tells the terms again: it confirms a version and begins none.
    let seen = "SELECT max(toUnixTimestamp64Micro(seen_at)) FROM marketprism_hot.instruments FINAL WHERE symbol = 'BTC-USDT'";
    let before = hot.number(seen).await.unwrap();
    assert!(edge.process().terminate(TIME).await.success());
    edge.restart().await;
    until("the version is confirmed", TIME, || async {
        let found = hot.number(seen).await?;
        if found > before { Ok(()) } else { Err(format!("seen at {found}")) }
    })
    .await;
    reach(&hot, &cold, "BTC-USDT", &changed).await;

    // Hot lost the table's rows: they come back from cold.
    hot.text("TRUNCATE TABLE marketprism_hot.instruments").await.unwrap();
    reach(&hot, &cold, "BTC-USDT", &changed).await;

    // A word that arrived before them began the lasting version anew: it ends the one that came back.
    let begun = "INSERT INTO marketprism_hot.instruments SELECT * REPLACE (now64(6, 'UTC') AS version, now64(6, 'UTC') AS valid_from, \
                 now64(6, 'UTC') AS seen_at, now64(9, 'UTC') AS updated_at) FROM marketprism_hot.instruments FINAL \
                 WHERE symbol = 'BTC-USDT' AND valid_to IS NULL";
    hot.text(begun).await.unwrap();
    reach(&hot, &cold, "BTC-USDT", &[("trading", "0.01", 0), ("trading", "0.05", 0), ("trading", "0.05", 1)])
        .await;

    trades_after(&hot, "BTC-USDT").await;
    let readme = include_str!("../../schema/sql/README.md");
    let (_, query) = readme.split_once("```sql\n").unwrap();
    let (query, _) = query.split_once("```").unwrap();
    let by_terms = format!(
        "SELECT groupArray((tick, before)) FROM (SELECT toString(tick_size) AS tick, \
         toBool(max(timestamp) < (SELECT max(valid_from) FROM marketprism_cold.instruments FINAL WHERE symbol = 'BTC-USDT')) AS before \
         FROM ({query}) WHERE symbol = 'BTC-USDT' GROUP BY tick_size ORDER BY tick_size) FORMAT TSV"
    );
    until("trades with both ticks are in cold", TIME, || async {
        let found = cold.text(&by_terms).await?;
        let found = found.trim();
        if found == "[('0.01',true),('0.05',false)]" { Ok(()) } else { Err(found.to_owned()) }
    })
    .await;
}
