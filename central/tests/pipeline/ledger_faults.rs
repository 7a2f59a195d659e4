//! The ledger during crashes, outages and delays.

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use marketprism_tests::wait::eventually;

use crate::auditing::{QUICK, audit, judged, stored, tell, trades, window_before};
use crate::events::publish;
use crate::ingest::all_acknowledged;
use crate::stack::Stack;

const A: &str = "BTC-USDT";

/// 600 audits are in the stream; central gets SIGKILL at seeded times.
#[tokio::test(flavor = "multi_thread")]
async fn killing_central_loses_no_audit() {
    const AUDITS: i64 = 600;
    let Some(stack) = Stack::start().await else { return };
    let config = stack.configure(QUICK);
    assert_eq!(stack.init(&config, &[]).status.code(), Some(0));
    let jetstream = stack.jetstream().await;
    let last = window_before(5);
    let publishing = async {
        for n in 0..AUDITS {
            tell(&jetstream, &audit("e1", last - n * 2_000_000_000, vec![stored(A, &[])])).await;
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
    let Some(mut stack) = Stack::start().await else { return };
    let _central = stack.central(QUICK).await;
    let jetstream = stack.jetstream().await;
    let window = window_before(3);
    stack.engine.kill();
    let events = trades("e1", window, 0, 100);
    publish(&jetstream, events.iter().cloned()).await;
    tell(&jetstream, &audit("e1", window, vec![stored(A, &events)])).await;
    eventually("the status to tell", || async {
        stack.get("/ready").filter(|(status, body)| *status == 503 && body.contains("ledger"))
    })
    .await;
    stack.engine.restart().await;
    assert_eq!(judged(&stack, A, "e1", window, "verified").await.found, 100);
    eventually("the status to clear", || async { stack.get("/ready").filter(|(status, _)| *status == 200) })
        .await;
    let sql = "SELECT count() FROM marketprism_hot.verdicts WHERE state = 'mismatch'";
    assert_eq!(stack.hot().query_raw(sql).fetch_one::<u64>().await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_an_hour_late_judges_again() {
    let Some(stack) = Stack::start().await else { return };
    let _central = stack.central(QUICK).await;
    let jetstream = stack.jetstream().await;
    let window = window_before(1_800);
    let events = trades("e1", window, 0, 100);
    publish(&jetstream, events.iter().cloned()).await;
    let unheard = judged(&stack, A, "e1", window, "unverifiable").await;
    assert!(unheard.reason.contains("never reported"), "{}", unheard.reason);
    tell(&jetstream, &audit("e1", window, vec![stored(A, &events)])).await;
    assert_eq!(judged(&stack, A, "e1", window, "verified").await.found, 100);
}
