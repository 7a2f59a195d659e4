//! A hot that is put back together with the broker, so that comparing positions shows nothing: cold has later rows than hot.

use std::time::Instant;

use marketprism_schema::DataType;
use marketprism_tests::process::Process;
use marketprism_tests::wait::eventually;

use crate::copies::confirmed;
use crate::corrections::forget_leases;
use crate::events::{now_us, one_of_each, publish, trade};
use crate::losses::losses;
use crate::stack::{PATIENCE, Stack};
use crate::two_sides::{QUICK, TwoSides, minutes_ago};

const SETTINGS: &str = "window_seconds = 1\ncatch_up_low = 5\n[batch]\ntrades = 500\nmax_age_ms = 50\n";
const OLD: u64 = 1_500;
const ALL: u64 = 3_000;
const STORED: [(&str, u64); 2] = [("trades", ALL), ("liquidations", 1)];

/// Trades and a liquidation of which cold has all, and copies of hot and broker only the old trades.
struct Restored {
    sides: TwoSides,
    base_us: i64,
    central: Process,
}

impl Restored {
    /// Broker, hot and central are stopped afterwards, hot put back.
    async fn prepare() -> Option<Self> {
        Self::prepare_on(TwoSides::on_two_engines(&format!("{QUICK}{SETTINGS}")).await?).await
    }

    async fn prepare_on(sides: TwoSides) -> Option<Self> {
        let base_us = now_us();
        let central = sides.replicate();
        let mut restored = Self { sides, base_us, central };
        restored.publish(0..OLD).await;
        confirmed(&restored.sides.stack, OLD).await;
        restored.sides.cold_holds_once("trades", OLD).await;
        let stack = &mut restored.sides.stack;
        stack.broker.kill();
        stack.broker.copy_store(&stack.folder().join("copy-of-broker"));
        stack.broker.restart().await;
        stack.engine.stop().await;
        stack.engine.copy_data();
        stack.engine.restart().await;
        restored.publish(OLD..ALL).await;
        let is_liquidation =
            |event: &marketprism_schema::Event<'_>| event.body.data_type() == DataType::Liquidation;
        let jetstream = restored.sides.stack.jetstream().await;
        publish(&jetstream, one_of_each(base_us).into_iter().filter(is_liquidation)).await;
        for (table, events) in STORED {
            restored.sides.cold_holds_once(table, events).await;
            restored.sides.watermark_covers(table).await;
        }
        restored.central.terminate(PATIENCE).await;
        let stack = &mut restored.sides.stack;
        stack.broker.kill();
        stack.engine.stop().await;
        stack.engine.put_back();
        Some(restored)
    }

    async fn publish(&self, numbers: std::ops::Range<u64>) {
        let jetstream = self.sides.stack.jetstream().await;
        publish(&jetstream, numbers.map(|number| trade(number, self.base_us))).await;
    }

    /// Hot has the rows of cold, and none that came again.
    async fn is_complete(&self) {
        let Self { sides, central, .. } = self;
        let recovered = "messages that hot lost are taken in again stream=\"MARKET_DATA\"";
        eventually(recovered, async || central.output().contains(recovered).then_some(())).await;
        sides.stack.metrics_contain("marketprism_central_hot_put_back_total{stream=\"MARKET_DATA\"} 1").await;
        for (table, events) in STORED {
            sides.stack.holds_once(table, events).await;
            sides.cold_holds_once(table, events).await;
        }
        every_window_is_verified(sides).await;
        for (table, _) in STORED {
            sides.are_the_same(table).await;
            sides.in_cold(&format!("OPTIMIZE TABLE marketprism_cold.{table} FINAL")).await;
            sides.are_the_same(table).await;
        }
        assert_eq!(losses(&sides.stack).await, []);
        sides.stack.is_ready().await;
    }

    /// The broker lost trades too, all or the new ones. They come again, and are stored in hot before cold can be asked for its rows.
    async fn trades_come_again(&mut self, lost: std::ops::Range<u64>) {
        let stack = &mut self.sides.stack;
        match lost.start {
            0 => stack.broker.delete_store(),
            _ => stack.broker.restore_store(&stack.folder().join("copy-of-broker")),
        }
        stack.broker.restart().await;
        stack.cold_engine().stop().await;
        stack.engine.restart().await;
        self.central = self.sides.replicate();
        // No message has the sequence that its event had before: it would be that row.
        let middle = lost.start.midpoint(lost.end);
        self.publish(middle..lost.end).await;
        self.publish(lost.start..middle).await;
        self.sides.stack.holds_once("trades", ALL).await;
    }

    /// Each message that came again brought an event that hot has from cold or from its copy.
    async fn messages_that_came_again_are_copies(&self, messages: u64) {
        let copies = async || match self.sides.stack.copies().await {
            Some(copies) if copies == messages => Ok(()),
            found => Err(format!("{found:?}")),
        };
        eventually(&format!("{messages} copies"), copies).await;
    }
}

