//! Verdicts of the ledger while a correction is pending.

use async_nats::jetstream::Context;
use marketprism_schema::CorrectionKind;
use marketprism_tests::wait::eventually;

use crate::auditing::{QUICK, audit, judged, publish_audit, stored, trades, window_before};
use crate::corrections::{NEW, close, closing, corrected, send};
use crate::events::publish;
use crate::stack::Stack;

const A: &str = "BTC-USDT";

/// Of a window with 100 trades, the first of which is corrected: the correction is closed and lacks an event, so that it stays pending.
async fn correction_is_pending(stack: &Stack, jetstream: &Context, window: i64) {
    let trades = trades("e1", window, 0, 100);
    publish(jetstream, trades.iter().cloned()).await;
    publish_audit(jetstream, &audit("e1", window, vec![stored(A, &trades)])).await;
    judged(stack, A, "e1", window, "verified").await;
    let first = corrected(trades[0].clone());
    send(jetstream, CorrectionKind::Changed, trades[0].header.timestamp_us, &first).await;
    close(jetstream, closing(window, [2, 0, 0])).await;
    for table in ["corrected_events", "corrections"] {
        let rows = format!("SELECT count() FROM marketprism_hot.{table}");
        eventually(table, || async { stack.number(&rows).await.filter(|rows| *rows == 1) }).await;
    }
}

/// Stores a second row of a trade, with another venue time, so that no merge takes one of them.
async fn store_second_row(stack: &Stack, number: u32, adapter: &str) {
    stack
        .execute(&format!(
            "INSERT INTO marketprism_hot.trades SELECT * REPLACE (timestamp + toIntervalMillisecond(1) AS timestamp, {adapter} AS adapter) \
             FROM marketprism_hot.trades WHERE trade_id = '{number}'"
        ))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_row_and_its_correction_one_counts_and_of_other_second_rows_both() {
    let Some((stack, _central, jetstream)) = Stack::ready(QUICK).await else { return };
    let window = window_before(4);
    correction_is_pending(&stack, &jetstream, window).await;
    for (number, adapter, state) in
        [(0, format!("'{NEW}'"), "verified"), (50, "adapter".to_owned(), "mismatch")]
    {
        store_second_row(&stack, number, &adapter).await;
        stack.execute("TRUNCATE TABLE marketprism_hot.verdicts").await;
        let found = judged(&stack, A, "e1", window, state).await.found;
        assert_eq!(found, if state == "verified" { 100 } else { 101 });
    }
}
