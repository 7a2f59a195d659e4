//! Promise: the report distinguishes complete, incomplete and unverifiable data, with the cause, from the venue's socket to a separate cold
//! server.

mod system;
mod two_edges;

use marketprism_tests::wait::{PATIENCE, becomes, eventually};
use marketprism_venue_sim::{FaultAction, FaultSpec};
use serde_json::Value;

use self::system::{Span, System, WINDOW_SECONDS, items, reaches, seconds};
use crate::{SYMBOLS, VENUE_SYMBOLS};

const EXCHANGE: &str = "binance_spot";

#[tokio::test(flavor = "multi_thread")]
async fn complete_data_is_verified_and_a_deleted_row_is_found_and_repaired() {
    let mut system = System::copied_soon().await;
    let span = system
        .collect(600, async |system| {
            system.broker.kill();
            system.broker.restart().await;
            eventually("the whole way is valid again", || async {
                let (code, text, _) = system.central.ask(&["validate", "--seconds", "1"]).await;
                if code == Some(0) { Ok(()) } else { Err(text) }
            })
            .await;
        })
        .await;
    let sent = system.venue_trades();
    // Rows are copied by the time they were stored, possibly in a later window than those of the range.
    for (engine, database) in [(&system.hot, "marketprism_hot"), (&system.cold, "marketprism_cold")] {
        let query = format!("SELECT uniqExact(event_id) + count() FROM {database}.trades");
        reaches(engine, &query, 2 * sent).await;
    }
    let verified = "SELECT toUInt64(sum(expected)) FROM marketprism_hot.verdicts FINAL WHERE data_type = 'trade' AND state = 'verified'";
    reaches(&system.hot, verified, sent).await;
    let report = system.complete("all windows are verified", &span).await;
    assert_eq!(report["windows"]["mismatch"], 0, "{report}");

    let victim = "SELECT trade_id FROM marketprism_cold.trades ORDER BY timestamp LIMIT 1 OFFSET 50";
    let victim = system.cold.text(victim).await.unwrap();
    let delete = format!(
        "ALTER TABLE marketprism_cold.trades DELETE WHERE trade_id = '{}' SETTINGS mutations_sync = 2",
        victim.trim()
    );
    system.cold.text(&delete).await.unwrap();
    let names_the_window = |report: &Value| {
        items(report, "worst_windows").iter().any(|window| {
            window["kind"] == "replication" && window["of"] == "trades" && window["state"] == "mismatch"
        })
    };
    system
        .report("the window of the deleted row is a mismatch", &span, |code, report| {
            code == 1 && names_the_window(report)
        })
        .await;
    let (code, said, errors) = system.central.ask(&["repair", "--table", "trades"]).await;
    assert_eq!(code, Some(0), "repair: {said}{errors}");
    system.complete("the repaired window is verified again", &span).await;
    let query = "SELECT uniqExact(event_id) + count() FROM marketprism_cold.trades";
    assert_eq!(system.cold.number(query).await.unwrap(), 2 * sent, "trades in cold after the repair");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_of_the_venue_is_reported_and_windows_of_a_killed_edge_are_unverifiable() {
    let mut system = System::start().await;
    let gap_range = system
        .collect(300, async |system| {
            let sim = &system.sim;
            let drop = FaultSpec::new(FaultAction::Drop).exchange(EXCHANGE).symbol("BTCUSDT").stream("rade");
            let id = sim.fault(drop.count(3)).unwrap();
            becomes("three trades are withheld", || async { sim.fired(id) }, |fired| *fired == 3).await;
        })
        .await;
    // The gap may span two windows, of which one is compared first.
    let missing = |report: &Value| -> u64 {
        let gaps = items(report, "gaps").iter().filter(|gap| {
            gap["cause"] == "venue"
                && gap["stream"] == "trade.binance_spot.spot.BTC-USDT"
                && gap["kind"] == "trade_ids"
        });
        gaps.map(|gap| gap["missing"].as_u64().unwrap()).sum()
    };
    let reported = system
        .report("the gap is reported", &gap_range, |code, report| code == 1 && missing(report) >= 3)
        .await;
    assert_eq!(missing(&reported), 3, "{reported}");

    let killed = system
        .collect(300, async |system| {
            system.edge.kill();
            system.edge.restart().await;
            let edge = &system.edge;
            eventually("the feed is ready again", || edge.get("/ready")).await;
        })
        .await;
    let names_the_edge = |report: &Value| {
        items(report, "worst_windows")
            .iter()
            .any(|window| window["state"] == "unverifiable" && window["edge"] == "edge-test")
    };
    system
        .report("windows of the killed edge cannot be verified", &killed, |code, report| {
            code != 0 && report["windows"]["unverifiable"].as_u64().unwrap() > 0 && names_the_edge(report)
        })
        .await;

    two_edges::fill_each_others_holes(&mut system).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_stop_is_known_downtime_with_its_times_and_a_kill_is_not() {
    let mut system = System::start().await;
    let (mut stop, mut start) = ((0, 0), (0, 0));
    let span = system
        .collect(300, async |system| {
            // So that there is a rest before the stop.
            system.passes(2).await;
            let before = seconds(&system.hot).await;
            assert!(system.edge.process().terminate(PATIENCE).await.success());
            stop = (before, seconds(&system.hot).await);
            system.passes(4).await;
            let before = seconds(&system.hot).await;
            system.restarts().await;
            start = (before, seconds(&system.hot).await);
        })
        .await;
    let count = |report: &Value, state: &str| report["windows"][state].as_u64().unwrap();
    let report = system
        .report("the stop is known downtime", &span, |code, report| {
            let idle = report["verdict"] == "not_collected" && count(report, "open") == 0;
            code == 1 && idle && count(report, "not_collected") > 0
        })
        .await;
    assert_eq!((count(&report, "unverifiable"), count(&report, "mismatch")), (0, 0), "{report}");
    let [downtime] = report["downtimes"].as_array().unwrap().as_slice() else { panic!("{report}") };
    let at = async |end: &str| {
        let text = downtime[end].as_str().unwrap().to_owned();
        let query = format!("SELECT toUInt64(toUnixTimestamp(parseDateTime64BestEffort('{text}')))");
        system.hot.number(&query).await.unwrap()
    };
    let (from, to) = (at("from").await, at("to").await);
    assert!(
        (stop.0..=stop.1).contains(&from) && (start.0..=start.1).contains(&to),
        "{downtime} {stop:?} {start:?}"
    );
    assert_eq!(
        (&downtime["edge"], &downtime["reason"]),
        (&"edge-test".into(), &"stopped by operator".into())
    );
    let summary = report["summary"].as_str().unwrap();
    assert!(summary.contains("not collected") && summary.contains("stopped by operator"), "{summary}");

    // The last trade may be in the window before that of the stop.
    let first_window = (stop.0 / WINDOW_SECONDS - 1) * WINDOW_SECONDS;
    let query = format!("SELECT formatDateTime(toDateTime({first_window}, 'UTC'), '%Y-%m-%dT%H:%i:%SZ')");
    let rest = Span { from: span.from, to: system.hot.text(&query).await.unwrap().trim().to_owned() };
    system.complete("the rest is whole", &rest).await;

    kills_are_named(&mut system).await;
}

/// Two kills, the second one while the first may still be recovered.
async fn kills_are_named(system: &mut System) {
    let lost_before = system.lost().await;
    let mut kills = Vec::new();
    let killed = system
        .collect(300, async |system| {
            for _ in 0..2 {
                let before = seconds(&system.hot).await;
                system.edge.kill();
                system.passes(2).await;
                system.restarts().await;
                kills.push((before, seconds(&system.hot).await));
                // Killed again while it may still recover what the first kill left.
            }
        })
        .await;
    let is_named = |report: &Value| {
        let named = |window: &Value| window["reason"].as_str().unwrap_or_default().contains("edge killed");
        let downtimes = report["downtimes"].as_array().unwrap();
        !downtimes.is_empty() && items(report, "worst_windows").iter().all(named)
    };
    let count = |report: &Value, state: &str| report["windows"][state].as_u64().unwrap();
    let is_closed = |code: i32, report: &Value| {
        let closed = count(report, "unverifiable") > 0 && count(report, "open") == 0;
        code == 1 && report["verdict"] == "not_whole" && closed && is_named(report)
    };
    // What a killed run had left may be stored after the first report.
    let report = eventually("every trade of the kills is missing, and no other one", || async {
        let lost = system.lost().await - lost_before;
        let report =
            system.report("what was recorded is verified, the rest is named", &killed, is_closed).await;
        let streams = report["heat_map"]["streams"].as_array().unwrap().iter();
        let missing: u64 = streams.map(|stream| stream["missing_events"].as_u64().unwrap()).sum();
        if missing == lost { Ok(report) } else { Err(format!("{missing} missing, {lost} not in hot")) }
    })
    .await;
    assert_eq!(count(&report, "mismatch"), 0, "{report}");
    for downtime in report["downtimes"].as_array().unwrap() {
        assert_eq!((&downtime["edge"], &downtime["reason"]), (&"edge-test".into(), &"edge killed".into()));
        let mut found = Vec::new();
        for end in ["from", "to"] {
            let text = downtime[end].as_str().unwrap();
            let query = format!("SELECT toUInt64(toUnixTimestamp(parseDateTime64BestEffort('{text}')))");
            found.push(system.hot.number(&query).await.unwrap());
        }
        // From the last checkpoint before a kill to the next start.
        let is_of = |kill: &(u64, u64)| found[0] <= kill.1 && kill.0 <= found[1] && found[1] <= kill.1;
        assert!(kills.iter().any(is_of), "{downtime} {kills:?}");
    }
    let causes = report["findings"].to_string();
    assert!(causes.contains("ours: "), "{causes}");
}

/// Trades of the first symbol that the venue's history has no more.
const FORGOTTEN: usize = 8;

/// Loses trades of both symbols, until each hole is filled from the venue's history or given up. Returns their number, and the first and last
/// one that the history does not have.
async fn lose_trades(system: &System) -> (usize, (u64, u64)) {
    let sim = &system.sim;
    let lose = |symbol: &&str| {
        let lost = FaultSpec::new(FaultAction::Drop).exchange(EXCHANGE).symbol(symbol).stream("@trade");
        sim.fault(lost.count(u64::MAX)).unwrap()
    };
    let faults: Vec<_> = VENUE_SYMBOLS.iter().map(lose).collect();
    let lost = |symbol: &str| -> Vec<u64> {
        let trades = sim.all_trades(EXCHANGE, symbol).unwrap();
        trades.iter().filter(|trade| trade.withheld > 0).map(|trade| trade.id).collect()
    };
    eventually("both symbols lose trades", || async {
        let least = VENUE_SYMBOLS.map(|symbol| lost(symbol).len()).into_iter().min().unwrap();
        if least > 2 * FORGOTTEN { Ok(()) } else { Err(least.to_string()) }
    })
    .await;
    // No trade has shown the gaps yet.
    sim.pause();
    for id in faults {
        sim.remove_fault(id);
    }
    let first = lost(VENUE_SYMBOLS[0]);
    let forgotten = (first[0], first[FORGOTTEN - 1]);
    sim.set_history(EXCHANGE, VENUE_SYMBOLS[0], first[FORGOTTEN]).unwrap();
    let withheld = VENUE_SYMBOLS.iter().map(|symbol| lost(symbol).len()).sum();
    sim.resume();
    // Both ends are in audits of the span.
    let edge = &system.edge;
    eventually("every hole is decided", || async {
        let count = async |outcome| {
            let label = format!("outcome=\"{outcome}\"");
            edge.metric("marketprism_edge_backfill_trades_total", &label).await as usize
        };
        let decided = (count("filled").await, count("not_served").await);
        if decided == (withheld - FORGOTTEN, FORGOTTEN) { Ok(()) } else { Err(format!("{decided:?}")) }
    })
    .await;
    (withheld, forgotten)
}

#[tokio::test(flavor = "multi_thread")]
async fn gaps_that_the_venues_history_fills_are_complete_and_exactly_the_rest_is_missing() {
    let mut system = System::with_backfill().await;
    let (mut withheld, mut forgotten) = (0, (0, 0));
    let span = system.collect(300, async |system| (withheld, forgotten) = lose_trades(system).await).await;
    let stored = system.venue_trades() - FORGOTTEN as u64;
    reaches(&system.hot, "SELECT uniqExact(event_id) + count() FROM marketprism_hot.trades", 2 * stored)
        .await;
    let filled = "SELECT count() FROM marketprism_hot.trades WHERE data_source = 'backfill'";
    assert_eq!(system.hot.number(filled).await.unwrap(), (withheld - FORGOTTEN) as u64);
    let fills = |report: &Value, symbol: &str| {
        let of_stream = format!("trade.{EXCHANGE}.spot.{symbol}");
        let gaps = items(report, "gaps").iter();
        gaps.filter(|gap| gap["kind"] == "backfilled" && gap["stream"] == of_stream)
            .map(|gap| (gap["missing"].as_u64().unwrap(), gap["evidence"].as_str().unwrap().to_owned()))
            .collect::<Vec<_>>()
    };
    let text = format!("{FORGOTTEN} events missing (venue: {FORGOTTEN} missing in 1 gap)");
    let names_the_rest = |report: &Value| {
        report["findings"].as_array().unwrap().iter().any(|finding| finding["text"] == text.as_str())
    };
    // A report made before the windows of the filled trades are compared counts these trades as missing.
    let report = system
        .report("the gaps are reported as filled, and the rest as missing", &span, |code, report| {
            let count = |state: &str| report["windows"][state].as_u64().unwrap();
            let is_filled = SYMBOLS.iter().all(|symbol| fills(report, symbol).len() == 1);
            code == 1 && count("open") == 0 && is_filled && names_the_rest(report)
        })
        .await;
    let (first, last) = forgotten;
    let [(missing, evidence)] = &fills(&report, SYMBOLS[0])[..] else { panic!("{report}") };
    assert_eq!(*missing, FORGOTTEN as u64);
    let left = format!("trades {first} to {last} not served by the venue's history");
    assert!(evidence.contains(&left), "{evidence}");
    assert_eq!(fills(&report, SYMBOLS[1])[0].0, 0, "{report}");
}
