//! Verdicts of the ledger on windows of simulated edges.

use async_nats::HeaderMap;
use async_nats::jetstream::Context;
use marketprism_schema::{
    ChangeKind, ChangeOutcome, DOWNTIME_VERSION, Downtime, DowntimeReason, EdgeChange, EdgeChanges, Event,
    EventId, Gap, GapCause, GapKind, audit_subject,
};
use marketprism_tests::wait::eventually;
use serde_json::Value;

use crate::auditing::{
    NUMBERED, QUICK, WINDOW_NS, audit, ids, judged, judged_because, publish_audit, renamed, stored, subject,
    trades, verdict, window_before, windows_before,
};
use crate::corrections::closing;
use crate::events::{publish, publish_bytes};
use crate::stack::{PATIENCE, Stack};

const A: &str = "BTC-USDT";

#[tokio::test(flavor = "multi_thread")]
async fn what_an_edge_stored_is_verified() {
    let Some((stack, _central, jetstream)) = Stack::ready_for_counts(QUICK).await else { return };
    let [first, second] = windows_before([5, 4]);
    let (btc, eth) = (trades("e1", first, 0, 300), renamed(trades("e1", first, 0, 50), "ETH-USDT"));
    let later = trades("e1", second, 300, 400);
    publish(&jetstream, btc.iter().chain(&eth).chain(&later).cloned()).await;
    let mut sent = audit("e1", first, vec![stored(A, &btc), stored("ETH-USDT", &eth)]);
    sent.add_silent(NUMBERED, subject("XRP-USDT"));
    publish_audit(&jetstream, &sent).await;
    let gap = Gap {
        kind: GapKind::TradeIds,
        cause: GapCause::Venue,
        from_sequence: Some(390),
        to_sequence: Some(392),
        missing: Some(3),
        from: second,
        to: second + 1,
        venue_from: None,
        venue_to: Some(second),
        evidence: "a hole".to_owned(),
    };
    let mut of_btc = stored(A, &later);
    (of_btc.gaps, of_btc.duplicates) = (vec![gap], 4);
    // Ids of events that are in hot, as those that another edge brought.
    of_btc.duplicate_ids = ids(&later[..4]);
    publish_audit(&jetstream, &audit("e1", second, vec![of_btc])).await;

    let whole = judged(&stack, A, "e1", first, "verified").await;
    assert_eq!((whole.expected, whole.found, whole.gaps, whole.reason.as_str()), (300, 300, 0, ""));
    assert_eq!(judged(&stack, "ETH-USDT", "e1", first, "verified").await.found, 50);
    assert_eq!(judged(&stack, "XRP-USDT", "e1", first, "verified").await.expected, 0);
    let holed = judged(&stack, A, "e1", second, "verified").await;
    assert_eq!((holed.found, holed.gaps, holed.missing, holed.duplicates), (100, 1, 3, 4));
    assert_eq!(holed.causes, ["venue"]);
    // ETH was reported before, and now is not: no edge confirms it.
    judged_because(&stack, "ETH-USDT", "e1", second, "unverifiable", "other streams").await;
    stack.metrics_contain("marketprism_ledger_audits_taken_total 2").await;
}

/// Streams whose feeds had not started at a kill have killed times that those of other feeds do not have.
#[tokio::test(flavor = "multi_thread")]
async fn the_killed_time_of_one_stream_hides_no_events_of_another_stream_of_the_edge() {
    let Some((stack, _central, jetstream)) = Stack::ready(QUICK).await else { return };
    let window = window_before(5);
    let (btc, eth) = (trades("e1", window, 0, 300), renamed(trades("e1", window, 0, 50), "ETH-USDT"));
    publish(&jetstream, btc.iter().chain(&eth).cloned()).await;
    let killed = Downtime {
        version: DOWNTIME_VERSION,
        edge: "e1".to_owned(),
        region: "test".to_owned(),
        from: window,
        to: Some(window + WINDOW_NS),
        reason: DowntimeReason::Killed,
        detail: None,
        streams: vec![subject("ETH-USDT")],
    };
    let payload = killed.encode().unwrap();
    publish_bytes(&jetstream, &audit_subject("e1"), HeaderMap::new(), payload).await;
    reported_changes_are_stored_once(&stack, &jetstream, window).await;
    eventually("the downtime is stored", || async {
        let stored = stack.number("SELECT count() FROM marketprism_hot.downtimes").await;
        stored.filter(|rows| *rows == 1)
    })
    .await;
    let mut sent = audit("e1", window, vec![stored(A, &btc)]);
    sent.add_silent(NUMBERED, subject("ETH-USDT"));
    publish_audit(&jetstream, &sent).await;
    // A window that closes before its audit comes is unverifiable until then.
    let whole = judged(&stack, A, "e1", window, "verified").await;
    assert_eq!((whole.expected, whole.found), (300, 300), "{whole:?}");
    eventually("the killed stream to have no verified events", || async {
        let of = verdict(&stack, "ETH-USDT", "e1", window).await;
        of.filter(|of| of.state == "unverifiable" && of.found == 0)
    })
    .await;
}

