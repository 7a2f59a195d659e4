//! Periodic scan of a stream: which sequences are missing, and up to which sequence everything is stored.

use std::sync::Arc;

use anyhow::Context as _;
use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::stream::{Info, Stream};

use super::losses::{self, BrokerCheck};
use super::progress::{DeliveryProgress, SeqRange};
use crate::broker::within;
use crate::context::CentralContext;
use crate::watermark::{Watermark, WatermarkEntry, Watermarks};
use crate::{clock, init, limits, time};

#[derive(Debug, Clone)]
pub struct GapScan {
    pub stream: &'static str,
    pub progress: DeliveryProgress,
    /// Lowest sequence in memory that is not stored yet.
    pub lowest_open: Option<u64>,
    pub watermarks: Watermarks,
    pub written: WatermarkEntry,
}

#[derive(Debug)]
pub struct GapScanResult {
    /// Gaps that are resolved: recorded in `losses`, or still held by the broker.
    pub resolved: Vec<SeqRange>,
    /// Progress with the unresolved parts of gaps.
    pub progress: DeliveryProgress,
    pub written: WatermarkEntry,
    pub newest: u64,
}

/// Finds missing sequences, records losses, then advances the confirmed sequence. `None` if the stream was recreated.
pub async fn scan(shared: Arc<CentralContext>, input: GapScan) -> anyhow::Result<Option<GapScanResult>> {
    let GapScan { stream, mut progress, lowest_open, watermarks, written } = input;
    // Read the stream before the consumer: a message that the consumer has not counted by then does not exist.
    let handle = shared.broker.jetstream.get_stream(stream).await.context("cannot query the stream")?;
    let info = handle.cached_info();
    let consumer = consumer(&handle, stream).await?;
    let consumer = consumer.cached_info();
    let created_ns = i64::try_from(info.created.unix_timestamp_nanos()).unwrap_or_default();
    let newest = info.state.last_sequence;
    if created_ns != progress.stream_created_ns {
        return Ok(None);
    }
    let delivered = consumer.delivered.stream_sequence;
    let tail = undeliverable_tail(&progress, info, delivered, consumer.num_pending);
    let resolved = progress.gaps.clone();
    progress.gaps.extend(tail);
    progress.next = tail.map_or(progress.next, |tail| tail.to.saturating_add(1));
    let acknowledged = consumer.ack_floor.stream_sequence;
    resolve(&shared, stream, &handle, &mut progress, acknowledged, lowest_open).await?;
    let whole = progress.contiguous_up_to(acknowledged, lowest_open);
    // A broker that lost the end of its log in a power cut assigns the same sequences to other messages.
    let confirmed = progress.confirmed.max(whole).min(newest);
    if confirmed < progress.confirmed {
        let before = progress.confirmed;
        tracing::warn!(stream, confirmed, before, "the broker lost the end of the stream");
    }
    progress.confirmed = confirmed;
    let is_written =
        |value: &Watermark| (value.confirmed_seq, value.stream_created_ns) == (confirmed, created_ns);
    let written = if written.value.as_ref().is_some_and(is_written) {
        written
    } else {
        match watermarks.write(stream, &written, confirmed, created_ns).await {
            Ok(written) => written,
            Err(error) => {
                // The scan result is still valid; the next scan writes the sequence.
                let error = format!("{error:#}");
                tracing::warn!(
                    stream,
                    error,
                    "cannot write the confirmed sequence; retried by the next scan"
                );
                watermarks.read(stream).await?
            }
        }
    };
    shared.metrics.confirmed.with_label_values(&[stream]).set(i64::try_from(confirmed).unwrap_or(i64::MAX));
    Ok(Some(GapScanResult { resolved, progress, written, newest }))
}

async fn consumer(handle: &Stream, stream: &str) -> anyhow::Result<PullConsumer> {
    let name = init::consumer_name(stream);
    within(format!("query consumer {name}"), handle.get_consumer(&name))
        .await?
        .map_err(|error| anyhow::anyhow!("cannot query consumer {name}: {error}"))
}

/// Sequences at the end that will never be delivered: discarded, purged or deleted. None while deliveries are pending.
fn undeliverable_tail(
    progress: &DeliveryProgress,
    info: &Info,
    delivered: u64,
    pending: u64,
) -> Option<SeqRange> {
    if progress.next != delivered.max(progress.confirmed).saturating_add(1) {
        return None;
    }
    let discarded = info.state.first_sequence.saturating_sub(1);
    let to = if pending == 0 { discarded.max(info.state.last_sequence) } else { discarded };
    (to >= progress.next).then_some(SeqRange { from: progress.next, to })
}

/// Resolves gaps and inherited sequences: each is stored, still held by the broker, or lost and recorded. Unresolved ones
/// stay in `progress`.
async fn resolve(
    shared: &CentralContext,
    stream: &'static str,
    handle: &Stream,
    progress: &mut DeliveryProgress,
    acknowledged: u64,
    lowest_open: Option<u64>,
) -> anyhow::Result<()> {
    // Messages that the broker still waits for are redelivered, or are in memory.
    let inherited = progress
        .inherited
        .filter(|span| acknowledged >= span.to && lowest_open.is_none_or(|lowest| lowest > span.to));
    let asked: Vec<SeqRange> = match inherited {
        // Most inherited messages are stored, so hot is asked before the broker, recent rows first.
        Some(span) => {
            let lately = clock::now_ns().saturating_sub(time::nanos(limits::INHERITED_SINCE));
            let since_ns = progress.stream_created_ns.max(lately);
            let missing = losses::not_stored(shared, stream, &[span], since_ns).await?;
            losses::not_stored(shared, stream, &missing, progress.stream_created_ns).await?
        }
        None => Vec::new(),
    };
    let mut requests = limits::MISSING_REQUESTS;
    let of_inherited = losses::check_broker(handle, &asked, &mut requests).await?;
    let is_resolved = of_inherited.unchecked.is_empty() && inherited.is_some();
    let BrokerCheck { missing: gone, unchecked: left } =
        losses::check_broker(handle, &progress.gaps, &mut requests).await?;
    let since_ns = progress.stream_created_ns;
    let lost = losses::not_stored(shared, stream, &gone, since_ns).await?;
    let first = handle.cached_info().state.first_sequence;
    let evidence = format!("skipped by the broker; its first sequence is {first}");
    losses::record(shared, stream, &lost, &evidence).await?;
    if is_resolved {
        let evidence = format!(
            "taken by a central that ended before storing them; first sequence of the broker is {first}"
        );
        losses::record(shared, stream, &of_inherited.missing, &evidence).await?;
        progress.inherited = None;
    }
    progress.gaps = left;
    Ok(())
}
