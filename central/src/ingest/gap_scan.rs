//! Periodic scan of a stream: which sequences are missing, and up to which sequence everything is stored.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use async_nats::jetstream::consumer::Info as ConsumerInfo;
use async_nats::jetstream::context::ConsumerInfoErrorKind;
use async_nats::jetstream::stream::{Info, Stream};
use marketprism_schema::STREAMS;

use super::losses::{self, LossCause};
use super::positions::{self, HotPosition};
use super::progress::{DeliveryProgress, SeqRange};
use super::subscription::Subscription;
use crate::broker::{is_missing, within};
use crate::context::CentralContext;
use crate::init::ConsumerSpec;
use crate::storage::{StorageError, UNKNOWN};
use crate::watermark::{BUCKET, Watermark, WatermarkEntry, Watermarks};
use crate::{clock, limits, time};

#[derive(Debug, Clone)]
pub struct GapScan {
    pub stream: &'static str,
    pub progress: DeliveryProgress,
    /// Of each consumer, in their order.
    pub taken: Vec<ConsumerProgress>,
    /// Lowest sequence in memory that is not stored yet.
    pub lowest_open: Option<u64>,
    pub watermarks: Watermarks,
    pub written: WatermarkEntry,
    /// Time of the last scan.
    pub hot_seen: Instant,
}

/// Messages taken of one consumer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConsumerProgress {
    pub deliveries: u64,
    /// Highest sequence taken, or that the consumer had passed before.
    pub sequence: u64,
}

#[derive(Debug)]
pub struct GapScanResult {
    /// Progress with the unresolved gaps.
    pub progress: DeliveryProgress,
    pub watermarks: Watermarks,
    pub written: WatermarkEntry,
    pub newest: u64,
    pub hot_seen: Instant,
}

#[derive(Debug)]
pub enum ScanVerdict {
    Done(Box<GapScanResult>),
    /// Stream or consumer were deleted: another subscription creates them.
    Resubscribe(String),
    /// Hot lacks rows of acknowledged messages.
    PutBack(String),
}

/// Compares the positions of hot and broker, finds missing sequences, records losses, then advances the confirmed sequence.
pub async fn scan(shared: Arc<CentralContext>, input: GapScan) -> anyhow::Result<ScanVerdict> {
    let GapScan { stream, mut progress, taken, lowest_open, watermarks, written, hot_seen } = input;
    let began = Instant::now();
    // Read the stream before the consumers: a message that a consumer has not counted by then does not exist.
    let handle = match shared.broker.jetstream.get_stream(stream).await {
        Ok(handle) => handle,
        Err(error) if is_missing(&error) => {
            return Ok(ScanVerdict::Resubscribe("the stream was deleted".to_owned()));
        }
        Err(error) => return Err(error).context("cannot query the stream"),
    };
    let info = handle.cached_info();
    let Some(consumers) = consumers(&handle, stream).await? else {
        return Ok(ScanVerdict::Resubscribe("a consumer was deleted".to_owned()));
    };
    let created_ns = i64::try_from(info.created.unix_timestamp_nanos()).unwrap_or_default();
    let newest = info.state.last_sequence;
    if created_ns != progress.stream_created_ns {
        return Ok(ScanVerdict::Resubscribe("the stream was recreated".to_owned()));
    }
    let (watermarks, written) = read_written(&shared, stream, watermarks, written).await?;
    let uptime = match compare_hot(&shared, stream, created_ns, &written).await? {
        HotState::PutBack(reason) => return Ok(ScanVerdict::PutBack(reason)),
        HotState::Up(uptime) => uptime,
    };
    if uptime <= hot_seen.elapsed() {
        progress.hot_restarted();
    }
    let passed = taken.iter().zip(&consumers).map(|(taken, consumer)| passed(*taken, consumer, info));
    progress.pass(passed.min().unwrap_or_default());
    let acknowledged = consumers.iter().map(|consumer| acknowledged(consumer, newest)).min();
    let acknowledged = acknowledged.unwrap_or_default();
    let lacked = resolve(&shared, stream, &handle, &mut progress, acknowledged, lowest_open).await?;
    if lacked > 0 {
        return Ok(ScanVerdict::PutBack(format!("hot lacks {lacked} acknowledged messages")));
    }
    let whole = progress.contiguous_up_to(acknowledged, lowest_open);
    // A broker that lost the end of its log in a power cut assigns the same sequences to other messages.
    let confirmed = progress.confirmed.max(whole).min(newest);
    if confirmed < progress.confirmed {
        let before = progress.confirmed;
        tracing::warn!(stream, confirmed, before, "the broker lost the end of the stream");
    }
    progress.confirmed = confirmed;
    let written = write(&shared, stream, &watermarks, written, confirmed, created_ns).await?;
    shared.metrics.confirmed.with_label_values(&[stream]).set(i64::try_from(confirmed).unwrap_or(i64::MAX));
    Ok(ScanVerdict::Done(Box::new(GapScanResult { progress, watermarks, written, newest, hot_seen: began })))
}