/// A change on trial, its end, and the end again, as an edge reports it after a kill.
async fn reported_changes_are_stored_once(stack: &Stack, jetstream: &Context, at: i64) {
    let change = |id: &str, outcome| EdgeChange {
        id: id.to_owned(),
        at,
        kind: ChangeKind::Adapter,
        subject: "sim".to_owned(),
        why: "http".to_owned(),
        from: "sim@1.0.0+a".to_owned(),
        to: "sim@1.1.0+b".to_owned(),
        outcome,
        cause: (outcome == ChangeOutcome::RolledBack).then(|| "probation: silent".to_owned()),
        digest: Some("bb".to_owned()),
    };
    let (trial, end) =
        (change("adapter-7", ChangeOutcome::Running), change("adapter-7", ChangeOutcome::RolledBack));
    let other = change("adapter-8", ChangeOutcome::Promoted);
    for changed in [vec![trial], vec![end.clone()], vec![end, other]] {
        for message in EdgeChanges::new("e1", "test", changed) {
            let payload = message.encode().unwrap();
            publish_bytes(jetstream, &audit_subject("e1"), HeaderMap::new(), payload).await;
        }
    }
    eventually("every change is one row", || async {
        let query = "SELECT concat(change_id, ' ', outcome, ' ', cause) FROM marketprism_hot.edge_changes FINAL ORDER BY change_id";
        let rows = stack.hot().query(query).fetch_all::<String>().await.map_err(|error| error.to_string())?;
        let expected = ["adapter-7 rolled_back probation: silent", "adapter-8 promoted "];
        if rows == expected { Ok(()) } else { Err(format!("{rows:?}")) }
    })
    .await;
    let (_, body) = stack.get("/integrity?from=1h").unwrap();
    let report: Value = serde_json::from_str(&body).unwrap();
    let shown = report["changes"]["items"].as_array().unwrap().iter();
    let shown: Vec<String> = shown
        .map(|one| {
            format!("{} {} {} {} {}", one["edge"], one["subject"], one["to"], one["outcome"], one["why"])
        })
        .collect();
    let expected =
        ["rolled_back", "promoted"].map(|outcome| format!(r#""e1" "sim" "sim@1.1.0+b" "{outcome}" "http""#));
    assert_eq!(
        (shown, &report["changes"]["total"]),
        (expected.to_vec(), &Value::from(2)),
        "{}",
        report["changes"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withheld_audit_leaves_the_window_unverifiable() {
    // Nothing ends the grace of the window before its first verdict is seen.
    let settings = QUICK.replace("grace_seconds = 1", "grace_seconds = 3600");
    let Some((stack, mut central, jetstream)) = Stack::ready(&settings).await else { return };
    let [earlier, window] = windows_before([1, 0]);
    let (before, withheld) = (trades("e1", earlier, 0, 10), trades("e1", window, 10, 30));
    publish(&jetstream, before.iter().chain(&withheld).cloned()).await;
    publish_audit(&jetstream, &audit("e1", earlier, vec![stored(A, &before)])).await;
    judged(&stack, A, "e1", window, "open").await;
    assert_eq!(central.terminate(PATIENCE).await.code(), Some(0));
    let _central = stack.central(QUICK).await;
    judged_because(&stack, A, "e1", window, "unverifiable", "hot has rows of this window").await;
}

/// A wrong count, a wrong fingerprint, an event that was never published.
#[tokio::test(flavor = "multi_thread")]
async fn a_lying_audit_and_a_lost_event_are_mismatches() {
    let Some((stack, _central, jetstream)) = Stack::ready(QUICK).await else { return };
    let windows = windows_before([8, 7, 6]);
    let [counted, printed, lost] = windows.map(|window| trades("e1", window, 0, 100));
    // Every window has its own trades.
    let [printed, lost] = [renamed(printed, "ETH-USDT"), renamed(lost, "XRP-USDT")];
    publish(&jetstream, counted.iter().chain(&printed).chain(&lost[..99]).cloned()).await;
    let mut of_counted = stored(A, &counted);
    of_counted.stored.count = 98;
    let mut of_printed = stored("ETH-USDT", &printed);
    of_printed.stored.xor ^= 1;
    let streams = [of_counted, of_printed, stored("XRP-USDT", &lost)];
    for (window, stream) in windows.into_iter().zip(streams) {
        publish_audit(&jetstream, &audit("e1", window, vec![stream])).await;
    }
    let counted = judged(&stack, A, "e1", windows[0], "mismatch").await;
    assert!(counted.reason.contains("2 too many"), "{}", counted.reason);
    let printed = judged(&stack, "ETH-USDT", "e1", windows[1], "mismatch").await;
    assert!(printed.reason.contains("other events"), "{}", printed.reason);
    let missing = judged(&stack, "XRP-USDT", "e1", windows[2], "mismatch").await;
    assert_eq!((missing.expected, missing.found), (100, 99));
    assert!(missing.reason.contains(&lost[99].header.event_id.to_string()), "{}", missing.reason);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_deleted_by_hand_is_found() {
    let Some((stack, _central, jetstream)) = Stack::ready(QUICK).await else { return };
    let [first, second] = windows_before([6, 5]);
    for (window, from) in [(first, 0), (second, 100)] {
        let events = trades("e1", window, from, from + 100);
        publish(&jetstream, events.iter().cloned()).await;
        publish_audit(&jetstream, &audit("e1", window, vec![stored(A, &events)])).await;
    }
    judged(&stack, A, "e1", first, "verified").await;
    judged(&stack, A, "e1", second, "verified").await;
    stack
        .execute(
            "ALTER TABLE marketprism_hot.trades DELETE WHERE trade_id = '142' SETTINGS mutations_sync = 2",
        )
        .await;
    let found = judged(&stack, A, "e1", second, "mismatch").await;
    let deleted = trades("e1", second, 142, 143)[0].header.event_id.to_string();
    assert!(found.found == 99 && found.reason.contains(&deleted), "{found:?}");
    assert_eq!(verdict(&stack, A, "e1", first).await.unwrap().state, "verified");
}

/// Three windows: with recent events, with events of two days before, and with such received after the raise.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_hot_may_have_dropped_before_it_kept_rows_for_longer_are_no_mismatch() {
    let Some(stack) = Stack::start().await else { return };
    let [recent, old] = windows_before([6, 5]);
    let config = stack.configure(QUICK);
    stack.init(&config, &[], 0);
    stack.raise_hot_ttl(&config).await;
    let _central = stack.run(&config);
    stack.is_ready().await;
    let jetstream = stack.jetstream().await;
    let after = window_before(-1);
    for (window, numbers, days_old) in [(recent, 0, 0), (old, 100, 2), (after, 200, 2)] {
        let mut events = trades("e1", window, numbers, numbers + 100);
        for event in &mut events {
            event.header.timestamp_us -= days_old * 86_400_000_000;
            event.header.event_id = EventId::of(event);
        }
        publish(&jetstream, events.iter().cloned()).await;
        let mut sent = stored(A, &events);
        sent.oldest_timestamp = Some(events[0].header.timestamp_us);
        publish_audit(&jetstream, &audit("e1", window, vec![sent])).await;
        judged(&stack, A, "e1", window, "verified").await;
    }
    stack
        .execute("ALTER TABLE marketprism_hot.trades DELETE WHERE trade_id IN ('42', '142', '242') SETTINGS mutations_sync = 2")
        .await;
    assert_eq!(judged(&stack, A, "e1", after, "mismatch").await.found, 99);
    assert_eq!(judged(&stack, A, "e1", recent, "mismatch").await.found, 99);
    // The window between them is compared with them.
    assert_eq!(verdict(&stack, A, "e1", old).await.unwrap().state, "verified");
}

/// Rows were removed up to half a minute ago, and nothing is removed any more.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_were_removed_from_hot_before_removals_ended_are_no_mismatch() {
    let Some((stack, config)) = Stack::laid_out(QUICK).await else { return };
    let note = "INSERT INTO marketprism_hot.positions SELECT 'removed_from_hot', 1, toStartOfHour(now('UTC')), \
                toUnixTimestamp64Milli(now64(3)) - 30000, now64(3)";
    stack.execute(note).await;
    let [removed, kept] = windows_before([25, 5]);
    let _central = stack.run(&config);
    stack.is_ready().await;
    let jetstream = stack.jetstream().await;
    for (window, numbers) in [(removed, 0), (kept, 100)] {
        let events = trades("e1", window, numbers, numbers + 100);
        publish(&jetstream, events.iter().cloned()).await;
        publish_audit(&jetstream, &audit("e1", window, vec![stored(A, &events)])).await;
        judged(&stack, A, "e1", window, "verified").await;
    }
    stack
        .execute("ALTER TABLE marketprism_hot.trades DELETE WHERE trade_id IN ('42', '142') SETTINGS mutations_sync = 2")
        .await;
    assert_eq!(judged(&stack, A, "e1", kept, "mismatch").await.found, 99);
    // The one before is compared with it.
    assert_eq!(verdict(&stack, A, "e1", removed).await.unwrap().state, "verified");
}

#[tokio::test(flavor = "multi_thread")]
async fn unsure_events_must_be_in_hot() {
    let Some((stack, _central, jetstream)) = Stack::ready(QUICK).await else { return };
    let [own, missing_window] = windows_before([6, 5]);
    let mine = trades("e1", own, 0, 100);
    let others = trades("e2", own, 100, 110);
    let further = trades("e1", missing_window, 200, 300);
    publish(&jetstream, mine.iter().chain(&others).chain(&further).cloned()).await;
    let ids = |events: &[marketprism_schema::Event<'_>]| -> Vec<EventId> {
        events.iter().map(|event| event.header.event_id).collect()
    };
    let mut of_own = stored(A, &mine[..95]);
    of_own.unsure = [ids(&mine[95..]), ids(&others)].concat();
    publish_audit(&jetstream, &audit("e1", own, vec![of_own])).await;
    let mut of_missing = stored(A, &further);
    of_missing.unsure = ids(&trades("e1", missing_window, 900, 902));
    publish_audit(&jetstream, &audit("e1", missing_window, vec![of_missing])).await;
    let found = judged(&stack, A, "e1", own, "verified").await;
    assert_eq!((found.expected, found.found), (110, 110));
    let missing = judged(&stack, A, "e1", missing_window, "mismatch").await;
    assert_eq!((missing.expected, missing.found), (102, 100));
    assert!(
        missing.reason.contains("2 ambiguously acknowledged events are not in hot"),
        "{}",
        missing.reason
    );
}

/// Stores events as messages whose events hot already has, in one row.
async fn store_copies(stack: &Stack, edge: &str, first: usize, events: &[Event<'_>]) {
    let list = |value: fn(&Event<'_>) -> String| events.iter().map(value).collect::<Vec<_>>().join(",");
    let ids = list(|event| format!("toUInt128('{}')", event.header.event_id.0));
    let received = list(|event| format!("fromUnixTimestamp64Nano(toInt64({}))", event.header.received_at_ns));
    let to = first + events.len() - 1;
    let sql = format!(
        "INSERT INTO marketprism_hot.copies SELECT 'trade','sim_spot','spot','{A}','{edge}','stored','MARKET_DATA', \
         arrayMin([{received}]), arrayMax([{received}]), {first}, {to}, [{ids}], [{received}], range({first}, {to} + 1), now64(3)"
    );
    stack.execute(&sql).await;
}

/// The broker lost the messages of both edges, which sent all of them again: rows and copies are no longer of the edges that had them first.
#[tokio::test(flavor = "multi_thread")]
async fn duplicates_of_an_edge_that_are_stored_after_all_are_no_mismatch() {
    let Some((stack, _central, jetstream)) = Stack::ready(QUICK).await else { return };
    let window = window_before(5);
    let (one, two) = (trades("e1", window, 0, 100), trades("e2", window, 0, 120));
    publish(&jetstream, two.iter().cloned()).await;
    stack.holds_once("trades", 120).await;
    store_copies(&stack, "e1", 1_000, &one).await;
    // The venue had sent these twice: of one the first message was stored, of the other none.
    let again = [5, 110].map(|number: usize| {
        let mut again = two[number].clone();
        again.header.received_at_ns += 1_000;
        again
    });
    store_copies(&stack, "e2", 2_000, &again).await;
    publish_audit(&jetstream, &audit("e1", window, vec![stored(A, &one)])).await;
    let mut of_two = stored(A, &two[100..]);
    let duplicates = [&two[..100], &again].concat();
    (of_two.duplicates, of_two.duplicate_ids) = (102, ids(&duplicates));
    publish_audit(&jetstream, &audit("e2", window, vec![of_two])).await;
    assert_eq!(judged(&stack, A, "e1", window, "verified").await.found, 100);
    let second = judged(&stack, A, "e2", window, "verified").await;
    assert_eq!((second.expected, second.found, second.duplicates), (20, 20, 102));
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_of_a_second_edge_are_verified_for_it() {
    let Some((stack, _central, jetstream)) = Stack::ready(QUICK).await else { return };
    let window = window_before(5);
    let (one, two) = (trades("e1", window, 0, 100), trades("e2", window, 0, 120));
    publish(&jetstream, one.iter().chain(&two[100..]).cloned()).await;
    stack.holds_once("trades", 120).await;
    store_copies(&stack, "e2", 1_000, &two[..100]).await;
    store_copies(&stack, "e2", 1_500, &two[..2]).await;
    publish_audit(&jetstream, &audit("e1", window, vec![stored(A, &one)])).await;
    publish_audit(&jetstream, &audit("e2", window, vec![stored(A, &two)])).await;
    let first = judged(&stack, A, "e1", window, "verified").await;
    let second = judged(&stack, A, "e2", window, "verified").await;
    assert_eq!((first.found, first.duplicates), (100, 0));
    assert_eq!((second.found, second.duplicates), (120, 100));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_runs_in_one_window_add_up() {
    let Some((stack, _central, jetstream)) = Stack::ready(QUICK).await else { return };
    let windows = windows_before([8, 7, 6]);
    for (window, (end, begin)) in windows.into_iter().zip([(1_000, 1_000), (600, 1_500), (0, 1_500)]) {
        let number = u64::try_from(window / 1_000_000_000).unwrap() % 100_000 * 100;
        let events = trades("e1", window, number, number + 60);
        publish(&jetstream, events.iter().cloned()).await;
        let mut runs = [
            audit("e1", window, vec![stored(A, &events[..20])]),
            audit("e1", window, vec![stored(A, &events[20..])]),
        ];
        (runs[0].to, runs[1].from, runs[1].run) = (window + end * 1_000_000, window + begin * 1_000_000, 8);
        for run in runs.iter().filter(|run| run.from < run.to) {
            publish_audit(&jetstream, run).await;
        }
    }
    assert_eq!(judged(&stack, A, "e1", windows[0], "verified").await.found, 60);
    for (window, covered) in [(windows[1], "0.000-0.600 and 1.500-2.000"), (windows[2], "1.500-2.000")] {
        let reason = format!("audit of edge e1 covers only {covered} s of the 2 s window");
        let found = judged_because(&stack, A, "e1", window, "unverifiable", &reason).await;
        assert_eq!(found.reason, reason);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_audits_are_dead_letters() {
    let Some((stack, _central, jetstream)) = Stack::ready_for_counts(QUICK).await else { return };
    let window = window_before(5);
    let good = audit("e1", window, vec![stored(A, &[])]);
    let bytes = marketprism_schema::encode_audit(&good).unwrap();
    publish_bytes(&jetstream, "audit.e1", HeaderMap::new(), b"{\"version\":1".to_vec()).await;
    publish_bytes(&jetstream, "audit.e2", HeaderMap::new(), bytes).await;
    // An edge may publish on the subjects of its own exchanges only.
    let foreign = closing(window, [1, 0, 0]).encode().unwrap();
    publish_bytes(&jetstream, "audit.e1.other_spot", HeaderMap::new(), foreign).await;
    let mut future = audit("e1", window, vec![]);
    (future.window_start, future.from, future.to) = (4_000_000_000_000_000_000, 0, 0);
    (future.from, future.to) = (future.window_start, future.window_start);
    publish_audit(&jetstream, &future).await;
    publish_audit(&jetstream, &good).await;
    judged(&stack, A, "e1", window, "verified").await;
    let sql = "SELECT reason FROM marketprism_hot.dead_letters WHERE stream = 'AUDIT' ORDER BY stream_seq";
    let reasons = eventually("four dead letters", || async {
        let reasons: Vec<String> = stack.hot().query_raw(sql).fetch_all().await.unwrap();
        (reasons.len() == 4).then_some(reasons)
    })
    .await;
    for (reason, part) in reasons.iter().zip([
        "audit:",
        "allowed: \"audit.e1\"",
        "allowed: \"audit.e1.sim_spot\"",
        "window_start",
    ]) {
        assert!(reason.contains(part), "{reasons:#?}");
    }
    crate::ingest::all_acknowledged(&stack, "AUDIT", 5).await;
}
