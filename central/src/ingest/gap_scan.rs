//! From time to time: what is missing from a stream, and how far all of it is in hot.

use std::sync::Arc;

use anyhow::Context as _;
use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::stream::{Info, Stream};
use tokio::time::timeout;

use super::losses::{self, MissingSequences};
use super::progress::{DeliveryProgress, SeqRange};
use crate::context::CentralContext;
use crate::watermark::{Watermarks, Written};
use crate::{clock, init, limits};

/// What a look begins with.
#[derive(Debug, Clone)]
pub struct GapScan {
    /// The stream.
    pub stream: &'static str,
    /// How far it was when the look began.
    pub progress: DeliveryProgress,
    /// Lowest sequence at hand that is in no table yet.
    pub lowest_open: Option<u64>,
    /// Where the number is written.
    pub watermarks: Watermarks,
    /// What was written last.
    pub written: Written,
}

/// What a look found.
#[derive(Debug)]
pub struct GapScanResult {
    /// When the stream was made; nothing below counts when it was made anew in between.
    pub stream_created_ns: i64,
    /// Holes that are settled: named in `losses`, or still with the broker.
    pub settled: Vec<SeqRange>,
    /// What is left of holes that are not settled.
    pub left: Vec<SeqRange>,
    /// Whether everything inherited is settled.
    pub is_inherited_settled: bool,
    /// Lowest sequence that can still be delivered.
    pub next: u64,
    /// Everything up to here is in hot.
    pub confirmed: u64,
    /// What is written now.
    pub written: Written,
    /// Newest sequence of the stream.
    pub newest: u64,
}

/// Looks what is missing, writes down what is lost, and then how far everything is in hot.
pub async fn look(shared: Arc<CentralContext>, look: GapScan) -> anyhow::Result<GapScanResult> {
    let GapScan { stream, mut progress, lowest_open, watermarks, written } = look;
    // First the stream, then the consumer: what the consumer has not counted by then does not exist.
    let handle = shared.broker.jetstream.get_stream(stream).await.context("cannot ask for the stream")?;
    let info = handle.cached_info();
    let consumer = consumer(&handle, stream).await?;
    let consumer = consumer.cached_info();
    let created_ns = i64::try_from(info.created.unix_timestamp_nanos()).unwrap_or_default();
    let newest = info.state.last_sequence;
    if created_ns != progress.stream_created_ns {
        let (confirmed, next) = (progress.confirmed, progress.next);
        return Ok(GapScanResult {
            stream_created_ns: created_ns,
            settled: Vec::new(),
            left: Vec::new(),
            is_inherited_settled: false,
            next,
            confirmed,
            written,
            newest,
        });
    }
    let delivered = consumer.delivered.stream_sequence;
    let tail = tail(&progress, info, delivered, consumer.num_pending);
    let settled = progress.holes.clone();
    progress.holes.extend(tail);
    progress.next = tail.map_or(progress.next, |tail| tail.to.saturating_add(1));
    let acknowledged = consumer.ack_floor.stream_sequence;
    let is_inherited_settled =
        settle(&shared, stream, &handle, &mut progress, acknowledged, lowest_open).await?;
    let whole = progress.whole_up_to(acknowledged, lowest_open);
    // A broker that lost its end, by a power cut, gives the same sequences to other messages.
    let confirmed = progress.confirmed.max(whole).min(newest);
    if confirmed < progress.confirmed {
        tracing::warn!(stream, confirmed, before = progress.confirmed, "the broker lost the end of a stream");
    }
    let is_news = written
        .value
        .as_ref()
        .is_none_or(|value| (value.confirmed_seq, value.stream_created_ns) != (confirmed, created_ns));
    let written = if is_news {
        match watermarks.write(stream, &written, confirmed, created_ns).await {
            Ok(written) => written,
            Err(error) => {
                // What was found stands; the number is written by the next look, over what stands there then.
                tracing::warn!(stream, error = format!("{error:#}"), "the confirmed sequence is not written");
                watermarks.read(stream).await?
            }
        }
    } else {
        written
    };
    shared.metrics.confirmed.with_label_values(&[stream]).set(i64::try_from(confirmed).unwrap_or(i64::MAX));
    Ok(GapScanResult {
        stream_created_ns: created_ns,
        settled,
        left: progress.holes,
        is_inherited_settled,
        next: progress.next,
        confirmed,
        written,
        newest,
    })
}

async fn consumer(handle: &Stream, stream: &str) -> anyhow::Result<PullConsumer> {
    let name = init::consumer_name(stream);
    let asked = handle.get_consumer(&name);
    timeout(limits::BROKER_TIMEOUT, asked)
        .await
        .context("the broker did not tell of the consumer in time")?
        .map_err(|error| anyhow::anyhow!("cannot ask for consumer {name}: {error}"))
}

/// Sequences at the end of what was delivered that can never be delivered: discarded by the broker, purged or deleted. Nothing while
/// messages are on their way to us.
fn tail(progress: &DeliveryProgress, info: &Info, delivered: u64, pending: u64) -> Option<SeqRange> {
    if progress.next != delivered.max(progress.confirmed).saturating_add(1) {
        return None;
    }
    let discarded = info.state.first_sequence.saturating_sub(1);
    let to = if pending == 0 { discarded.max(info.state.last_sequence) } else { discarded };
    (to >= progress.next).then_some(SeqRange { from: progress.next, to })
}

/// Settles holes and what was inherited: each sequence is in a table, still with the broker, or lost and written down. Leaves in
/// `progress` what is not settled. Gives whether what was inherited is.
async fn settle(
    shared: &CentralContext,
    stream: &'static str,
    handle: &Stream,
    progress: &mut DeliveryProgress,
    acknowledged: u64,
    lowest_open: Option<u64>,
) -> anyhow::Result<bool> {
    // What the broker still waits for comes again, or is at hand.
    let inherited = progress
        .inherited
        .filter(|span| acknowledged >= span.to && lowest_open.is_none_or(|lowest| lowest > span.to));
    let asked: Vec<SeqRange> = match inherited {
        // Most of it is in hot: that is cheaper to ask than the broker. Cheaper still for a short time.
        Some(span) => {
            let lately = clock::now_ns().saturating_sub(nanos(limits::INHERITED_SINCE));
            let since_ns = progress.stream_created_ns.max(lately);
            let missing = losses::not_in_hot(shared, stream, &[span], since_ns).await?;
            losses::not_in_hot(shared, stream, &missing, progress.stream_created_ns).await?
        }
        None => Vec::new(),
    };
    let mut requests = limits::MISSING_REQUESTS;
    let of_inherited = losses::gone(handle, &asked, &mut requests).await?;
    let is_settled = of_inherited.left.is_empty() && inherited.is_some();
    let MissingSequences { gone, left } = losses::gone(handle, &progress.holes, &mut requests).await?;
    let since_ns = progress.stream_created_ns;
    let lost = losses::not_in_hot(shared, stream, &gone, since_ns).await?;
    let first = handle.cached_info().state.first_sequence;
    let evidence = format!("passed over by the broker, whose first sequence is {first}");
    losses::record(shared, stream, &lost, &evidence).await?;
    if is_settled {
        let evidence =
            format!("taken by a central that ended before it stored them; first sequence is {first}");
        losses::record(shared, stream, &of_inherited.gone, &evidence).await?;
        progress.inherited = None;
    }
    progress.holes = left;
    Ok(is_settled)
}

fn nanos(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}
