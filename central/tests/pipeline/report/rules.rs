//! Each rule of the report, through the command.

use std::path::Path;
use std::time::{Duration, Instant};

use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::stream;
use marketprism_tests::wait::eventually;
use serde_json::Value;

use super::seed;
use crate::events::now_us;
use crate::http_proxies::Balancer;
use crate::stack::{Stack, contains_all};

pub fn integrity(stack: &Stack, config: &Path, more: &[&str]) -> (i32, Value) {
    let output = stack.command("integrity", config, &[&["--json"], more].concat());
    let text = String::from_utf8(output.stdout).unwrap();
    let report = serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("{error}: {text} {}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code().unwrap(), report)
}

/// `wanted`: level, code, and part of subject and text.
pub fn has(report: &Value, wanted: &str) -> bool {
    let [level, code, text] = wanted.splitn(3, ' ').collect::<Vec<_>>()[..] else { panic!("{wanted}") };
    report["findings"].as_array().unwrap().iter().any(|finding| {
        let [subject, found] = ["subject", "text"].map(|key| finding[key].as_str().unwrap());
        finding["level"] == level && finding["code"] == code && format!("{subject}: {found}").contains(text)
    })
}

/// Dead letters, and what the report says of them.
fn refusals() -> Vec<(&'static str, String)> {
    let insert = |values: &str| format!("INSERT INTO marketprism_hot.dead_letters SELECT {values}");
    let letter = "now64(3) - INTERVAL 5 SECOND, 'MARKET_DATA', 1, 's', '', '', 'bad', 'x'";
    // Each event has a number of its own in its reason.
    let late = "now64(3) - INTERVAL 5 SECOND, 'MARKET_DATA', number, 's', '', '', \
                'timestamp: is ' || toString(number) || ', allowed: from 9 on, since hot deletes rows after 3 days', 'x' FROM numbers(100)";
    // More reasons than are listed.
    let odd = "now64(3) - INTERVAL 5 SECOND, 'MARKET_DATA', number, 's', '', '', \
               'symbol: is ' || char(97 + number % 26, 97 + intDiv(number, 26)), 'x' FROM numbers(200)";
    let forged = "now64(3) - INTERVAL 5 SECOND, 'MARKET_DATA', number, 's', '', '', \
                  'event_id: is ' || lower(hex(MD5(toString(number)))) || ', allowed: ' || lower(hex(MD5('x' || toString(number)))) || ', the id of its content', \
                  'x' FROM numbers(200)";
    let quoted = "now64(3) - INTERVAL 5 SECOND, 'MARKET_DATA', number, 's', '', '', \
                  'subject \"' || char(97 + number % 26, 97 + intDiv(number, 26)) || '\\\\\" x\" disagrees', 'x' FROM numbers(200)";
    vec![
        ("warn ledger.refused_messages dead letters: 1 message refused for their content", insert(letter)),
        (
            "warn ledger.refused_messages dead letters: 200 messages refused for their content; most frequent: symbol: is ",
            insert(odd),
        ),
        (
            "warn ledger.refused_messages dead letters: 200 messages refused for their content; most frequent: event_id: is ",
            insert(forged),
        ),
        (
            "warn ledger.refused_messages dead letters: 200 messages refused for their content; most frequent: subject ",
            insert(quoted),
        ),
        (
            "warn ledger.expired_events dead letters: 100 messages came later than hot keeps rows",
            insert(late),
        ),
    ]
}

/// A stream whose ids begin again at lower ones.
fn renumbered() -> String {
    let verdict = |back, ids: &str| {
        let verdict = seed::verdict(back, "verified", "").replace("BTC-USDT", "NEW-USDT");
        verdict.replace("'unnumbered', 'complete', 0, []", &format!("'by_one', 'complete', 0, [{ids}]"))
    };
    let verdicts = [verdict(9, "(9000, 9100)"), verdict(8, "(1, 40)")].join(" UNION ALL ");
    verdicts.replace(" UNION ALL INSERT INTO marketprism_hot.verdicts", " UNION ALL")
}

/// Statements that each cause one finding in a healthy hour.
fn faults() -> Vec<(&'static str, String)> {
    let truncate = |database: &str| format!("TRUNCATE TABLE {database}.trades");
    let delete = |condition: String| {
        format!("ALTER TABLE marketprism_hot.verdicts DELETE WHERE {condition} SETTINGS mutations_sync = 2")
    };
    let insert = |table: &str, values: &str| format!("INSERT INTO marketprism_hot.{table} SELECT {values}");
    let rows = |ids: &str| seed::rows("marketprism_hot", "trades", ids);
    let lost = "'MARKET_DATA', 5, 9, 5, 'retention', 'first is 10', now64(3) - INTERVAL 5 SECOND";
    let many = "'MARKET_DATA', 10 * number, 10 * number + 4, 5, 'retention', 'x', now64(3) - INTERVAL 5 SECOND FROM numbers(300)";
    let left_out = delete(format!("data_type = 'trade' AND window_start = {}", seed::window(9)));
    let e1_silent = delete(format!("window_start > {}", seed::window(20)));
    let e2_silent = seed::verdict(55, "verified", "").replace("'e1'", "'e2'");
    vec![
        (
            "fail ledger.mismatched_windows hot differs from the edges' audits in 1 window",
            seed::verdict(9, "mismatch", "x"),
        ),
        (
            "unknown ledger.unverifiable_windows 1 window cannot be verified",
            seed::verdict(9, "unverifiable", "x"),
        ),
        ("unknown ledger.overdue_windows 1 window overdue", seed::verdict(40, "open", "")),
        (
            "fail replication.mismatched_windows trades: cold differs from hot in 1 window",
            seed::copied("trades", "mismatch", "9"),
        ),
        (
            "unknown replication.failed_windows trades: 1 window could not be copied",
            seed::copied("trades", "failed", "9"),
        ),
        ("warn replication.lag trades: cold is 90 minutes behind", seed::watermark("trades", 90)),
        (
            "warn replication.no_recent_rows trades: hot has rows of the last 5 minutes, cold has none",
            truncate("marketprism_cold"),
        ),
        (
            "fail table.no_recent_rows trades: no rows arrived in hot in the last 5 minutes",
            truncate("marketprism_hot"),
        ),
        // The same ids again at other times, so that no merge removes them.
        ("fail table.duplicate_rows trades: 100 duplicate rows in recent data of hot", rows("number")),
        ("fail ledger.lost_messages losses: 5 messages discarded", insert("losses", lost)),
        // More losses than are listed.
        ("fail ledger.lost_messages losses: 1500 messages discarded", insert("losses", many)),
        ("unknown ledger.windows_without_verdict 1 window has no verdict", left_out),
        (
            "warn ledger.trade_ids_restarted ledger: the venue numbers trades from a lower id on again in 1 stream, the first trade.sim_spot.spot.NEW-USDT at ",
            renumbered(),
        ),
        ("unknown edge.no_recent_audit edge e1: no audit since the window of", e1_silent),
        ("warn edge.no_recent_audit edge e2: no audit since the window of", e2_silent),
        (
            "unknown ledger.stream_not_audited trade of new_spot spot: rows arrive, but no edge audit",
            rows("number + 1000").replace("sim_spot", "new_spot"),
        ),
        (
            "warn edge.clock_offset edge e1: its clock was wrong: -2 s \u{b1} 3 ms against sim_spot",
            seed::edge_audit("('sim_spot', -2000000000, 3000000, 7), ('a', 1000000000, 1000000000, 7)", ""),
        ),
        (
            "warn edge.clock_stepped edge e1: its clock was set 1 times: -90 s at 1970",
            seed::edge_audit("", "(7, -90000000000)"),
        ),
        ("unknown ledger.gaps_of_unknown_size 1 gap of unknown size", seed::gap_of_unknown_size(20)),
    ]
}

/// Tables are filled by hand, one fault at a time; the command runs without a central.
#[tokio::test(flavor = "multi_thread")]
async fn every_fault_leads_to_its_verdict() {
    let Some((stack, config)) = Stack::laid_out("").await else { return };
    // Windows are relative to it.
    let minute = || now_us() / 60_000_000;
    let mut filled = minute();
    seed::healthy(&stack).await;
    let (status, report) = integrity(&stack, &config, &["--from", "1h"]);
    assert_eq!((status, &report["verdict"]), (0, &Value::from("whole")), "{:#}", report["findings"]);
    assert!(
        has(&report, "info table.no_recent_rows liquidations: no rows arrived"),
        "{:#}",
        report["findings"]
    );
    assert_eq!(report["version"], 1);
    for (wanted, sql) in faults().into_iter().chain(refusals()) {
        if minute() != filled {
            filled = minute();
            seed::healthy(&stack).await;
        }
        stack.execute(&sql).await;
        let (status, report) = integrity(&stack, &config, &["--from", "1h"]);
        let expected = match wanted.split(' ').next().unwrap() {
            "fail" => 1,
            "unknown" => 2,
            _ => 0,
        };
        assert_eq!(status, expected, "{wanted}: {:#}", report["findings"]);
        assert!(has(&report, wanted), "{wanted}: {:#}", report["findings"]);
        seed::heal(&stack, &sql).await;
    }
    a_mutation_that_fails_is_named(&stack, &config).await;
    a_stop_excuses_silence_until_the_edge_reports_again(&stack, &config).await;
    a_latency_says_how_far_it_can_be_trusted(&stack, &config).await;
    second_rows_count_in_periods_with_recent_rows_but_for_those_of_a_correction(&stack, &config).await;
    // Recent rows do not matter for a period of yesterday.
    let (_, report) = integrity(&stack, &config, &["--from", "2d", "--to", "1d"]);
    assert!(!has(&report, "fail table.no_recent_rows trades"), "{report:#}");
    assert!(has(&report, "unknown ledger.no_windows no window"), "{report:#}");
}

async fn a_mutation_that_fails_is_named(stack: &Stack, config: &Path) {
    seed::healthy(stack).await;
    let failing = "ALTER TABLE marketprism_hot.trades DELETE WHERE throwIf(stream_seq >= 0) = 1 SETTINGS mutations_sync = 0";
    stack.execute(failing).await;
    let failed = "SELECT count() FROM system.mutations WHERE database = 'marketprism_hot' AND table = 'trades' AND latest_fail_reason != ''";
    eventually("the mutation to fail", || async { stack.number(failed).await.filter(|failed| *failed == 1) })
        .await;
    let wanted = "warn clickhouse.stuck_mutation clickhouse hot: trades: 1 mutation not done: ";
    let (_, report) = integrity(stack, config, &["--from", "1h"]);
    assert!(has(&report, wanted), "{:#}", report["findings"]);
    stack.execute("KILL MUTATION WHERE database = 'marketprism_hot' AND table = 'trades'").await;
}

/// The correction is in none of the periods: its frames were received, and it was closed, before the shorter one.
async fn second_rows_count_in_periods_with_recent_rows_but_for_those_of_a_correction(
    stack: &Stack,
    config: &Path,
) {
    seed::healthy(stack).await;
    stack.execute(&seed::rows("marketprism_hot", "trades", "number")).await;
    let is_named =
        |period: &[&str]| has(&integrity(stack, config, period).1, "fail table.duplicate_rows trades: 1");
    assert!(is_named(&["--from", "2m"]));
    assert!(!is_named(&["--from", "2h", "--to", "1h"]), "those rows are recent, and none of that hour's");
    stack
        .execute(
            "INSERT INTO marketprism_hot.corrections (correction, data_type, exchange, edge, from_at, to_at, changed, created_at) \
             SELECT 1, 'trade', 'sim_spot', 'e1', now64(9) - INTERVAL 6 MINUTE, now64(9) - INTERVAL 5 MINUTE, 100, now64(3) - INTERVAL 4 MINUTE",
        )
        .await;
    assert!(!is_named(&["--from", "2m"]), "they are rows and their replacements");
    stack.execute("TRUNCATE TABLE marketprism_hot.corrections").await;
}

async fn a_latency_says_how_far_it_can_be_trusted(stack: &Stack, config: &Path) {
    seed::healthy(stack).await;
    stack.execute(&seed::edge_audit("('sim_spot', 1200000, 4500000, 7)", "")).await;
    let (_, report) = integrity(stack, config, &["--from", "1h"]);
    let streams = report["latency"]["streams"].as_array().unwrap();
    let trades = streams.iter().find(|stream| stream["data_type"] == "trade").unwrap();
    let trust = "offset between the two clocks +1.2 ms \u{b1} 4.5 ms; edge_to_hot: edge's clock +1.2 ms \u{b1} 4.5 ms \
                 against sim_spot, and that of the server";
    assert_eq!(trades["trust"], trust, "{streams:#?}");
    let hops = trades["hops"].as_array().unwrap();
    let of = |hop: &Value| (hop["hop"].clone(), hop["events"].clone());
    let found: Vec<_> = hops.iter().map(of).collect();
    assert_eq!(found, [("venue_to_edge".into(), 4.into()), ("edge_to_hot".into(), 100.into())], "{hops:#?}");
    assert_eq!([&hops[0]["p50_us"], &hops[0]["p99_us"]], [17, 24], "{hops:#?}");
    assert!(hops[1]["p50_us"].as_u64().unwrap() <= hops[1]["p99_us"].as_u64().unwrap(), "{hops:#?}");
}

/// An edge that lost its data folder never reports the end of its stop.
async fn a_stop_excuses_silence_until_the_edge_reports_again(stack: &Stack, config: &Path) {
    seed::healthy(stack).await;
    stack
        .execute(&format!(
            "ALTER TABLE marketprism_hot.verdicts DELETE WHERE window_start > {} SETTINGS mutations_sync = 2",
            seed::window(20)
        ))
        .await;
    let stop = format!("toInt64(toUnixTimestamp({})) * 1000000000", seed::window(30));
    stack
        .execute(&format!(
            "INSERT INTO marketprism_hot.downtimes SELECT 'trade', 'sim_spot', 'spot', 'BTC-USDT', 'e1', 'r', {stop}, 0, \
             'stopped', '', 1, now64(3)"
        ))
        .await;
    let silent = "unknown edge.no_recent_audit edge e1: no audit since the window of";
    let (_, report) = integrity(stack, config, &["--from", "1h"]);
    assert!(!has(&report, silent) && report["downtimes"][0]["edge"] == "e1", "{report:#}");
    let again = seed::gap_of_unknown_size(25).replace("created_at) SELECT", "created_at, covers_to) SELECT");
    let covers_to = format!("now64(3), toInt64(toUnixTimestamp({})) * 1000000000", seed::window(24));
    let again = again.strip_suffix("now64(3)").unwrap().to_owned() + &covers_to;
    stack.execute(&again).await;
    let (_, report) = integrity(stack, config, &["--from", "1h"]);
    assert!(has(&report, silent) && report["downtimes"].as_array().unwrap().is_empty(), "{report:#}");
    stack.execute("TRUNCATE TABLE marketprism_hot.downtimes").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_is_named_with_window_and_cause() {
    let Some((stack, config)) = Stack::laid_out("").await else { return };
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
    let trades = &report["tables"][0];
    let percent =
        |states: &Value| ["verified", "mismatch", "open"].map(|state| states[state].as_f64().unwrap());
    // Of the seed's minutes, the first leaves the hour when a minute begins.
    let shares = |windows: &Value| {
        let verified = windows["verified"].as_u64().unwrap();
        assert!((55..=57).contains(&verified), "{windows}");
        let mismatch = 10_000 / (verified + 1);
        [10_000 - mismatch, mismatch, 0].map(|share| share as f64 / 100.0)
    };
    assert_eq!(trades["audited"]["mismatch"], 1, "{trades:#}");
    assert_eq!(percent(&trades["audited_percent"]), shares(&trades["audited"]));
    assert_eq!(percent(&trades["replication_percent"]), [100.0, 0.0, 0.0]);
    stack.execute("INSERT INTO marketprism_cold.trades SELECT * REPLACE('perpetual' AS market_type) FROM marketprism_hot.trades").await;
    let (_, by_market) = integrity(&stack, &config, &["--from", "1h"]);
    let market = |market: &str| {
        let all = by_market["coverage"].as_array().unwrap().iter();
        let mut of = all.filter(|one| one["market_type"] == market && one["data_type"] == "trade");
        of.next().unwrap_or_else(|| panic!("{market}: {by_market:#}")).clone()
    };
    let (spot, perpetual) = (market("spot"), market("perpetual"));
    assert_eq!((&spot["exchange"], &spot["hot"]["rows"]), (&"sim_spot".into(), &100.into()));
    assert_eq!((&perpetual["hot"]["rows"], &perpetual["cold"]["rows"]), (&0.into(), &100.into()));
    assert_eq!(percent(&spot["windows_percent"]), shares(&spot["windows"]));
    assert_eq!(perpetual["is_judged"], false);
    let gap = &report["gaps"]["items"][0];
    assert_eq!((&gap["cause"], &gap["missing"]), (&Value::from("venue"), &Value::from(3)));
    assert!(gap["evidence"].as_str().unwrap().contains("ids jump from 5 to 9"));
    assert!(
        has(&report, "fail ledger.missing_events ledger: 3 events missing (venue: 3 missing in 1 gap)"),
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

/// A replica that lags would be asked whether it has a row.
#[tokio::test(flavor = "multi_thread")]
async fn several_servers_behind_an_address_are_named() {
    let Some((mut stack, config)) = Stack::laid_out("").await else { return };
    let data = stack.folder().join("clickhouse-cold/data");
    std::fs::create_dir_all(&data).unwrap();
    // With the mode of a password's file.
    std::fs::copy(stack.folder().join("clickhouse/data/password"), data.join("password")).unwrap();
    stack.start_cold_engine().await;
    let balancer = Balancer::before([stack.engine.port(), stack.cold_engine().port()]).await;
    Stack::lead_to(&config, stack.engine.port(), balancer.port);
    let text = String::from_utf8(stack.command("diagnose", &config, &[]).stdout).unwrap();
    contains_all(&text, &["leads to several servers: ", "give the address of one server"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_name_the_unreachable_part() {
    let Some((mut stack, config)) = Stack::laid_out("").await else { return };
    let diagnosis = stack.command("diagnose", &config, &[]);
    assert_eq!(diagnosis.status.code(), Some(0), "{}", String::from_utf8_lossy(&diagnosis.stdout));
    let jetstream = stack.jetstream().await;
    let older =
        pull::Config { durable_name: Some("central-market-data".to_owned()), ..pull::Config::default() };
    jetstream.create_consumer_on_stream(older, "MARKET_DATA").await.unwrap();
    let diagnosis = stack.command("diagnose", &config, &[]);
    let text = String::from_utf8(diagnosis.stdout).unwrap();
    contains_all(
        &text,
        &["central-market-data: of an older central", "nats consumer rm MARKET_DATA central-market-data"],
    );
    assert_eq!(diagnosis.status.code(), Some(0), "{text}");
    let name = "KV_MARKETPRISM_CONFIRMED";
    let kept = jetstream.get_stream(name).await.unwrap().cached_info().config.clone();
    let aged = stream::Config { max_age: Duration::from_secs(600), ..kept };
    jetstream.update_stream(aged).await.unwrap();
    let text = String::from_utf8(stack.command("diagnose", &config, &[]).stdout).unwrap();
    contains_all(&text, &["bucket MARKETPRISM_CONFIRMED: max_age_seconds: wanted 0, found 600"]);
    for stream in [
        "KV_MARKETPRISM_CONFIRMED",
        "KV_MARKETPRISM_LEASES",
        "KV_MARKETPRISM_EDGES",
        "KV_MARKETPRISM_ADAPTERS",
        "OBJ_adapters",
    ] {
        jetstream.delete_stream(stream).await.unwrap();
    }
    let diagnosis = stack.command("diagnose", &config, &[]);
    let text = String::from_utf8(diagnosis.stdout).unwrap();
    assert_eq!(diagnosis.status.code(), Some(1), "{text}");
    for bucket in [
        "MARKETPRISM_CONFIRMED",
        "MARKETPRISM_LEASES",
        "MARKETPRISM_EDGES",
        "MARKETPRISM_ADAPTERS",
        "adapters",
    ] {
        assert!(text.contains(&format!("FAIL  bucket {bucket}: is missing: ")), "{bucket}: {text}");
    }
    assert_eq!(text.matches("run `init`: it creates the bucket").count(), 5, "{text}");
    stack.init(&config, &[], 0);
    assert_eq!(stack.command("diagnose", &config, &[]).status.code(), Some(0));
    stack.engine.kill();
    stack.broker.kill();
    for command in ["integrity", "status", "diagnose", "validate"] {
        let started = Instant::now();
        let output = stack.command(command, &config, &[]);
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(2), "{command}: {text}");
        let causes = ["clickhouse hot", "nats", "Connection refused"];
        assert!(causes.iter().all(|cause| text.contains(cause)), "{command}: {text}");
        assert!(!text.contains('\u{1b}'), "no colours where nobody sees them");
        assert!(started.elapsed().as_secs() < 30, "{command} took {:?}", started.elapsed());
    }
}