pub async fn every_window_is_verified(sides: &TwoSides) {
    let unsound = "SELECT count() FROM marketprism_cold.window_log FINAL WHERE state != 'verified'";
    let began = Instant::now();
    eventually("every window to be verified", async || {
        let count = sides.cold().query_raw(unsound).fetch_one::<u64>().await.unwrap();
        if count == 0 { Ok(()) } else { Err(format!("{count} are not{}", sides.late(began, "trades").await)) }
    })
    .await;
}

/// Edges send again what the broker lost, before central runs.
#[tokio::test(flavor = "multi_thread")]
async fn a_hot_put_back_together_with_the_broker_gets_the_rows_of_cold() {
    let Some(mut restored) = Restored::prepare().await else { return };
    let stack = &mut restored.sides.stack;
    stack.broker.restore_store(&stack.folder().join("copy-of-broker"));
    stack.broker.restart().await;
    stack.engine.restart().await;
    restored.publish(OLD..ALL).await;
    restored.central = restored.sides.replicate();
    restored.is_complete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_came_again_before_the_restore_was_noticed_keep_the_rows_of_cold() {
    let Some(mut restored) = Restored::prepare().await else { return };
    restored.trades_come_again(0..ALL).await;
    restored.sides.stack.cold_engine().restart().await;
    restored.is_complete().await;
    restored.messages_that_came_again_are_copies(ALL).await;
}

/// Table of hot, and the rows that it takes: each makes the recovery fail at another step.
const STEPS: [(&str, &str); 4] = [
    ("positions", "stream != 'MARKET_DATA deleted' OR position = 0"),
    ("liquidations", "liquidation_id != 'x-1'"),
    ("positions", "stream != 'MARKET_DATA' OR stream_created_ns = 0"),
    ("positions", "stream != 'MARKET_DATA' OR stream_created_ns != 0"),
];

/// Its successor goes on to the next step. Rows of cold have the sequences of messages that came again: only the note shows that these have no row.
#[tokio::test(flavor = "multi_thread")]
async fn a_central_that_is_killed_at_each_step_of_a_recovery_ends_it_at_last() {
    let Some(mut restored) = Restored::prepare().await else { return };
    restored.trades_come_again(OLD..ALL).await;
    restored.central.kill();
    restored.sides.stack.cold_engine().restart().await;
    let jetstream = restored.sides.stack.jetstream().await;
    // Else rows that came within seconds after the copy would pass for its newest ones.
    restored.sides.positions_were_written_hours_ago(1).await;
    for (table, check) in STEPS {
        let table = format!("marketprism_hot.{table}");
        restored.sides.in_hot(&format!("ALTER TABLE {table} ADD CONSTRAINT step CHECK {check}")).await;
        forget_leases(&jetstream).await;
        restored.central = restored.sides.replicate();
        restored.sides.stack.is_unready_for(&table).await;
        restored.central.kill();
        restored.sides.in_hot(&format!("ALTER TABLE {table} DROP CONSTRAINT step")).await;
        restored.sides.positions_were_written_hours_ago(1).await;
    }
    forget_leases(&jetstream).await;
    restored.central = restored.sides.replicate();
    restored.is_complete().await;
    restored.messages_that_came_again_are_copies(ALL - OLD).await;
}

/// Marks, positions and a row are of a time when all clocks were a day ahead.
#[tokio::test(flavor = "multi_thread")]
async fn rows_since_a_clock_was_set_back_come_back_from_cold() {
    let Some(sides) = TwoSides::on_two_engines(&format!("{QUICK}{SETTINGS}")).await else { return };
    let tomorrow = "now64(3, 'UTC') + toIntervalDay(1)";
    sides
        .in_hot(&format!(
            "INSERT INTO marketprism_hot.positions SELECT 'MARKET_DATA', 0, toStartOfHour(now('UTC')), \
             toUnixTimestamp64Milli({tomorrow}), {tomorrow}"
        ))
        .await;
    sides
        .in_cold(&format!(
            "INSERT INTO marketprism_cold.watermarks SELECT 'MARKET_DATA', {tomorrow}, {tomorrow}, 'mark', {tomorrow}"
        ))
        .await;
    sides
        .in_hot(&format!(
            "INSERT INTO marketprism_hot.quotes (timestamp, event_id, stream_seq, created_at) SELECT now64(6), 1, 1, {tomorrow}"
        ))
        .await;
    let Some(mut restored) = Restored::prepare_on(sides).await else { return };
    restored.trades_come_again(0..ALL).await;
    restored.sides.stack.cold_engine().restart().await;
    restored.is_complete().await;
}

/// A central that only replicates does not take in again what hot lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_hot_that_was_put_back_is_not_compared_before_its_rows_are_back() {
    let Some(mut restored) = Restored::prepare().await else { return };
    let stack = &mut restored.sides.stack;
    stack.broker.restart().await;
    stack.engine.restart().await;
    let config = stack.configure(&restored.sides.settings);
    let mut command = Stack::central_command("run", &config);
    let replicator = Process::start("replicator", command.args(["--role", "cold"]), stack.folder());
    eventually("the replicator to notice", async || {
        replicator.output().contains("hot was put back to an earlier state: its copy mark").then_some(())
    })
    .await;
    // Rechecks begin each second.
    stack.metrics_contain("marketprism_cold_replication_is_failing{table=\"trades\"} 1").await;
    assert!(restored.sides.windows("trades").await.iter().all(|(state, _)| state == "verified"));
    drop(replicator);
    restored.central = restored.sides.replicate();
    restored.is_complete().await;
}

