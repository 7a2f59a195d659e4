//! Periodic scan of a stream: which sequences are missing, and up to which sequence everything is stored.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use async_nats::jetstream::consumer::Info as ConsumerInfo;
use async_nats::jetstream::stream::{Info, Stream};
use futures_util::future::try_join_all;
use marketprism_schema::STREAMS;

use super::delivery_watch::DeliveryWatch;
use super::losses::{self, LossCause};
use super::positions::{self, HotPosition};
use super::progress::DeliveryProgress;
use super::subscription::{Subscription, consumer_info};
use crate::broker::{is_missing, within};
use crate::config::Partition;
use crate::context::CentralContext;
use crate::copy_marks::{self, CopyMarks};
use crate::init::ConsumerSpec;
use crate::seq_range::SeqRange;
use crate::storage::{StorageError, UNKNOWN};
use crate::watermark::{BUCKET, Watermark, WatermarkEntry, Watermarks};
use crate::{clock, limits, time};

#[derive(Debug, Clone)]
pub struct GapScan {
    pub partition: Partition,
    pub progress: DeliveryProgress,
    /// Creation times of the consumers of all partitions at the scan before; empty at the first.
    pub all_created_ns: Vec<i128>,
    pub deliveries: Arc<Mutex<DeliveryWatch>>,
    /// Lowest sequence in memory that is not stored yet.
    pub lowest_open: Option<u64>,
    pub watermarks: Watermarks,
    pub written: WatermarkEntry,
    /// Time of the last scan.
    pub hot_seen: Instant,
    /// Cold may be asked for its copy marks. It may not answer in time.
    pub asks_cold: bool,
}

#[derive(Debug)]
pub struct GapScanResult {
    /// Progress with the unresolved gaps.
    pub progress: DeliveryProgress,
    pub all_created_ns: Vec<i128>,
    pub watermarks: Watermarks,
    pub written: WatermarkEntry,
    pub newest: u64,
    pub hot_seen: Instant,
}

#[derive(Debug)]
pub enum ScanVerdict {
    Done(Box<GapScanResult>),
    /// Stream or consumer were deleted: another subscription creates them. Or a consumer delivers nothing.
    Resubscribe(String),
    /// Hot lacks rows of acknowledged messages.
    PutBack(String),
}

/// Compares the positions of hot and broker. For the first partition also finds missing sequences, records losses, then advances the confirmed
/// sequence.
pub async fn scan(shared: Arc<CentralContext>, input: GapScan) -> anyhow::Result<ScanVerdict> {
    let asks_cold = input.asks_cold;
    let GapScan {
        partition,
        mut progress,
        all_created_ns,
        deliveries,
        lowest_open,
        watermarks,
        written,
        hot_seen,
        ..
    } = input;
    let (began, stream) = (Instant::now(), partition.stream);
    // Read the stream before the consumers: a message that a consumer has not counted by then does not exist.
    let handle = match shared.broker.jetstream.get_stream(stream).await {
        Ok(handle) => handle,
        Err(error) if is_missing(&error) => {
            return Ok(ScanVerdict::Resubscribe("the stream was deleted".to_owned()));
        }
        Err(error) => return Err(error).context("cannot query the stream"),
    };
    let info = handle.cached_info();
    let fresh = began.checked_sub(limits::COLD_MARKS_FRESH).unwrap_or(began);
    let of_cold = async { if asks_cold { marks_of_cold(&shared, fresh).await } else { CopyMarks::new() } };
    let (consumers, of_cold) = tokio::join!(consumers(&handle, partition), of_cold);
    let Some(consumers) = consumers? else {
        return Ok(ScanVerdict::Resubscribe("a consumer was deleted".to_owned()));
    };
    let created_ns = i64::try_from(info.created.unix_timestamp_nanos()).unwrap_or_default();
    let newest = info.state.last_sequence;
    if created_ns != progress.stream_created_ns {
        return Ok(ScanVerdict::Resubscribe("the stream was recreated".to_owned()));
    }
    if let Some(reason) = stalled(&deliveries, consumers.iter().take(own_consumers(partition)), began) {
        return Ok(ScanVerdict::Resubscribe(reason));
    }
    let (watermarks, written) = read_written(&shared, partition, watermarks, written).await?;
    let uptime = match compare_hot(&shared, stream, created_ns, &written, &of_cold).await? {
        HotState::PutBack(reason) => return Ok(ScanVerdict::PutBack(reason)),
        HotState::Up(uptime) => uptime,
    };
    let done = |progress, all_created_ns, watermarks, written| {
        let result = GapScanResult { progress, all_created_ns, watermarks, written, newest, hot_seen: began };
        Ok(ScanVerdict::Done(Box::new(result)))
    };
    if !partition.is_first() {
        progress.confirmed = written.sequence_of(created_ns);
        return done(progress, all_created_ns, watermarks, written);
    }
    let created = follow(&mut progress, &consumers, &all_created_ns);
    if uptime <= hot_seen.elapsed() {
        progress.hot_restarted();
    }
    let passed = consumers.iter().map(|consumer| passed(consumer, info)).min().unwrap_or_default();
    let passed = passed.min(lowest_open.map_or(u64::MAX, |lowest| lowest.saturating_sub(1)));
    // What is discarded before it is delivered is absent afterwards.
    let handle = within("query the stream", shared.broker.jetstream.get_stream(stream)).await??;
    progress.pass(passed, &absent(handle.cached_info()));
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
    done(progress, created, watermarks, written)
}