/// Content of the bucket. A deleted bucket is created again.
async fn read_written(
    shared: &CentralContext,
    stream: &'static str,
    watermarks: Watermarks,
    written: WatermarkEntry,
) -> anyhow::Result<(Watermarks, WatermarkEntry)> {
    let found = watermarks.read(stream).await;
    let (watermarks, found) = match found {
        Ok(found) => (watermarks, found),
        Err(_) => {
            let reopened = Watermarks::open(&shared.broker, shared.config.replicas()).await?;
            if reopened.is_other(&watermarks) {
                tracing::error!(
                    stream,
                    bucket = BUCKET,
                    "the bucket was deleted at the broker; it is created again"
                );
            }
            let found = reopened.read(stream).await?;
            (reopened, found)
        }
    };
    if found.value.is_some() && found.revision != written.revision {
        tracing::warn!(stream, "another process wrote the confirmed sequence");
    }
    Ok((watermarks, found))
}

/// Why hot is not as it was when the last central confirmed its messages, if so.
pub async fn put_back_before(
    shared: &CentralContext,
    found: &Subscription,
    stream: &'static str,
) -> anyhow::Result<Option<String>> {
    let watermarks = Watermarks::open(&shared.broker, shared.config.replicas()).await?;
    let written = watermarks.read(stream).await?;
    let state = compare_hot(shared, stream, found.stream_created_ns, &written).await?;
    Ok(if let HotState::PutBack(reason) = state { Some(reason) } else { None })
}

enum HotState {
    /// Hot is not as it was; the reason.
    PutBack(String),
    /// Age of its process.
    Up(Duration),
}

async fn compare_hot(
    shared: &CentralContext,
    stream: &str,
    created_ns: i64,
    written: &WatermarkEntry,
) -> anyhow::Result<HotState> {
    let confirmed = written.sequence_of(created_ns);
    match positions::newest(&shared.storage, stream, created_ns).await {
        Ok(HotPosition { position, .. }) if position < confirmed => Ok(HotState::PutBack(format!(
            "hot was put back to an earlier state: its position is {position}, {confirmed} was confirmed"
        ))),
        Ok(HotPosition { uptime, .. }) => Ok(HotState::Up(uptime)),
        Err(StorageError::Refused { code, text }) if UNKNOWN.contains(&code) => {
            Ok(HotState::PutBack(format!("hot was emptied: {text}")))
        }
        Err(error) => Err(error).context("cannot read the position of hot"),
    }
}

/// Writes the confirmed sequence to hot, then to the bucket.
async fn write(
    shared: &CentralContext,
    stream: &'static str,
    watermarks: &Watermarks,
    written: WatermarkEntry,
    confirmed: u64,
    created_ns: i64,
) -> anyhow::Result<WatermarkEntry> {
    let is_written =
        |value: &Watermark| (value.confirmed_seq, value.stream_created_ns) == (confirmed, created_ns);
    if written.value.as_ref().is_some_and(is_written) {
        return Ok(written);
    }
    positions::write(&shared.storage, stream, created_ns, confirmed)
        .await
        .context("cannot write the position of hot")?;
    match watermarks.write(stream, &written, confirmed, created_ns).await {
        Ok(written) => Ok(written),
        Err(error) => {
            // The scan result is still valid; the next scan writes the sequence.
            let error = format!("{error:#}");
            tracing::warn!(stream, error, "cannot write the confirmed sequence; retried by the next scan");
            Ok(written)
        }
    }
}

/// All consumers of a stream, in their order; `None` if one is missing.
async fn consumers(handle: &Stream, stream: &str) -> anyhow::Result<Option<Vec<ConsumerInfo>>> {
    let settings = STREAMS.iter().find(|settings| settings.name == stream);
    let mut infos = Vec::new();
    for ConsumerSpec { name, .. } in settings.map(ConsumerSpec::of).unwrap_or_default() {
        match within(format!("query consumer {name}"), handle.consumer_info(&name)).await? {
            Ok(info) => infos.push(info),
            Err(error) if error.kind() == ConsumerInfoErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("cannot query consumer {name}")),
        }
    }
    Ok(Some(infos))
}

