//! The ledger during crashes, outages, delays and problems of feeds.

use async_nats::HeaderMap;
use marketprism_schema::{FeedAudit, audit_subject, encode_audit};
use marketprism_tests::wait::eventually;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::auditing::{
    QUICK, audit, judged, judged_because, publish_audit, stored, trades, verdict, window_before,
    windows_before,
};
use crate::events::{publish, publish_bytes};
use crate::ingest::all_acknowledged;
use crate::stack::Stack;

const A: &str = "BTC-USDT";

/// 600 audits are in the stream; central gets SIGKILL at seeded times.
#[tokio::test(flavor = "multi_thread")]
async fn killing_central_loses_no_audit() {
    const AUDITS: i64 = 600;
    let Some((stack, config)) = Stack::laid_out(QUICK).await else { return };
    let jetstream = stack.jetstream().await;
    let last = window_before(5);
    let publishing = async {
        for n in 0..AUDITS {
            publish_audit(&jetstream, &audit("e1", last - n * 2_000_000_000, vec![stored(A, &[])])).await;
        }
    };
    let killing = async {
        let mut random = StdRng::seed_from_u64(20_261_122);
        for _ in 0..6 {
            let mut central = stack.run(&config);
            tokio::time::sleep(std::time::Duration::from_millis(random.random_range(50..900))).await;
            central.kill();
        }
    };
    tokio::join!(publishing, killing);
    let _central = stack.run(&config);
    all_acknowledged(&stack, "AUDIT", u64::try_from(AUDITS).unwrap()).await;
    for (table, states) in [("audits", ""), ("verdicts", " AND state = 'verified'")] {
        eventually(&format!("each window once in {table}"), || async {
            let sql = format!(
                "SELECT count(), uniqExact(window_start) FROM marketprism_hot.{table} FINAL \
                 WHERE window_start <= fromUnixTimestamp64Milli(toInt64({})){states}",
                last / 1_000_000
            );
            let counts = stack.hot().query_raw(&sql).fetch_one::<(u64, u64)>().await.ok()?;
            (counts == (600, 600)).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn audits_wait_for_clickhouse() {
    let Some((mut stack, _central, jetstream)) = Stack::ready(QUICK).await else { return };
    let window = window_before(3);
    stack.engine.kill();
    let events = trades("e1", window, 0, 100);
    publish(&jetstream, events.iter().cloned()).await;
    publish_audit(&jetstream, &audit("e1", window, vec![stored(A, &events)])).await;
    stack.is_unready_for("audits").await;
    stack.engine.restart().await;
    assert_eq!(judged(&stack, A, "e1", window, "verified").await.found, 100);
    stack.is_ready().await;
    let sql = "SELECT count() FROM marketprism_hot.verdicts WHERE state = 'mismatch'";
    assert_eq!(stack.number(sql).await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_an_hour_late_judges_again() {
    let Some((stack, _central, jetstream)) = Stack::ready(QUICK).await else { return };
    let window = window_before(1_800);
    let events = trades("e1", window, 0, 100);
    publish(&jetstream, events.iter().cloned()).await;
    judged_because(&stack, A, "e1", window, "unverifiable", "never reported").await;
    publish_audit(&jetstream, &audit("e1", window, vec![stored(A, &events)])).await;
    assert_eq!(judged(&stack, A, "e1", window, "verified").await.found, 100);
}

/// The clock of an edge was ahead. Later it sends its audit again, which the broker had lost, while hot lacks rows for a while.
#[tokio::test(flavor = "multi_thread")]
async fn an_audit_sent_again_after_its_window_does_not_make_a_mismatch_of_a_clock_that_was_ahead() {
    let Some((stack, _central, jetstream)) = Stack::ready(QUICK).await else { return };
    let window = window_before(-3);
    let events = trades("e1", window, 0, 14);
    publish(&jetstream, events.iter().cloned()).await;
    let sent = audit("e1", window, vec![stored(A, &events[..10])]);
    publish_audit(&jetstream, &sent).await;
    let ahead = judged(&stack, A, "e1", window, "unverifiable").await;
    assert!(ahead.reason.contains("was ahead when it closed this window"), "{}", ahead.reason);

    let rows = "marketprism_hot.trades WHERE trade_id IN ('1', '2', '3', '4', '5')";
    stack.execute(&format!("CREATE TABLE default.kept ENGINE = Memory AS SELECT * FROM {rows}")).await;
    stack.execute(&format!("DELETE FROM {rows}")).await;
    judged(&stack, A, "e1", window, "mismatch").await;
    stack.execute("TRUNCATE TABLE marketprism_hot.audits").await;
    publish_bytes(&jetstream, &audit_subject("e1"), HeaderMap::new(), encode_audit(&sent).unwrap()).await;
    eventually("the audit is there again", async || {
        stack.number("SELECT count() FROM marketprism_hot.audits").await.filter(|audits| *audits > 0)
    })
    .await;
    stack.execute("INSERT INTO marketprism_hot.trades SELECT * FROM default.kept").await;
    let again = eventually("the window to be judged by all rows", async || {
        verdict(&stack, A, "e1", window).await.filter(|verdict| verdict.found == 14)
    })
    .await;
    assert_eq!((again.state, again.reason), (ahead.state, ahead.reason));
}

/// An edge reports a stream, then a window in which its feed does not run; both audits are published twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_feed_that_does_not_run_explains_its_windows() {
    let Some((stack, _central, jetstream)) = Stack::ready(QUICK).await else { return };
    let [before, after] = windows_before([6, 5]);
    let events = trades("e1", before, 0, 50);
    publish(&jetstream, events.iter().cloned()).await;
    let feed = |malformed, not_running: Option<&str>| FeedAudit {
        exchange: "sim_spot".to_owned(),
        malformed,
        not_running: not_running.map(str::to_owned),
        ..FeedAudit::default()
    };
    let mut whole = audit("e1", before, vec![stored(A, &events)]);
    whole.feeds = vec![feed(0, None), feed(2, None)];
    let mut stopped = audit("e1", after, vec![stored("ETH-USDT", &[])]);
    let not_listed = vec!["GONE-USDT".to_owned(), "LUNA-*".to_owned()];
    stopped.feeds = vec![FeedAudit { not_listed, ..feed(3, Some("no way to the venue")) }];
    for sent in [&whole, &stopped, &whole, &stopped] {
        publish_audit(&jetstream, sent).await;
    }
    let verified = judged(&stack, A, "e1", before, "verified").await;
    assert_eq!((verified.found, verified.reason.as_str()), (50, ""));
    // Until the second audit arrives, the window's edge is silent; its verdict has no explanation yet.
    let explained = "; feed sim_spot of edge e1: not running (no way to the venue), 3 malformed frames";
    eventually("an explained verdict", async || {
        let silent = verdict(&stack, A, "e1", after).await.filter(|v| v.state == "unverifiable")?;
        (silent.reason.contains("reports other streams") && silent.reason.ends_with(explained)).then_some(())
    })
    .await;
    let sql = "SELECT malformed, not_running, arrayStringConcat(not_listed, ' ') FROM marketprism_hot.feed_audits FINAL \
               ORDER BY window_start";
    let rows: Vec<(u64, Option<String>, String)> = stack.hot().query_raw(sql).fetch_all().await.unwrap();
    let stopped = (3, Some("no way to the venue".to_owned()), "GONE-USDT LUNA-*".to_owned());
    assert_eq!(rows, [(2, None, String::new()), stopped]);
}