/// Reason for another subscription, if a consumer delivers nothing for too long.
fn stalled<'a>(
    watch: &Mutex<DeliveryWatch>,
    consumers: impl Iterator<Item = &'a ConsumerInfo>,
    now: Instant,
) -> Option<String> {
    // Each check is complete, so a panic of another holder does not matter.
    watch.lock().unwrap_or_else(PoisonError::into_inner).check(consumers, now)
}

/// Takes what the consumers have delivered; returns when they were created.
fn follow(progress: &mut DeliveryProgress, consumers: &[ConsumerInfo], before: &[i128]) -> Vec<i128> {
    let highest = |of: fn(&ConsumerInfo) -> u64| consumers.iter().map(of).max().unwrap_or_default();
    progress.take(highest(|consumer| consumer.delivered.stream_sequence));
    let created: Vec<i128> =
        consumers.iter().map(|consumer| consumer.created.unix_timestamp_nanos()).collect();
    if !before.is_empty() && before != created {
        // Nobody knows who created it, and from where on it delivers.
        progress.inherit(highest(|consumer| consumer.ack_floor.stream_sequence));
    }
    created
}

/// Content of the bucket. A deleted bucket is created again.
async fn read_written(
    shared: &CentralContext,
    partition: Partition,
    watermarks: Watermarks,
    written: WatermarkEntry,
) -> anyhow::Result<(Watermarks, WatermarkEntry)> {
    let stream = partition.stream;
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
    if partition.is_first() && found.value.is_some() && found.revision != written.revision {
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
    let of_cold = marks_of_cold(shared, Instant::now()).await;
    let state = compare_hot(shared, stream, found.stream_created_ns, &written, &of_cold).await?;
    Ok(if let HotState::PutBack(reason) = state { Some(reason) } else { None })
}

enum HotState {
    /// Hot is not as it was; the reason.
    PutBack(String),
    /// Age of its process.
    Up(Duration),
}

/// A broker that was put back together with hot has the position of hot: only the copy marks differ then.
async fn compare_hot(
    shared: &CentralContext,
    stream: &str,
    created_ns: i64,
    written: &WatermarkEntry,
    of_cold: &CopyMarks,
) -> anyhow::Result<HotState> {
    let confirmed = written.sequence_of(created_ns);
    match positions::newest(&shared.storage, stream, created_ns).await {
        Ok(HotPosition { position, .. }) if position < confirmed => Ok(HotState::PutBack(format!(
            "hot was put back to an earlier state: its position is {position}, {confirmed} was confirmed"
        ))),
        Ok(HotPosition { copy_mark_ms, uptime, .. }) => {
            Ok(match copy_marks::put_back(stream, copy_mark_ms, of_cold) {
                Some(found) => HotState::PutBack(found.to_string()),
                None => HotState::Up(uptime),
            })
        }
        Err(StorageError::Refused { code, text }) if UNKNOWN.contains(&code) => {
            Ok(HotState::PutBack(format!("hot was emptied: {text}")))
        }
        Err(error) => Err(error).context("cannot read the position of hot"),
    }
}

/// None while cold does not answer.
async fn marks_of_cold(shared: &CentralContext, since: Instant) -> CopyMarks {
    let asked = copy_marks::of_cold(&shared.cold, shared.config.replication.connect_timeout);
    shared.marks_of_cold.since(since, asked).await.unwrap_or_else(|error| {
        tracing::debug!(%error, "cannot read the copy marks of cold; asked again by a later scan");
        CopyMarks::new()
    })
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

/// Consumers of a partition, for the first one of all partitions, in their order; `None` if one of its own is missing.
async fn consumers(handle: &Stream, partition: Partition) -> anyhow::Result<Option<Vec<ConsumerInfo>>> {
    let Some(settings) = STREAMS.iter().find(|settings| settings.name == partition.stream) else {
        return Ok(None);
    };
    let others =
        Partition::numbered(partition.stream, partition.count).skip(1).filter(|_| partition.is_first());
    let all = std::iter::once(partition).chain(others);
    let specs: Vec<_> =
        all.flat_map(|of| ConsumerSpec::of(settings, of).into_iter().map(move |spec| (of, spec))).collect();
    let found = try_join_all(specs.iter().map(|(_, spec)| consumer_info(handle, &spec.name))).await?;
    let mut infos = Vec::new();
    for ((of, ConsumerSpec { name, .. }), info) in specs.iter().zip(found) {
        match info {
            Some(info) => infos.push(info),
            None if *of == partition => return Ok(None),
            None => bail!("consumer {name} is missing; the owner of partition {} creates it", of.name()),
        }
    }
    Ok(Some(infos))
}

/// Number of a partition's own consumers, which are the first ones.
fn own_consumers(partition: Partition) -> usize {
    let settings = STREAMS.iter().find(|settings| settings.name == partition.stream);
    settings.map_or(0, |settings| ConsumerSpec::of(settings, partition).len())
}

/// Sequence up to which a consumer delivers nothing more, and all that it delivered is acknowledged.
fn passed(consumer: &ConsumerInfo, stream: &Info) -> u64 {
    let acknowledged = acknowledged(consumer, stream.state.last_sequence);
    // What was discarded before its delivery is never acknowledged.
    let discarded = stream.state.first_sequence.saturating_sub(1);
    if consumer.num_ack_pending == 0 { acknowledged.max(discarded) } else { acknowledged }
}

/// Sequences that the broker does not hold; of a stream with deleted messages between others, all are in question.
fn absent(stream: &Info) -> [SeqRange; 2] {
    let state = &stream.state;
    let (first, last) = (state.first_sequence, state.last_sequence);
    let is_whole = first > last || state.messages > last - first;
    let between = if is_whole { SeqRange { from: 1, to: 0 } } else { SeqRange { from: first, to: last } };
    [SeqRange { from: 1, to: first.saturating_sub(1) }, between]
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
    losses::record(shared, (stream, since_ns), &lost, LossCause::Retention, &evidence).await?;
    if is_resolved {
        let evidence = format!(
            "taken by a central that ended before storing them; first sequence of the broker is {first}"
        );
        losses::record(shared, (stream, since_ns), &of_inherited.missing, LossCause::Retention, &evidence)
            .await?;
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
