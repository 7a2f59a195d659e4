//! Tables that a server cannot work on as usual.

use std::fs;
use std::path::{Path, PathBuf};

use marketprism_tests::wait::eventually;

use super::rules::{has, integrity};
use super::seed;
use crate::stack::Stack;

async fn text(stack: &Stack, sql: &str) -> String {
    stack.hot().query_raw(sql).fetch_one().await.unwrap()
}

async fn part(stack: &Stack, column: &str, table: &str) -> String {
    let of = format!("database = 'marketprism_hot' AND table = '{table}' AND active");
    text(stack, &format!("SELECT {column} FROM system.parts WHERE {of} LIMIT 1")).await
}

/// In which the engine keeps its tables; what it names as a path may be within it.
fn tables_folder(stack: &Stack) -> PathBuf {
    stack.folder().join("clickhouse/data/engine")
}

async fn is_named(stack: &Stack, config: &Path, wanted: &str) {
    eventually(wanted, async || {
        let (_, report) = integrity(stack, config, &["--from", "1h"]);
        if has(&report, wanted) { Ok(()) } else { Err(format!("{:#}", report["findings"])) }
    })
    .await;
}

/// A file of a part is shorter than the server wrote it, as after a fault of the disk.
#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_is_broken_is_named_and_one_that_was_detached_on_purpose_is_not() {
    let Some((mut stack, config)) = Stack::laid_out("").await else { return };
    seed::healthy(&stack).await;
    let folder = tables_folder(&stack).join(part(&stack, "path", "trades").await);
    let detached = part(&stack, "name", "orderbooks").await;
    stack.execute(&format!("ALTER TABLE marketprism_hot.orderbooks DETACH PART '{detached}'")).await;
    stack.engine.stop().await;
    let files = fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path());
    let data = files.filter(|file| file.extension().is_some_and(|end| end == "bin")).min().unwrap();
    fs::File::options().write(true).open(data).unwrap().set_len(10).unwrap();
    stack.engine.restart().await;
    is_named(
        &stack,
        &config,
        "warn clickhouse.broken_parts clickhouse hot: trades: 1 broken part: broken-on-start_",
    )
    .await;
    let (_, report) = integrity(&stack, &config, &["--from", "1h"]);
    assert!(
        !has(&report, "warn clickhouse.broken_parts clickhouse hot: orderbooks"),
        "{:#}",
        report["findings"]
    );
}

/// The server has no Keeper, so the replica that it finds at its start has no session.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_without_a_session_with_keeper_is_named() {
    let Some((mut stack, config)) = Stack::laid_out("").await else { return };
    seed::healthy(&stack).await;
    let of_trades =
        "SELECT metadata_path FROM system.tables WHERE database = 'marketprism_hot' AND name = 'trades'";
    let of_trades = tables_folder(&stack).join(text(&stack, of_trades).await);
    stack.engine.stop().await;
    let definition = "ATTACH TABLE _ UUID '3f6c1de0-58a3-4d1e-9a53-7f1d5b1f0a01'\n(\n    `x` UInt8\n)\n\
                      ENGINE = ReplicatedMergeTree('/replica', 'one')\nORDER BY x\nSETTINGS index_granularity = 8192\n";
    fs::write(of_trades.with_file_name("replica.sql"), definition).unwrap();
    stack.engine.restart().await;
    is_named(&stack, &config, "fail clickhouse.readonly_table clickhouse hot: replica: 1 read-only replica")
        .await;
}
