//! Bytes of an order-book update in the broker and in hot: the changes of the recorded books, through broker and central into the real table.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, anyhow};
use async_nats::HeaderMap;
use marketprism_schema::{Body, DataType, Event, EventId, WireForm};
use marketprism_tests::figures::{Goal, Report};
use marketprism_tests::stack::Stack;

use crate::engine::{reaches, wide_copy};
use crate::recorded;

const TABLE: &str = "marketprism_hot.orderbook_deltas";
const CHANGES: &str = "marketprism_hot.orderbook_changes";
/// Limit for the last row.
const LIMIT: Duration = Duration::from_secs(60);
const BROKER_BYTES: f64 = 300.0;
const HOT_BYTES: f64 = 60.0;

/// Packed, as a feed with `wire.orderbook_delta = "protobuf"` sends them.
pub async fn measure(report: &mut Report) -> Result<()> {
    let stack = Stack::plain().await;
    let client = async_nats::connect(stack.broker.url()).await?;
    let jetstream = async_nats::jetstream::new(client);
    let (mut changes, mut levels) = (0_u64, 0_usize);
    let mut bytes = [0_usize; 2];
    for stream in &tokio::task::block_in_place(|| recorded::captured(&[DataType::OrderBookDelta]))? {
        for event in stream.events()? {
            let event = received_now(event);
            let Body::OrderBookDelta(delta) = &event.body else { continue };
            let mut payload = Vec::new();
            WireForm::Protobuf.encode(&event, &mut payload);
            let mut headers = HeaderMap::new();
            headers.insert("Nats-Msg-Id", event.header.event_id.to_string());
            let subject = stream.id.to_string();
            changes += 1;
            levels += delta.levels.bids.len() + delta.levels.asks.len();
            bytes[0] += payload.len();
            // As the stream stores it: record, subject and headers.
            bytes[1] += payload.len() + subject.len() + headers_bytes(&headers);
            jetstream.publish_with_headers(subject, headers, payload.into()).await?.await?;
        }
    }
    let each = |bytes: usize| bytes as f64 / changes as f64;
    let (rows, pause) = (format!("SELECT count() FROM {TABLE}"), Duration::from_millis(100));
    reaches(&stack.clickhouse, &rows, changes, (pause, LIMIT)).await?;
    wide_copy(&stack.clickhouse, CHANGES, TABLE, TABLE).await?;
    let name = format!("order-book update of {:.1} levels ({changes} recorded ones)", each(levels));
    report.figure(format!("{name}, payload"), each(bytes[0]), "bytes");
    report.goal(format!("{name}, in the broker"), each(bytes[1]), "bytes", Goal::AtMost(BROKER_BYTES));
    let compressed = number(&stack, "sum(data_compressed_bytes)", "parts").await?;
    report.goal(format!("{name}, in hot"), compressed / changes as f64, "bytes", Goal::AtMost(HOT_BYTES));
    for column in ["event_id", "bids.price", "bids.quantity", "asks.price", "asks.quantity"] {
        let what = format!("sumIf(column_data_compressed_bytes, column = '{column}')");
        let compressed = number(&stack, &what, "parts_columns").await?;
        report.figure(format!("{name}, in hot, {column}"), compressed / changes as f64, "bytes");
    }
    Ok(())
}

/// `NATS/1.0`, a line for each header, an empty line.
fn headers_bytes(headers: &HeaderMap) -> usize {
    let lines = headers.iter().flat_map(|(name, values)| {
        values.iter().map(|value| name.to_string().len() + value.as_str().len() + ": \r\n".len())
    });
    "NATS/1.0\r\n\r\n".len() + lines.sum::<usize>()
}

/// Central refuses what was received days ago: the age of the recording is taken off.
fn received_now(mut event: Event<'_>) -> Event<'_> {
    let header = &mut event.header;
    let day_ns = 86_400_000_000_000;
    let now_ns = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    let days = (i64::try_from(now_ns).unwrap_or_default() - header.received_at_ns) / day_ns;
    header.received_at_ns += days * day_ns;
    header.timestamp_us += days * day_ns / 1_000;
    event.header.event_id = EventId::of(&event);
    event
}

async fn number(stack: &Stack, what: &str, table: &str) -> Result<f64> {
    let query = format!(
        "SELECT {what} FROM system.{table} WHERE active AND concat(database, '.', table) = '{CHANGES}'"
    );
    Ok(stack.clickhouse.number(&query).await.map_err(|e| anyhow!(e))? as f64)
}
