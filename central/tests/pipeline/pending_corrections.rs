//! Verdicts of the ledger while a correction is pending.

use std::cell::RefCell;
use std::collections::BTreeSet;

use async_nats::jetstream::Context;
use marketprism_schema::CorrectionKind;
use marketprism_tests::wait::eventually;

use crate::auditing::{QUICK, audit, judged, stored, tell, trades, verdict, window_before};
use crate::corrections::{NEW, close, closing, corrected, send};
use crate::events::publish;
use crate::stack::Stack;

const A: &str = "BTC-USDT";

/// Of a window with 100 trades, the first of which is corrected: the correction is closed and lacks an event, so that it stays pending.
async fn correction_is_pending(stack: &Stack, jetstream: &Context, window: i64) {
    let trades = trades("e1", window, 0, 100);
    publish(jetstream, trades.iter().cloned()).await;
    tell(jetstream, &audit("e1", window, vec![stored(A, &trades)])).await;
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

/// It begins between the ledger's queries of corrections and of rows: that of copies, between them, takes two seconds.
#[tokio::test(flavor = "multi_thread")]
async fn a_correction_that_begins_while_the_ledger_reads_is_no_mismatch() {
    let Some((stack, central, jetstream)) = Stack::ready(QUICK).await else { return };
    let window = window_before(4);
    correction_is_pending(&stack, &jetstream, window).await;
    for sql in [
        "RENAME TABLE marketprism_hot.corrections TO marketprism_hot.later",
        "CREATE TABLE marketprism_hot.corrections AS marketprism_hot.later",
        "RENAME TABLE marketprism_hot.copies TO marketprism_hot.all_copies",
        "CREATE VIEW marketprism_hot.copies AS SELECT * FROM marketprism_hot.all_copies WHERE 0 = (SELECT sum(sleepEachRow(0.5)) FROM numbers(4))",
    ] {
        stack.execute(sql).await;
    }
    let reading = format!(
        "SELECT query_id FROM system.processes WHERE query LIKE 'SELECT DISTINCT toString(data_type) FROM marketprism_hot.copies %' AND \
         toInt64OrZero(extractAll(query, '[0-9]{{19}}')[1]) > {window} AND toInt64OrZero(extractAll(query, '[0-9]{{19}}')[2]) <= {window}"
    );
    let reads = async || stack.hot().query_raw(&reading).fetch_one::<String>().await.ok();
    let readings = RefCell::new(BTreeSet::from([eventually("the ledger reads", &reads).await]));
    stack.execute("INSERT INTO marketprism_hot.corrections SELECT * FROM marketprism_hot.later").await;
    store_second_row(&stack, 0, &format!("'{NEW}'")).await;
    eventually("the end of this reading and of another one", || async {
        let read = reads().await;
        readings.borrow_mut().extend(read);
        (readings.borrow().len() == 4).then_some(())
    })
    .await;
    let output = central.output();
    assert!(!output.contains("mismatch"), "{output}");
    assert_eq!(verdict(&stack, A, "e1", window).await.unwrap().state, "verified");
}
