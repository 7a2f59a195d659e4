//! The rules, one by one, through the command.

use std::path::Path;

use serde_json::Value;

use super::seed;
use crate::stack::Stack;

pub fn integrity(stack: &Stack, config: &Path, more: &[&str]) -> (i32, Value) {
    let output = stack.command("integrity", config, &[&["--json"], more].concat());
    let text = String::from_utf8(output.stdout).unwrap();
    let report = serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("{error}: {text} {}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code().unwrap(), report)
}

fn has(report: &Value, level: &str, code: &str, text: &str) -> bool {
    report["findings"].as_array().unwrap().iter().any(|finding| {
        let [subject, found] = ["subject", "text"].map(|key| finding[key].as_str().unwrap());
        finding["level"] == level && finding["code"] == code && format!("{subject}: {found}").contains(text)
    })
}

/// Fill the tables by hand, add one fault at a time, ask the command while no central runs.
#[tokio::test(flavor = "multi_thread")]
async fn every_fault_leads_to_its_verdict() {
    let Some(stack) = Stack::start().await else { return };
    let config = stack.configure("");
    assert_eq!(stack.init(&config, &[]).status.code(), Some(0));
    seed::healthy(&stack).await;
    let (status, report) = integrity(&stack, &config, &["--from", "1h"]);
    assert_eq!((status, &report["verdict"]), (0, &Value::from("whole")), "{:#}", report["findings"]);
    assert!(
        has(&report, "info", "table.no_recent_rows", "liquidations: no rows arrived"),
        "{:#}",
        report["findings"]
    );
    assert_eq!(report["version"], 1);

    let trades = |database: &str| format!("TRUNCATE TABLE {database}.trades");
    let loss = "INSERT INTO marketprism_hot.losses SELECT 'MARKET_DATA', 5, 9, 5, 'retention', 'first is 10', now64(3) - INTERVAL 5 SECOND";
    let faults = [
        (
            1,
            "fail",
            "ledger.mismatched_windows",
            "hot differs from the edges' audits in 1 window",
            seed::verdict(9, "mismatch", "x"),
        ),
        (
            2,
            "unknown",
            "ledger.unverifiable_windows",
            "1 window cannot be verified",
            seed::verdict(9, "unverifiable", "no audit"),
        ),
        (2, "unknown", "ledger.overdue_windows", "1 window overdue", seed::verdict(40, "open", "")),
        (
            1,
            "fail",
            "replication.mismatched_windows",
            "trades: cold differs from hot in 1 window",
            seed::copied("trades", "mismatch", "9"),
        ),
        (
            2,
            "unknown",
            "replication.failed_windows",
            "trades: 1 window could not be copied",
            seed::copied("trades", "failed", "9"),
        ),
        (0, "warn", "replication.lag", "trades: cold is 90 minutes behind", seed::watermark("trades", 90)),
        (
            0,
            "warn",
            "replication.no_recent_rows",
            "trades: hot has rows of the last 5 minutes, cold has none",
            trades("marketprism_cold"),
        ),
        (
            1,
            "fail",
            "table.no_recent_rows",
            "trades: no rows arrived in hot in the last 5 minutes",
            trades("marketprism_hot"),
        ),
        // The same ids once more, at other times, so that no merge makes one row of them.
        (
            1,
            "fail",
            "table.duplicate_rows",
            "trades: 100 duplicate rows in recent data of hot",
            seed::rows("marketprism_hot", "trades", "number"),
        ),
        (1, "fail", "ledger.lost_messages", "losses: 5 messages discarded", loss.to_owned()),
    ];
    let left_out = format!(
        "ALTER TABLE marketprism_hot.verdicts DELETE WHERE data_type = 'trade' AND window_start = {} SETTINGS mutations_sync = 2",
        seed::window(9)
    );
    let silent = format!(
        "ALTER TABLE marketprism_hot.verdicts DELETE WHERE window_start > {} SETTINGS mutations_sync = 2",
        seed::window(20)
    );
    let another = seed::verdict(55, "verified", "").replace("'e1'", "'e2'");
    let unjudged = seed::rows("marketprism_hot", "trades", "number + 1000").replace("sim_spot", "new_spot");
    let letter = "INSERT INTO marketprism_hot.dead_letters SELECT now64(3) - INTERVAL 5 SECOND, 'MARKET_DATA', 1, 's', '', '', 'bad', 'x'";
    let of_others = [
        (2, "unknown", "ledger.windows_without_verdict", "1 window has no verdict", left_out),
        (2, "unknown", "edge.no_recent_audit", "edge e1: no audit since the window of", silent),
        (0, "warn", "edge.no_recent_audit", "edge e2: no audit since the window of", another),
        (
            2,
            "unknown",
            "ledger.stream_not_audited",
            "trade of new_spot: rows arrive, but no edge audit",
            unjudged,
        ),
        (
            0,
            "warn",
            "ledger.refused_messages",
            "dead letters: 1 message refused for their content",
            letter.to_owned(),
        ),
        (2, "unknown", "ledger.gaps_of_unknown_size", "1 gap of unknown size", seed::gap_of_unknown_size(20)),
    ];
    for (expected, level, code, text, sql) in faults.into_iter().chain(of_others) {
        seed::healthy(&stack).await;
        stack.execute(&sql).await;
        let (status, report) = integrity(&stack, &config, &["--from", "1h"]);
        assert_eq!(status, expected, "{text}: {:#}", report["findings"]);
        assert!(has(&report, level, code, text), "{text}: {:#}", report["findings"]);
    }
    // Yesterday is judged without what is recent now.
    let (_, report) = integrity(&stack, &config, &["--from", "2d", "--to", "1d"]);
    assert!(
        !has(&report, "fail", "table.no_recent_rows", "trades")
            && has(&report, "unknown", "ledger.no_windows", ""),
        "{report:#}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_is_named_with_window_and_cause() {
    let Some(stack) = Stack::start().await else { return };
    let config = stack.configure("");
    assert_eq!(stack.init(&config, &[]).status.code(), Some(0));
    seed::healthy(&stack).await;
    stack.execute(&seed::verdict(9, "mismatch", "hot holds 3 events fewer than e1 stored")).await;
    seed::gap(&stack, 20).await;
    let (status, report) = integrity(&stack, &config, &["--from", "1h"]);
    assert_eq!(status, 1);
    let worst = &report["worst_windows"]["items"][0];
    assert_eq!(worst["of"], "trade.sim_spot.spot.BTC-USDT");
    assert_eq!(worst["reason"], "hot holds 3 events fewer than e1 stored");
    let sql = "SELECT formatDateTime(window_start, '%Y-%m-%dT%H:%i') FROM marketprism_hot.verdicts WHERE state = 'mismatch'";
    let begin: String = stack.hot().query_raw(sql).fetch_one().await.unwrap();
    assert_eq!(worst["window_start"].as_str().unwrap().get(..16), Some(begin.as_str()));
    let gap = &report["gaps"]["items"][0];
    assert_eq!((&gap["cause"], &gap["missing"]), (&Value::from("venue"), &Value::from(3)));
    assert!(gap["evidence"].as_str().unwrap().contains("ids jump from 5 to 9"));
    assert!(
        has(&report, "fail", "ledger.missing_events", "3 events missing (venue: 3 missing in 1 gap)"),
        "{:#}",
        report["findings"]
    );
    let stream = &report["heat_map"]["streams"][0];
    assert_eq!(stream["stream"], "trade.sim_spot.spot.BTC-USDT", "the worst comes first");
    assert_eq!((&stream["windows"]["mismatch"], &stream["missing_events"]), (&1.into(), &3.into()));
    let (status, report) = integrity(&stack, &config, &["--from", "1h", "--table", "orderbooks"]);
    assert_eq!((status, &report["worst_windows"]["total"]), (0, &0.into()), "{:#}", report["findings"]);
    let bad = stack.command("integrity", &config, &["--table", "x"]);
    assert_eq!(bad.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&bad.stderr).contains("table: \"x\" is not allowed"), "{bad:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_say_who_is_away() {
    let Some(mut stack) = Stack::start().await else { return };
    let config = stack.configure("");
    assert_eq!(stack.init(&config, &[]).status.code(), Some(0));
    let diagnosis = stack.command("diagnose", &config, &[]);
    assert_eq!(diagnosis.status.code(), Some(0), "{}", String::from_utf8_lossy(&diagnosis.stdout));
    stack.engine.kill();
    stack.broker.kill();
    for command in ["integrity", "status", "diagnose"] {
        let started = std::time::Instant::now();
        let output = stack.command(command, &config, &[]);
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(2), "{command}: {text}");
        assert!(text.contains("clickhouse hot") && text.contains("no connection"), "{command}: {text}");
        assert!(!text.contains('\u{1b}'), "no colours where nobody sees them");
        assert!(started.elapsed().as_secs() < 30, "{command} took {:?}", started.elapsed());
    }
}
