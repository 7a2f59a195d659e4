//! Corrections: events of another version of an adapter win over stored rows, in hot and in cold.

use async_nats::HeaderMap;
use async_nats::jetstream::Context;
use futures_util::TryStreamExt as _;
use marketprism_schema::{
    CORRECTION_HEADER, CORRECTION_VERSION, Correction, CorrectionAdapter, CorrectionKind, CorrectionMark,
    DataSource, DataType, Decimal, Event, EventId, Fingerprint, TypeCorrection, correction_subject,
};
use marketprism_tests::wait::eventually;
use serde_json::Value;

use crate::auditing::{QUICK, WINDOW_NS, audit, judged, publish_audit, stored, trades, window_before};
use crate::events::{MessageId, message, publish, publish_bytes, publish_with};
use crate::two_sides::TwoSides;

const REPLICATION: &str = "[replication]\nwindow_seconds = 2\nsafety_lag_seconds = 0\ninterval_ms = 100\nrecheck_seconds = 1\ncatch_up_low = 10\n";
const SYMBOL: &str = "BTC-USDT";
pub const NEW: &str = "sim@2.0.0+ba9876543210";
const ID: EventId = EventId(0xc0);
/// Closed after the first one.
const LATER: EventId = EventId(0xc1);

/// As the new version gives it: with another price.
pub fn corrected(mut event: Event<'static>) -> Event<'static> {
    event.header.adapter = NEW.into();
    if let marketprism_schema::Body::Trade(trade) = &mut event.body {
        trade.price = Decimal { mantissa: 7, scale: 0 };
    }
    event
}

pub async fn send(jetstream: &Context, kind: CorrectionKind, was_at_us: i64, event: &Event<'_>) {
    send_of(jetstream, ID, kind, was_at_us, event).await;
}

async fn send_of(
    jetstream: &Context,
    correction: EventId,
    kind: CorrectionKind,
    was_at_us: i64,
    event: &Event<'_>,
) {
    let (subject, payload) = message(event);
    let mark = CorrectionMark { correction, kind, was_at_us };
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Msg-Id", mark.message_id(event.header.event_id, event.header.received_at_ns));
    headers.insert(CORRECTION_HEADER, mark.to_string());
    publish_bytes(jetstream, &subject, headers, payload).await;
}

pub fn closing(window: i64, [changed, added, withdrawn]: [u64; 3]) -> Correction {
    let adapter = |id: &str| CorrectionAdapter { id: id.to_owned(), digest: id.to_owned() };
    let digest = |id: u128| -> Fingerprint { [EventId(id)].into_iter().collect() };
    Correction {
        version: CORRECTION_VERSION,
        edge: "e1".to_owned(),
        region: "test".to_owned(),
        id: ID,
        exchange: "sim_spot".to_owned(),
        from: window,
        to: window + WINDOW_NS,
        frames: 100,
        old: adapter("sim@1.0.0+0123456789ab"),
        new: adapter(NEW),
        types: vec![TypeCorrection {
            data_type: DataType::Trade,
            old: digest(1),
            new: digest(2),
            changed,
            added,
            withdrawn,
        }],
    }
}

pub async fn close(jetstream: &Context, correction: Correction) {
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Msg-Id", correction.message_id(1));
    publish_bytes(jetstream, &correction_subject("e1", "sim_spot"), headers, correction.encode().unwrap())
        .await;
}

/// Trade ids with their price and source, on each side.
async fn rows(sides: &TwoSides) -> [Vec<(String, String, String)>; 2] {
    let read = async |client: clickhouse::Client, database: &str| {
        let sql = format!(
            "SELECT trade_id, toString(price), toString(data_source) FROM {database}.trades ORDER BY toUInt64(trade_id)"
        );
        client.query_raw(&sql).fetch_all::<(String, String, String)>().await.unwrap()
    };
    [read(sides.stack.hot(), "marketprism_hot").await, read(sides.cold(), "marketprism_cold").await]
}

/// The replicator knows the correction, and has ended a round since: each copies another trade.
async fn nothing_is_corrected_yet(sides: &TwoSides, jetstream: &Context, window: i64) {
    sides.stack.metrics_contain("marketprism_cold_corrections_pending{table=\"trades\"} 1").await;
    for number in 100..102 {
        publish(jetstream, trades("e1", window + WINDOW_NS, number, number + 1).into_iter()).await;
        sides.cold_holds_once("trades", number + 1).await;
    }
    let is_untouched = |rows: &Vec<(String, String, String)>| rows.iter().all(|row| row.1 != "7");
    assert!(rows(sides).await.iter().all(is_untouched));
}

/// Table, and the rows that it refuses: each makes the correction fail at another step.
const STEPS: [(&str, &str); 4] = [
    ("marketprism_hot.trades", "adapter != 'sim@2.0.0+ba9876543210'"),
    ("marketprism_hot.copies", "found NOT IN ('withdrawn', 'moved')"),
    ("marketprism_cold.window_log", "NOT startsWith(reason, 'changed by correction')"),
    ("marketprism_hot.applied_corrections", "replaced = 0"),
];

/// Central is killed at each step, and its successor goes on to the next one.
async fn killed_at_each_step(sides: &TwoSides, jetstream: &Context, window: i64) {
    let on = async |table: &str, sql: &str| {
        let sql = format!("ALTER TABLE {table} {sql}");
        if table.contains("cold") { sides.in_cold(&sql).await } else { sides.in_hot(&sql).await }
    };
    for (table, check) in STEPS {
        on(table, &format!("ADD CONSTRAINT step CHECK {check}")).await;
        let mut central = sides.replicate();
        let failed = |line: &str| line.contains("correction failed") && line.contains(table);
        eventually(&format!("the correction fails at {table}"), || async {
            let output = central.output();
            if output.lines().any(failed) { Ok(()) } else { Err(output) }
        })
        .await;
        // At this step hot has rows together with their replacements.
        if table == "marketprism_hot.copies" {
            sides.in_hot("TRUNCATE TABLE marketprism_hot.verdicts").await;
            judged(&sides.stack, SYMBOL, "e1", window, "verified").await;
        }
        central.kill();
        let is_untouched =
            |rows: &Vec<(String, String, String)>| rows.iter().all(|row| row.0 != "40" || row.1 != "7");
        assert!(rows(sides).await.iter().all(is_untouched), "the later correction waits for this one");
        on(table, "DROP CONSTRAINT step").await;
        forget_leases(jetstream).await;
    }
}

/// Else the next central waits until those of the killed one end.
pub async fn forget_leases(jetstream: &Context) {
    let leases = jetstream.get_key_value("MARKETPRISM_LEASES").await.unwrap();
    let keys: Vec<String> = leases.keys().await.unwrap().try_collect().await.unwrap();
    for key in keys {
        leases.purge(key).await.unwrap();
    }
}

/// The correction is closed before its events arrive, and central is killed in between.
#[tokio::test(flavor = "multi_thread")]
async fn a_correction_replaces_adds_and_withdraws_rows_once_all_its_events_have_arrived() {
    // A recheck of the ledger is needed once, when its verdicts are gone.
    let settings = QUICK.replace("recheck_seconds = 2", "recheck_seconds = 5") + REPLICATION;
    let Some(sides) = TwoSides::on_two_engines(&settings).await else { return };
    let mut central = sides.replicate();
    sides.stack.is_ready().await;
    let (jetstream, window) = (sides.stack.jetstream().await, window_before(5));
    let mut events = trades("e1", window, 0, 100);
    // It came from the venue's history, and keeps its source.
    events[20].header.data_source = DataSource::Backfill;
    publish(&jetstream, events.iter().cloned()).await;
    publish_audit(&jetstream, &audit("e1", window, vec![stored(SYMBOL, &events)])).await;
    judged(&sides.stack, SYMBOL, "e1", window, "verified").await;
    sides.cold_holds_once("trades", 100).await;

    close(&jetstream, closing(window, [2, 1, 1])).await;
    let moved = |mut event: Event<'static>| {
        event.header.timestamp_us += 5;
        event
    };
    let was = |number: usize| events[number].header.timestamp_us;
    send(&jetstream, CorrectionKind::Changed, was(10), &corrected(events[10].clone())).await;
    // Another venue time is another key: no merge would take the old row.
    send(&jetstream, CorrectionKind::Changed, was(20), &moved(corrected(events[20].clone()))).await;
    send(&jetstream, CorrectionKind::Withdrawn, was(30), &corrected(events[30].clone())).await;
    eventually("the events wait for the last one", || async {
        let waiting = sides.stack.number("SELECT count() FROM marketprism_hot.corrected_events FINAL").await;
        waiting.filter(|rows| *rows == 3)
    })
    .await;
    nothing_is_corrected_yet(&sides, &jetstream, window).await;
    a_window_is_left_open(&sides).await;
    central.kill();
    forget_leases(&jetstream).await;
    let added = corrected(trades("e1", window, 1_000, 1_001).remove(0));
    send(&jetstream, CorrectionKind::Added, added.header.timestamp_us, &added).await;
    let later = corrected(events[40].clone());
    send_of(&jetstream, LATER, CorrectionKind::Changed, was(40), &later).await;
    close(&jetstream, Correction { id: LATER, ..closing(window, [1, 0, 0]) }).await;
    killed_at_each_step(&sides, &jetstream, window).await;
    let _central = sides.replicate();

    eventually("both sides are corrected", || async {
        let both = rows(&sides).await;
        let is_done = both.iter().all(|rows| {
            let with = |id: &str| rows.iter().filter(|row| row.0 == id).collect::<Vec<_>>();
            let is = |id: &str, price: &str, source: &str| {
                matches!(with(id)[..], [row] if row.1 == price && row.2 == source)
            };
            is("10", "7", "live") && is("20", "7", "backfill") && is("40", "7", "live") && with("30").is_empty() && is("1000", "7", "correction")
        });
        if is_done && both[0].len() == 102 { Ok(()) } else { Err(format!("{both:?}")) }
    })
    .await;
    eventually("the windows are verified, with the correction's name", || async {
        let sql = "SELECT toString(state), countIf(reason LIKE '%0000c_') FROM marketprism_cold.window_log FINAL WHERE table_name = \
                   'trades' GROUP BY state";
        let found = sides.cold().query_raw(sql).fetch_all::<(String, u64)>().await.unwrap();
        if matches!(&found[..], [(state, named)] if state == "verified" && *named > 0) { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
    sides.are_the_same("trades").await;
    let identity = sides
        .stack
        .number("SELECT count() FROM marketprism_hot.trades WHERE trade_id IN ('10', '20') AND edge = 'e1' AND stream_seq > 0")
        .await;
    assert_eq!(identity, Some(2), "the row of the message that the edge published");

    a_withdrawn_event_stays_deleted_and_the_audit_agrees(
        &sides,
        &settings,
        &jetstream,
        &[&events[30], &events[20]],
    )
    .await;
    what_hot_lost_is_corrected_again_or_named(&sides, &settings).await;
}

/// As after a kill between the deletion of a withdrawn row and the entry in the log.
async fn a_window_is_left_open(sides: &TwoSides) {
    let sql = format!(
        "INSERT INTO marketprism_cold.window_log SELECT * REPLACE ('open' AS state, 'correction {ID} is being carried out' AS reason, \
         logged_at + INTERVAL 1 DAY AS logged_at) FROM marketprism_cold.window_log FINAL WHERE table_name = 'trades' ORDER BY \
         window_start DESC LIMIT 1"
    );
    sides.in_cold(&sql).await;
}

async fn a_withdrawn_event_stays_deleted_and_the_audit_agrees(
    sides: &TwoSides,
    settings: &str,
    jetstream: &Context,
    corrected: &[&Event<'static>],
) {
    publish_with(jetstream, corrected.iter().map(|&event| event.clone()), MessageId::Other).await;
    eventually("the copy is stored", || async {
        let sql = "SELECT uniqExact(event_id) FROM marketprism_hot.copied_events WHERE found = 'stored'";
        sides.stack.number(sql).await.filter(|copies| *copies == 2)
    })
    .await;
    sides.cold_holds_once("trades", 102).await;
    let output = sides.stack.command(
        "integrity",
        &sides.stack.configure(settings),
        &["--verify", "--json", "--from", "1h"],
    );
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(&report["windows"]["mismatch"], &Value::from(0), "{report}");
    let items = report["corrections"]["items"].as_array().unwrap();
    assert!(items.len() == 2 && items.iter().all(|one| one["state"] == "applied"), "{items:?}");
    let one = items.iter().find(|one| one["correction"] == ID.to_string()).unwrap();
    let applied =
        ["replaced", "added", "withdrawn", "absent"].map(|what| one["applied"][what].as_u64().unwrap());
    assert_eq!(applied, [2, 1, 1, 0], "{one}");
    assert_ne!(one["old_digest"], one["new_digest"]);
}

/// Hot is put back to a state from before the correction was carried out, and then to one from before it was closed.
async fn what_hot_lost_is_corrected_again_or_named(sides: &TwoSides, settings: &str) {
    let old = "toDecimal128('3', 18) AS price, 'sim@1.0.0+0123456789ab' AS adapter, created_at - INTERVAL 1 MILLISECOND AS created_at";
    for sql in [
        format!(
            "INSERT INTO marketprism_hot.trades SELECT * REPLACE ({old}) FROM marketprism_hot.trades WHERE trade_id = '10'"
        ),
        format!("DELETE FROM marketprism_hot.trades WHERE trade_id = '10' AND adapter = '{NEW}'"),
        "TRUNCATE TABLE marketprism_hot.applied_corrections".to_owned(),
    ] {
        sides.in_hot(&sql).await;
    }
    let applied = "SELECT count() FROM marketprism_hot.applied_corrections FINAL";
    eventually("the correction to be carried out again", || async {
        sides.stack.number(applied).await.filter(|rows| *rows == 2)
    })
    .await;
    sides.are_the_same("trades").await;
    let unsound = "SELECT count() FROM marketprism_cold.window_log FINAL WHERE state != 'verified'";
    eventually("every window to be verified", || async {
        let unsound = sides.cold().query_raw(unsound).fetch_one::<u64>().await.unwrap();
        if unsound == 0 { Ok(()) } else { Err(unsound.to_string()) }
    })
    .await;
    for table in ["applied_corrections", "corrections"] {
        sides.in_hot(&format!("TRUNCATE TABLE marketprism_hot.{table}")).await;
    }
    let config = sides.stack.configure(settings);
    let output = sides.stack.command("integrity", &config, &["--json", "--from", "1h"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap().iter();
    let lost: Vec<&Value> = findings.filter(|one| one["code"] == "ledger.correction_lost").collect();
    let [lost, _later] = lost[..] else { panic!("{report}") };
    let remedy = lost["remedy"].as_str().unwrap();
    let command = "marketprism-edge renormalize --config FILE --exchange sim_spot --from ";
    assert!(remedy.contains(command) && remedy.contains(&format!("--adapter FILE_OF_{NEW}")), "{lost}");
}