/// A data base of before the marks: only cold has the rows, and the broker says that hot lacks them.
#[tokio::test(flavor = "multi_thread")]
async fn rows_come_back_from_a_cold_that_has_no_copy_mark() {
    let Some(mut restored) = Restored::prepare().await else { return };
    let stack = &mut restored.sides.stack;
    stack.broker.restart().await;
    stack.engine.restart().await;
    let deleted = "SETTINGS mutations_sync = 2";
    stack
        .execute(&format!(
            "ALTER TABLE marketprism_hot.positions DELETE WHERE stream_created_ns = 0 {deleted}"
        ))
        .await;
    let sql = format!("ALTER TABLE marketprism_cold.watermarks DELETE WHERE state = 'mark' {deleted}");
    restored.sides.in_cold(&sql).await;
    let stream = restored.sides.stack.jetstream().await.get_stream("MARKET_DATA").await.unwrap();
    stream.purge().await.unwrap();
    restored.central = restored.sides.replicate();
    restored.is_complete().await;
}

/// All clocks were ahead and are right again; by now they have passed the marks of that time. Only cold has the trades, which came when they were
/// right again, and hot has this one as it came again so many minutes ago. `copied`: hour and time of the mark of hot, in minutes ago.
async fn clocks_have_passed_their_marks(copied: (u32, u32), came_again: Option<(u64, u32)>) {
    const TRADES: u64 = 600;
    let Some(sides) = TwoSides::on_one_engine(QUICK).await else { return };
    sides.trades(0..TRADES, minutes_ago(240), 200).await;
    let mut central = sides.replicate();
    sides.cold_holds_once("trades", TRADES).await;
    every_window_is_verified(&sides).await;
    central.terminate(PATIENCE).await;
    let ago = |minutes: u32| format!("now64(3, 'UTC') - toIntervalMinute({minutes})");
    for sql in [
        "TRUNCATE TABLE marketprism_hot.trades".to_owned(),
        "TRUNCATE TABLE marketprism_hot.positions".to_owned(),
        format!(
            "INSERT INTO marketprism_hot.positions SELECT 'MARKET_DATA', 0, toStartOfHour({}), toUnixTimestamp64Milli({1}), {1}",
            ago(copied.0),
            ago(copied.1)
        ),
        "ALTER TABLE marketprism_cold.watermarks DELETE WHERE state = 'mark' SETTINGS mutations_sync = 2"
            .to_owned(),
        format!(
            "INSERT INTO marketprism_cold.watermarks SELECT 'MARKET_DATA', {0}, {0}, 'mark', {0}",
            ago(90)
        ),
    ] {
        sides.in_hot(&sql).await;
    }
    if let Some((number, minutes)) = came_again {
        sides
            .in_hot(&format!(
                "INSERT INTO marketprism_hot.trades SELECT * REPLACE ({} AS created_at) FROM marketprism_cold.trades WHERE trade_id = '{number}'",
                ago(minutes)
            ))
            .await;
    }
    let _central = sides.replicate();
    sides.stack.holds_once("trades", TRADES).await;
    every_window_is_verified(&sides).await;
    sides.are_the_same("trades").await;
}

/// The server's hour at the mark shows that its clock had been set back.
#[tokio::test(flavor = "multi_thread")]
async fn rows_since_clocks_were_set_back_come_back_though_they_have_passed_their_marks() {
    clocks_have_passed_their_marks((250, 100), Some((7, 95))).await;
}

/// Nothing in the copy shows it.
#[tokio::test(flavor = "multi_thread")]
async fn rows_come_back_to_a_copy_that_was_made_while_clocks_were_ahead() {
    clocks_have_passed_their_marks((100, 100), None).await;
}

/// Twenty minutes leave no trace: the row came again before the mark of cold by a quarter of an hour.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_came_again_after_clocks_were_set_back_by_minutes_gives_way_to_that_of_cold() {
    clocks_have_passed_their_marks((100, 100), Some((7, 105))).await;
}

/// Clocks were set back after the copy was made: the row came again long before the mark of cold, later or earlier than it had come first.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_came_again_after_clocks_were_set_back_by_hours_gives_way_to_that_of_cold() {
    for minutes in [180, 245] {
        clocks_have_passed_their_marks((250, 250), Some((7, minutes))).await;
    }
}