/// Sequence up to which a consumer delivers nothing more.
fn passed(taken: ConsumerProgress, consumer: &ConsumerInfo, stream: &Info) -> u64 {
    if consumer.delivered.consumer_sequence != taken.deliveries {
        return taken.sequence;
    }
    let discarded = stream.state.first_sequence.saturating_sub(1);
    let to = if consumer.num_pending == 0 { stream.state.last_sequence } else { discarded };
    to.max(taken.sequence)
}

/// Sequence up to which all messages of a consumer are acknowledged.
fn acknowledged(consumer: &ConsumerInfo, newest: u64) -> u64 {
    let floor = consumer.ack_floor.stream_sequence;
    if consumer.num_pending == 0 && consumer.num_ack_pending == 0 { floor.max(newest) } else { floor }
}

/// Resolves gaps and inherited sequences: each is stored, still held by the broker, or lost and recorded. Unresolved ones
/// stay in `progress`. Returns the number of messages that are acknowledged, but not stored, and that broker or cold may have.
async fn resolve(
    shared: &CentralContext,
    stream: &'static str,
    handle: &Stream,
    progress: &mut DeliveryProgress,
    acknowledged: u64,
    lowest_open: Option<u64>,
) -> anyhow::Result<u64> {
    // Messages that the broker still waits for are redelivered, or are in memory.
    let is_done = |upto: u64| acknowledged >= upto && lowest_open.is_none_or(|lowest| lowest > upto);
    let inherited = progress.inherited.filter(|span| is_done(span.to));
    let asked: Vec<SeqRange> = match inherited {
        // Most inherited messages are stored, so hot is asked before the broker.
        Some(span) => not_in_hot(shared, stream, &[span], progress.stream_created_ns).await?,
        None => Vec::new(),
    };
    let count = |spans: &[SeqRange]| spans.iter().map(SeqRange::len).sum::<u64>();
    let is_gap = |span: &SeqRange| progress.gaps.iter().any(|gap| gap.from <= span.from && span.to <= gap.to);
    if progress.is_hot_restarted && !asked.iter().all(is_gap) {
        return Ok(count(&asked));
    }
    let mut requests = limits::MISSING_REQUESTS;
    let of_inherited = losses::check_broker(handle, &asked, &mut requests).await?;
    let is_resolved = of_inherited.unchecked.is_empty() && inherited.is_some();
    let since_ns = progress.stream_created_ns;
    // The broker takes a request for each message that it holds: after a table was stuck these may be millions, all stored.
    let gaps = not_in_hot(shared, stream, &progress.gaps, since_ns).await?;
    let of_gaps = losses::check_broker(handle, &gaps, &mut requests).await?;
    // Some may have been delivered again in between.
    let lost = losses::not_stored(shared, stream, &of_gaps.missing, since_ns).await?;
    let first = handle.cached_info().state.first_sequence;
    let evidence = format!("skipped by the broker; its first sequence is {first}");
    losses::record(shared, stream, &lost, LossCause::Retention, &evidence).await?;
    if is_resolved {
        let evidence = format!(
            "taken by a central that ended before storing them; first sequence of the broker is {first}"
        );
        losses::record(shared, stream, &of_inherited.missing, LossCause::Retention, &evidence).await?;
        (progress.inherited, progress.is_hot_restarted) = (None, false);
    }
    // No consumer delivers again what it has acknowledged.
    let passed_by: Vec<SeqRange> = of_gaps.held.iter().copied().filter(|span| is_done(span.to)).collect();
    let mut left = [of_gaps.held, of_gaps.unchecked].concat();
    left.sort_unstable_by_key(|span| span.from);
    progress.keep_gaps(left);
    Ok(count(&of_inherited.held).saturating_add(count(&passed_by)))
}

/// The sequences that hot lacks. Recent rows are looked up first.
async fn not_in_hot(
    shared: &CentralContext,
    stream: &'static str,
    spans: &[SeqRange],
    created_ns: i64,
) -> Result<Vec<SeqRange>, StorageError> {
    let lately = clock::now_ns().saturating_sub(time::nanos(limits::INHERITED_SINCE));
    let missing = losses::not_stored(shared, stream, spans, created_ns.max(lately)).await?;
    losses::not_stored(shared, stream, &missing, created_ns).await
}
