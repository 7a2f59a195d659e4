//! `integrity --verify` and `--wait`, and reports that are shared.

use std::path::Path;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use marketprism_tests::process::Process;
use marketprism_tests::wait::eventually;
use serde_json::Value;

use super::rules::{has, integrity};
use crate::auditing::{self, audit, judged, publish_audit, stored, trades, window_before};
use crate::events::publish;
use crate::stack::{PATIENCE, Stack, contains_all};
use crate::two_sides::{MINUTE_MS, TwoSides, minutes_ago};

/// Compares nothing a second time by itself.
const WITHOUT_RECHECK: &str =
    "[replication]\nsafety_lag_seconds = 0\ninterval_ms = 100\nrecheck_seconds = 86400\n";
/// Without the present, in which rows would be expected.
const PERIOD: [&str; 4] = ["--from", "1h", "--to", "2m"];

fn verify(stack: &Stack, config: &Path) -> (i32, Value) {
    integrity(stack, config, &[&PERIOD[..], &["--verify"]].concat())
}

fn of_trades(report: &Value) -> &Value {
    let tables = report["verification"]["tables"].as_array().unwrap();
    tables.iter().find(|table| table["table"] == "trades").unwrap()
}

/// No central runs: whatever is found was counted by the command itself.
#[tokio::test(flavor = "multi_thread")]
async fn rows_deleted_in_cold_and_altered_in_hot_by_hand_are_found_at_once() {
    let Some(sides) = TwoSides::on_two_engines(WITHOUT_RECHECK).await else { return };
    let (first_ms, config) = (minutes_ago(20), sides.stack.configure(WITHOUT_RECHECK));
    sides.trades(0..5_000, first_ms, 1_000).await;
    let mut central = sides.replicate();
    sides.windows_are("trades", &[("verified", 5)]).await;
    assert!(central.terminate(PATIENCE).await.success());

    let (_, report) = verify(&sides.stack, &config);
    let found = of_trades(&report);
    assert_eq!((&found["equal"], &found["different"]), (&5.into(), &0.into()), "{found:#}");
    assert_eq!((&found["hot_rows"], &found["cold_rows"]), (&5_000.into(), &5_000.into()));
    assert!(report["verification"]["audits"].is_object(), "{:#}", report["unanswered"]);

    let second_ms = first_ms + MINUTE_MS;
    sides
        .in_cold(
            "ALTER TABLE marketprism_cold.trades DELETE WHERE trade_id = '1500' SETTINGS mutations_sync = 2",
        )
        .await;
    sides
        .in_hot(
            "ALTER TABLE marketprism_hot.trades UPDATE quantity = 7 WHERE trade_id = '3500' SETTINGS mutations_sync = 2",
        )
        .await;
    let (_, report) = integrity(&sides.stack, &config, &PERIOD);
    assert!(!has(&report, "fail replication.mismatched_windows trades"), "the log knows of it: {report:#}");
    let (status, report) = verify(&sides.stack, &config);
    assert_eq!(status, 1, "{:#}", report["findings"]);
    let wanted = "fail replication.mismatched_windows trades: cold differs from hot in 2 windows";
    assert!(has(&report, wanted), "{:#}", report["findings"]);
    let found = of_trades(&report);
    assert_eq!((&found["equal"], &found["different"]), (&3.into(), &2.into()), "{found:#}");
    let reasons: Vec<&str> = report["worst_windows"]["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|window| window["of"] == "trades")
        .map(|window| window["reason"].as_str().unwrap())
        .collect();
    let wanted = [
        "hot was modified, cold is as verified; rows: 1 with other content",
        "cold was modified, hot is as verified; rows: 1 in hot only",
    ];
    assert_eq!(reasons, wanted, "the newest first");
    // Read-only: nothing is written.
    assert_eq!(sides.window("trades", second_ms).await.unwrap().0, "verified");

    let output = sides.stack.command("integrity", &config, &["--verify", "--from", "1h"]);
    let (shown, progress) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    contains_all(&shown, &["VERIFIED NOW: HOT AGAINST COLD", "VERIFIED NOW: HOT AGAINST AUDITS"]);
    contains_all(
        &progress,
        &["verifying, 0 %: counting rows\n", "hot against cold: trades\n", "hot against audits\n"],
    );
    assert!(!progress.contains(['\r', '\u{1b}']), "lines where no terminal is: {progress:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_deleted_in_hot_by_hand_is_found_by_the_audits_at_once() {
    let settings = auditing::QUICK.replace("recheck_seconds = 2", "recheck_seconds = 86400");
    let Some((stack, mut central, jetstream)) = Stack::ready(&settings).await else { return };
    let window = window_before(60);
    let events = trades("e1", window, 0, 100);
    publish(&jetstream, events.iter().cloned()).await;
    publish_audit(&jetstream, &audit("e1", window, vec![stored("BTC-USDT", &events)])).await;
    judged(&stack, "BTC-USDT", "e1", window, "verified").await;
    assert!(central.terminate(PATIENCE).await.success());
    let config = stack.configure(&settings);
    let verify =
        |more: &[&str]| integrity(&stack, &config, &[&["--from", "1h", "--to", "70s"], more].concat());
    let newly = "fail ledger.newly_mismatched_windows ledger: hot, counted just now, differs from the edges' audits in 1 window";
    let (_, report) = verify(&["--verify"]);
    let windows = &report["verification"]["audits"]["windows"];
    assert_eq!((&windows["verified"], &windows["mismatch"]), (&1.into(), &0.into()), "{report:#}");
    assert!(!has(&report, newly), "{:#}", report["findings"]);
    stack
        .execute(
            "ALTER TABLE marketprism_hot.trades DELETE WHERE trade_id = '42' SETTINGS mutations_sync = 2",
        )
        .await;
    let (_, report) = verify(&[]);
    assert!(!has(&report, "fail ledger.mismatched_windows ledger"), "{:#}", report["findings"]);
    let (status, report) = verify(&["--verify"]);
    assert_eq!(status, 1, "{:#}", report["findings"]);
    assert!(has(&report, newly), "{:#}", report["findings"]);
    assert!(
        report["worst_windows"]["items"][0]["reason"].as_str().unwrap().contains("1 missing"),
        "{report:#}"
    );
    // Another table's windows are not the question.
    let (_, report) = verify(&["--verify", "--table", "orderbooks"]);
    assert!(!has(&report, newly), "{:#}", report["findings"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn wait_lasts_until_the_system_has_started_but_not_longer_than_asked() {
    let Some(stack) = Stack::empty().await else { return };
    // The events may be in hot before their audit: until it is there, the window is open.
    let settings = auditing::QUICK.replace("grace_seconds = 1", "grace_seconds = 10");
    let config = stack.configure(&settings);
    let early = stack.command("integrity", &config, &["--wait=1", "--from", "1h"]);
    let errors = String::from_utf8(early.stderr).unwrap();
    assert_eq!(early.status.code(), Some(2), "{errors}");
    contains_all(&errors, &["gave up waiting after 1 s: "]);
    for bad in ["--wait=0", "--wait=x"] {
        assert_eq!(stack.command("integrity", &config, &[bad]).status.code(), Some(2), "{bad}");
    }

    let folder = config.parent().unwrap();
    let mut command = Stack::central_command("integrity", &config);
    command.args(["--wait=120", "--from", "1h", "--json"]);
    let mut waiting = Process::start("waiting", &mut command, folder);
    let log = folder.join("waiting.log");
    eventually("the command says what it waits for", async || {
        std::fs::read_to_string(&log).ok().filter(|text| text.contains(" of 120 s: "))
    })
    .await;
    let _central = stack.central(&settings).await;
    let (jetstream, window) = (stack.jetstream().await, window_before(1));
    let events = trades("e1", window, 0, 100);
    publish(&jetstream, events.iter().cloned()).await;
    assert!(waiting.is_running(), "{}", std::fs::read_to_string(&log).unwrap());
    publish_audit(&jetstream, &audit("e1", window, vec![stored("BTC-USDT", &events)])).await;
    // No order books arrive, so it is not whole.
    assert_eq!(waiting.ended(PATIENCE).await.code(), Some(1));
    let text = std::fs::read_to_string(&log).unwrap();
    let report: Value = serde_json::from_str(text.get(text.find('{').unwrap()..).unwrap()).unwrap();
    assert_eq!(
        (&report["unanswered"], &report["windows"]["verified"]),
        (&Value::Array(Vec::new()), &1.into())
    );
}

/// The engine's answers are held for longer than a report waits for another comparison when it has an earlier one.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_waits_for_its_comparison_of_the_tables() {
    let Some((stack, config)) = Stack::laid_out("").await else { return };
    let [_, link] = stack.links().await;
    Stack::lead_through(&config, &link);
    link.shut();
    let folder = config.parent().unwrap();
    let mut command = Stack::central_command("integrity", &config);
    let mut asked = Process::start("asked", command.args(["--from", "1h", "--json"]), folder);
    let began = Instant::now();
    eventually("the answers are held", async || began.elapsed() > Duration::from_secs(3)).await;
    link.open();
    asked.ended(PATIENCE).await;
    let text = std::fs::read_to_string(folder.join("asked.log")).unwrap();
    let report: Value = serde_json::from_str(text.get(text.find('{').unwrap()..).unwrap()).unwrap();
    assert_eq!(report["schema"]["as_wanted"], true, "{:#}", report["unanswered"]);
    let scratch = "SELECT count() FROM system.databases WHERE startsWith(name, 'marketprism_scratch')";
    assert_eq!(stack.number(scratch).await, Some(0), "the comparison ends with the command");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_verified_without_the_servers() {
    let Some((mut stack, config)) = Stack::laid_out("").await else { return };
    stack.engine.kill();
    let output = stack.command("integrity", &config, &["--verify"]);
    assert_eq!(output.status.code(), Some(2));
    contains_all(
        &String::from_utf8(output.stderr).unwrap(),
        &["error: cannot verify: hot: clickhouse unreachable"],
    );
}

/// Reports that central computed so far.
fn computed(stack: &Stack) -> u64 {
    let (_, metrics) = stack.get("/metrics").unwrap();
    let line =
        metrics.lines().find_map(|line| line.strip_prefix("marketprism_central_reports_computed_total "));
    line.unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_reports_at_once_cost_one() {
    const AT_ONCE: u64 = 8;
    let Some((stack, _central, _)) = Stack::ready("").await else { return };
    let stack = Arc::new(stack);
    // On a busy machine a request may come too late to share.
    for attempt in 1.. {
        let (before, together) = (computed(&stack), Arc::new(Barrier::new(AT_ONCE as usize)));
        let ask = |number: u64| {
            let (stack, together) = (Arc::clone(&stack), Arc::clone(&together));
            std::thread::spawn(move || {
                together.wait();
                let spelled = ["/integrity", "/integrity?from=24h", "/integrity?to=now&table="];
                stack.get(spelled[number as usize % spelled.len()]).unwrap().0
            })
        };
        let asked: Vec<_> = (0..AT_ONCE).map(ask).collect();
        assert!(asked.into_iter().all(|thread| thread.join().unwrap() == 200));
        match computed(&stack) - before {
            1 => break,
            more => assert!(attempt < 30, "{AT_ONCE} equal reports at once cost {more}"),
        }
    }
}
