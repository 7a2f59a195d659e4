//! Unmodified client libraries: Rust's `clickhouse` and Python's `clickhouse-connect`.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use clickhouse::{Compression, Row};
use serde::{Deserialize, Serialize};

use crate::server::{Server, installed};

#[derive(Debug, Clone, PartialEq, Row, Serialize, Deserialize)]
struct Trade {
    id: u64,
    symbol: String,
    price: i128,
    levels: Vec<(i64, i64)>,
    note: Option<String>,
}

fn trade(id: u64) -> Trade {
    Trade {
        id,
        symbol: format!("S{}", id % 7),
        price: i128::from(id) * -10_i128.pow(18),
        levels: (0..id % 4).map(|n| (n.cast_signed(), -1)).collect(),
        note: id.is_multiple_of(2).then(|| "even".to_owned()),
    }
}

const TABLE: &str = "CREATE TABLE d.t (id UInt64, symbol LowCardinality(String), price Decimal(38, 18), \
     levels Array(Tuple(Int64, Int64)), note Nullable(String)) ENGINE = ReplacingMergeTree ORDER BY id \
     SETTINGS non_replicated_deduplication_window = 100";

#[tokio::test(flavor = "multi_thread")]
async fn rust_client_works_unchanged() {
    let Some(server) = Server::start(&[]) else { return };
    let base = server.client();
    base.query("CREATE DATABASE d").execute().await.unwrap();
    for (compression, validation) in [
        (Compression::None, true),
        (Compression::None, false),
        (Compression::Lz4, true),
        (Compression::Lz4, false),
    ] {
        let what = format!("{compression:?} validation {validation}");
        let client =
            base.clone().with_compression(compression).with_validation(validation).with_database("d");
        client.query("DROP TABLE IF EXISTS t").execute().await.unwrap();
        client.query(TABLE).execute().await.unwrap();
        for _again in 0..2 {
            let mut insert =
                client.insert::<Trade>("t").await.unwrap().with_setting("insert_deduplication_token", "one");
            for id in 0..20_000 {
                insert.write(&trade(id)).await.unwrap();
            }
            insert.end().await.unwrap();
        }
        let count: u64 = client.query("SELECT count() FROM t").fetch_one().await.unwrap();
        assert_eq!(count, 20_000, "{what}");
        let rows = client.query("SELECT ?fields FROM t ORDER BY id").fetch_all::<Trade>().await.unwrap();
        assert!(rows.iter().eq((0..20_000).map(trade).collect::<Vec<_>>().iter()), "{what}");
        let named: String = client
            .query("SELECT symbol FROM t WHERE id = {id:UInt64}")
            .param("id", 8)
            .fetch_one()
            .await
            .unwrap();
        assert_eq!(named, "S1", "{what}");
        let error = client.query("SELECT id FROM nowhere").fetch_all::<u64>().await.unwrap_err().to_string();
        assert!(error.contains("Code: 60. DB::Exception"), "{what}: {error}");
        let mut cursor = client.query("SELECT number FROM numbers(3000000)").fetch::<u64>().unwrap();
        let (mut sum, mut rows) = (0, 0_u64);
        while let Some(n) = cursor.next().await.unwrap() {
            sum += n;
            rows += 1;
        }
        assert_eq!((rows, sum), (3_000_000, 4_499_998_500_000), "{what}");
        let late = "SELECT throwIf(number = 2500000, 'late')::UInt8 FROM numbers(3000000)";
        let error = client.query(late).fetch_all::<u8>().await.unwrap_err().to_string();
        assert!(error.contains("Code: 395"), "{what}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_inserters_reach_the_rate() {
    const BATCH: u64 = 10_000;
    let Some(mut server) = Server::start(&[]) else { return };
    let client = server.client();
    client.query("CREATE DATABASE d").execute().await.unwrap();
    client.query(TABLE).execute().await.unwrap();
    // Other load of the machine for a while does not count: one of the rounds must reach the rate.
    let (mut stored, mut rates) = (0, Vec::new());
    while !rates.iter().any(|rate| *rate > 50_000) {
        assert!(rates.len() < 4, "rows/s of each round: {rates:?}");
        let began = Instant::now();
        let mut inserters = tokio::task::JoinSet::new();
        for inserter in 0..3_u64 {
            let client = client.clone().with_database("d");
            inserters.spawn(async move {
                let mut rows = 0;
                while began.elapsed() < Duration::from_secs(3) {
                    let mut insert = client.insert::<Trade>("t").await.unwrap();
                    for id in 0..BATCH {
                        insert.write(&trade((inserter << 40) + stored + rows + id)).await.unwrap();
                    }
                    insert.end().await.unwrap();
                    rows += BATCH;
                }
                rows
            });
        }
        let rows: u64 = inserters.join_all().await.into_iter().sum();
        stored += rows;
        let rate = u128::from(rows) * 1_000_000 / began.elapsed().as_micros();
        println!(
            "inserted {rows} rows with 3 inserters: {rate} rows/s, server resident {} MiB",
            server.process().resident_bytes() >> 20
        );
        assert_eq!(server.ask("SELECT count() FROM d.t"), stored.to_string());
        rates.push(rate);
    }
}

#[test]
fn python_client_works_unchanged() {
    let Some(python) = installed("MARKETPRISM_PYTHON", "python/bin/python") else { return };
    let Some(server) = Server::start(&[]) else { return };
    let port = server.address.rsplit(':').next().unwrap().to_owned();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/clickhouse_connect_client.py");
    let out = Command::new(python).arg(script).args([&port, &server.password]).output().unwrap();
    let output = String::from_utf8_lossy(&[out.stdout.as_slice(), &out.stderr].concat()).into_owned();
    assert!(out.status.success() && output.contains("all checks passed"), "{output}");
}
