//! Missing events and evidence in reports on audits of several edges.

use marketprism_schema::{Capability, Completeness, Event, Fingerprint, Gap, StreamAudit};
use marketprism_tests::wait::eventually;
use serde_json::Value;

use super::rules::{has, integrity};
use crate::auditing::{QUICK, audit, judged, publish_audit, stored, trades, verdict, windows_before};
use crate::events::publish;
use crate::stack::Stack;

const A: &str = "BTC-USDT";
const WINDOW_NS: i64 = 2_000_000_000;

fn moment(ns: i64) -> String {
    let at = time::OffsetDateTime::from_unix_timestamp(ns / 1_000_000_000).unwrap();
    format!("{}T{:02}:{:02}:{:02}Z", at.date(), at.hour(), at.minute(), at.second())
}

/// Report on windows from the first to before the last one, once it has the verdict.
async fn report(stack: &Stack, from: i64, to: i64, verdict: &str) -> Value {
    let config = stack.configure(QUICK);
    let (from, to) = (moment(from), moment(to));
    eventually(&format!("the report to say {verdict}"), || async {
        let (_, report) = integrity(stack, &config, &["--from", &from, "--to", &to, "--table", "trades"]);
        eprintln!("{} {:#}", report["verdict"], report["findings"]);
        (report["verdict"] == verdict).then_some(report)
    })
    .await
}

/// An edge whose events the broker had already.
fn duplicates(events: &[Event<'static>]) -> StreamAudit {
    let mut duplicate_ids: Vec<u64> = events.iter().map(|event| event.header.event_id.low_half()).collect();
    duplicate_ids.sort_unstable();
    StreamAudit { duplicates: events.len() as u64, duplicate_ids, ..stored(A, &[]) }
}

/// X misses 238 ids and says so in its window; Y misses 1,195 ids around them and notices them a window later.
#[tokio::test(flavor = "multi_thread")]
async fn trades_that_both_edges_miss_are_missing_whichever_window_noticed_them() {
    let Some((stack, _central, jetstream)) = Stack::ready(QUICK).await else { return };
    let [before, first, second, after] = windows_before([9, 8, 7, 6]);
    let x = [
        trades("x", before, 0, 100),
        [trades("x", first, 100, 150), trades("x", first, 388, 700)].concat(),
        trades("x", second, 700, 1_400),
        trades("x", after, 1_400, 1_500),
    ];
    publish(&jetstream, x.iter().flatten().cloned()).await;
    let windows = [before, first, second, after];
    for (window, events) in windows.into_iter().zip(&x) {
        let mut of_x = stored(A, events);
        if window == first {
            of_x.gaps.push(Gap::trade_ids(150, 387, first + 10, first + 20));
        }
        publish_audit(&jetstream, &audit("x", window, vec![of_x])).await;
    }
    let y = [&x[0][..], &x[1][..20], &x[2][615..], &x[3][..]];
    for (window, events) in windows.into_iter().zip(y) {
        let mut of_y = duplicates(events);
        if window == second {
            of_y.gaps.push(Gap::trade_ids(120, 1_314, first + 5, second + 9));
        }
        publish_audit(&jetstream, &audit("y", window, vec![of_y])).await;
    }
    for window in windows {
        judged(&stack, A, "x", window, "verified").await;
        judged(&stack, A, "y", window, "verified").await;
    }
    let holed = report(&stack, before, after + WINDOW_NS, "not_whole").await;
    assert!(has(&holed, "fail ledger.missing_events ledger: 238 events missing"), "{:#}", holed["findings"]);
    assert_eq!(holed["heat_map"]["streams"][0]["missing_events"], 238, "{:#}", holed["heat_map"]);
    assert_eq!(
        holed["evidence"]["complete_windows"], 2,
        "the second window of both: {:#}",
        holed["evidence"]
    );

    // The edge publishes them again, with the receive times of then.
    let again = trades("x", first, 150, 388);
    publish(&jetstream, again.iter().cloned()).await;
    let mut of_x = stored(A, &[&x[1][..], &again[..]].concat());
    of_x.gaps.push(Gap::trade_ids(150, 387, first + 10, first + 20));
    publish_audit(&jetstream, &audit("x", first, vec![of_x])).await;
    eventually("the verdict on all of them", || async {
        verdict(&stack, A, "x", first)
            .await
            .filter(|verdict| verdict.state == "verified" && verdict.found == 600)
    })
    .await;
    let whole = report(&stack, before, after + WINDOW_NS, "whole").await;
    assert!(
        has(&whole, "info ledger.covered_gaps ledger: 2 gaps, nothing missing"),
        "{:#}",
        whole["findings"]
    );
    assert_eq!(whole["evidence"]["complete_windows"], 4, "{:#}", whole["evidence"]);
    assert!(
        whole["summary"].as_str().unwrap().contains("verified complete: 4 windows (50.0 %)"),
        "{whole:#}"
    );
}

/// A venue that numbers nothing may have dropped anything; one that publishes some events never proves completeness.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_verified_complete_without_numbers_or_with_lower_bounds() {
    let Some((stack, _central, jetstream)) = Stack::ready(QUICK).await else { return };
    let windows = windows_before([8, 7, 6, 5]);
    let mut all = Vec::new();
    for (window, from) in windows.into_iter().zip([0, 100, 200, 300]) {
        // As of a venue that has dropped every second trade: nobody can see that.
        all.push((window, trades("e1", window, from, from + 100).into_iter().step_by(2).collect::<Vec<_>>()));
    }
    publish(&jetstream, all.iter().flat_map(|(_, events)| events.clone())).await;
    let partly = Capability { completeness: Completeness::LowerBound, ..Capability::UNNUMBERED };
    for (capability, [received, lower_bound]) in [(Capability::UNNUMBERED, [4, 0]), (partly, [0, 4])] {
        stack.execute("TRUNCATE TABLE marketprism_hot.verdicts").await;
        for (window, events) in &all {
            let fingerprint: Fingerprint = events.iter().map(|event| event.header.event_id).collect();
            let stream_audit = StreamAudit { stored: fingerprint, capability, ..stored(A, &[]) };
            publish_audit(&jetstream, &audit("e1", *window, vec![stream_audit])).await;
        }
        let verified = format!(
            "SELECT count() FROM marketprism_hot.verdicts FINAL WHERE state = 'verified' AND completeness = '{}'",
            capability.completeness
        );
        eventually("verdicts by the newest audits", async || {
            stack.number(&verified).await.filter(|windows| *windows == 4)
        })
        .await;
        // A window may be judged by its earlier audit once more before the new one is stored.
        let found = eventually("windows judged by their newest audits", async || {
            let found = report(&stack, windows[0], windows[3] + WINDOW_NS, "whole").await;
            let evidence = &found["evidence"];
            assert_eq!(evidence["complete_windows"], 0, "{evidence:#}");
            let counts = [&evidence["received_windows"], &evidence["lower_bound_windows"]];
            let is_newest = counts == [&Value::from(received), &Value::from(lower_bound)];
            is_newest.then_some(found.clone()).ok_or_else(|| evidence.to_string())
        })
        .await;
        assert!(!found.to_string().contains("verified complete:"), "{:#}", found["findings"]);
        let class =
            if received > 0 { "stored = received: 4 windows (100.0 %)" } else { "lower bound: 4 windows" };
        assert!(has(&found, &format!("info ledger.evidence ledger: {class}")), "{:#}", found["findings"]);
    }
}
