//! Audit intake task: pull, decode, insert, acknowledge.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use async_nats::jetstream::AckKind;
use async_nats::jetstream::consumer::Info as ConsumerInfo;
use async_nats::jetstream::consumer::pull::Stream as Pull;
use futures_util::{FutureExt as _, StreamExt as _};
use marketprism_schema::DEAD_LETTERS;
use marketprism_service::Backoff;
use tokio::time::{MissedTickBehavior, interval_at, sleep};

use super::batch::{AUDIT, AUDIT_DEAD_LETTER, AuditBatch, AuditMessage, DecodedAudits};
use super::position::AuditPosition;
use crate::broker::within;
use crate::config::{Partition, Stream};
use crate::context::CentralContext;
use crate::fleet::NewerEdges;
use crate::ingest::{DeliveryWatch, acknowledge, consumer_info, subscribe};
use crate::init::ConsumerSpec;
use crate::ledger::insert::insert;
use crate::ledger::instruments::{InstrumentReports, store_reports};
use crate::ledger::windows::{DirtyWindows, WindowGrid};
use crate::row::TableRows;
use crate::storage::StorageError;
use crate::{clock, limits};

pub const INTAKE: &str = "audits";

/// Never returns. Cancellation is safe at any point: unacknowledged messages are redelivered and give the same rows.
pub async fn take_in(shared: &Arc<CentralContext>, dirty: &DirtyWindows) -> anyhow::Result<Infallible> {
    let stream = shared.config.streams.iter().find(|stream| stream.settings.name == AUDIT);
    let stream = stream.with_context(|| format!("stream {AUDIT} is not configured"))?;
    let mut backoff = limits::BACKOFF;
    let (mut newer, mut watch) = (NewerEdges::default(), DeliveryWatch::default());
    loop {
        let reason = match start(shared, stream).await {
            Ok((mut messages, mut position)) => {
                backoff.reset();
                shared.status.clear(INTAKE);
                pull(shared, stream, (&mut messages, &mut position, &mut watch), (dirty, &mut newer)).await
            }
            Err(error) => format!("{error:#}"),
        };
        if shared.status.fail(INTAKE, reason.clone()) {
            tracing::warn!(reason, "audit intake failed; retrying, no audit is lost");
        }
        sleep(backoff.pause()).await;
    }
}

async fn start(shared: &CentralContext, stream: &Stream) -> anyhow::Result<(Pull, AuditPosition)> {
    let position = AuditPosition::start(shared, stream).await?;
    let found = subscribe(shared, stream, Partition::first(stream)).await?;
    let pulls = found.pulls(&shared.broker.client).await?;
    let pull = pulls.into_iter().next().with_context(|| format!("stream {AUDIT} has no consumer"))?;
    Ok((pull, position))
}

async fn pull(
    shared: &CentralContext,
    stream: &Stream,
    (messages, position, watch): (&mut Pull, &mut AuditPosition, &mut DeliveryWatch),
    (dirty, newer): (&DirtyWindows, &mut NewerEdges),
) -> String {
    let grid = WindowGrid::new(shared.config.ledger.window);
    loop {
        let mut sorted = DecodedAudits::default();
        let (mut count, mut bytes) = (0, 0);
        let mut next = tokio::select! {
            next = messages.next() => next,
            reason = stalled(shared, stream, watch) => return reason,
        };
        let broken = loop {
            match next {
                Some(Ok(message)) => {
                    count += 1;
                    bytes += message.payload.len();
                    sorted.add(message, grid, clock::now_ns());
                }
                Some(Err(error)) => break Some(error.to_string()),
                None => break Some("the pull ended".to_owned()),
            }
            if count >= limits::AUDITS_A_BATCH || bytes >= limits::AUDIT_BATCH_BYTES {
                break None;
            }
            match messages.next().now_or_never() {
                Some(more) => next = more,
                None => break None,
            }
        };
        for (edge, unknown) in &sorted.unknown {
            shared.metrics.fleet.count_unknown("audit", unknown);
            newer.log(edge, "audit", unknown);
        }
        store(shared, stream, sorted, position, dirty).await;
        if position.is_put_back {
            return "hot was put back to an earlier state".to_owned();
        }
        if let Some(reason) = broken {
            return reason;
        }
    }
}

/// Reason for another subscription, once one is due. Each batch of messages begins its wait again.
async fn stalled(shared: &CentralContext, stream: &Stream, watch: &mut DeliveryWatch) -> String {
    loop {
        sleep(limits::SCAN_INTERVAL).await;
        match consumer(shared, stream).await {
            Ok(consumer) => {
                if let Some(reason) = watch.check(&consumer, Instant::now()) {
                    return reason;
                }
            }
            Err(error) => tracing::debug!(
                stream = stream.settings.name,
                error = format!("{error:#}"),
                "cannot query the consumer; retried"
            ),
        }
    }
}

/// None while there is none: its pull ends by itself.
async fn consumer(shared: &CentralContext, stream: &Stream) -> anyhow::Result<Option<ConsumerInfo>> {
    let jetstream = &shared.broker.jetstream;
    let handle = within("query the stream", jetstream.get_stream(stream.settings.name)).await??;
    let specs = ConsumerSpec::of(&stream.settings, Partition::first(stream));
    let spec = specs.first().with_context(|| format!("stream {AUDIT} has no consumer"))?;
    consumer_info(&handle, &spec.name).await
}

/// Stores and acknowledges a batch, however long that takes; meanwhile its messages are kept in progress.
async fn store(
    shared: &CentralContext,
    stream: &Stream,
    mut sorted: DecodedAudits,
    position: &mut AuditPosition,
    dirty: &DirtyWindows,
) {
    let good = std::mem::take(&mut sorted.good);
    let replies: Vec<_> = good.replies().into_iter().chain(sorted.bad.replies()).collect();
    let storing = async {
        let refused = store_audits(shared, good, position, dirty).await;
        for (entry, reason) in refused {
            sorted.refuse(entry.message, entry.delivery, &reason);
        }
        store_dead_letters(shared, &sorted.bad, position).await;
    };
    tokio::pin!(storing);
    let every = shared.config.ack_wait / 3;
    let mut ticks = interval_at(tokio::time::Instant::now() + every, every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = &mut storing => return,
            _ = ticks.tick() => {
                tracing::debug!(stream = stream.settings.name, messages = replies.len(), "audit insert still running; messages kept in progress");
                acknowledge(&shared.broker.client, replies.iter(), AckKind::Progress).await;
            }
        }
    }
}

/// Returns the messages whose rows ClickHouse refuses for their content.
async fn store_audits(
    shared: &CentralContext,
    batch: AuditBatch,
    position: &mut AuditPosition,
    dirty: &DirtyWindows,
) -> Vec<(AuditMessage, String)> {
    let mut refused = Vec::new();
    let mut open = vec![batch];
    while let Some(batch) = open.pop() {
        if batch.entries.is_empty() {
            continue;
        }
        match store_batch(shared, &batch).await {
            Ok(()) => {
                dirty.add(batch.entries.iter().flat_map(|entry| entry.windows.iter().copied()));
                shared.metrics.ledger.taken.inc_by(u64::try_from(batch.entries.len()).unwrap_or(u64::MAX));
                acknowledge_batch(shared, &batch, position, AckKind::Ack).await;
            }
            Err(error) => match <[AuditMessage; 1]>::try_from(batch.entries) {
                Ok([entry]) => refused.push((entry, error)),
                Err(entries) => {
                    open.extend(entries.into_iter().map(|entry| AuditBatch { entries: vec![entry] }))
                }
            },
        }
    }
    refused
}

async fn store_batch(shared: &CentralContext, batch: &AuditBatch) -> Result<(), String> {
    store_instruments(shared, &batch.instruments().iter().collect::<Vec<_>>()).await?;
    for (table, rows) in batch.tables() {
        if !rows.is_empty() {
            insert_with_retry(shared, table, &rows).await?;
        }
    }
    Ok(())
}

async fn store_dead_letters(shared: &CentralContext, batch: &AuditBatch, position: &mut AuditPosition) {
    if batch.entries.is_empty() {
        return;
    }
    // A refused dead letter has nowhere else to go: it is retried, with an error in the log.
    let (mut backoff, rows) = (limits::BACKOFF, batch.dead_letters());
    while let Err(error) = insert_with_retry(shared, DEAD_LETTERS, &rows).await {
        tracing::error!(error, "clickhouse refuses dead letters; they stay at the broker, retrying");
        sleep(backoff.pause()).await;
    }
    shared
        .metrics
        .dead_letters
        .with_label_values(&[AUDIT_DEAD_LETTER])
        .inc_by(u64::try_from(batch.entries.len()).unwrap_or(u64::MAX));
    acknowledge_batch(shared, batch, position, AckKind::Term).await;
}

/// Retries until ClickHouse accepts the rows or refuses them for their content; returns its message then.
async fn insert_with_retry(shared: &CentralContext, table: &str, rows: &TableRows) -> Result<(), String> {
    let mut backoff = limits::BACKOFF;
    while let Err(error) = insert(&shared.storage, table, rows).await {
        pause_after(shared, error, &mut backoff).await?;
    }
    shared.status.clear(INTAKE);
    Ok(())
}

/// As [`insert_with_retry`].
async fn store_instruments(shared: &CentralContext, reports: &[&InstrumentReports]) -> Result<(), String> {
    let mut backoff = limits::BACKOFF;
    while let Err(error) = store_reports(&shared.storage, reports).await {
        pause_after(shared, error, &mut backoff).await?;
    }
    Ok(())
}

/// Returns the message of an error that the content of the rows causes.
async fn pause_after(
    shared: &CentralContext,
    error: StorageError,
    backoff: &mut Backoff,
) -> Result<(), String> {
    if error.is_content() {
        return Err(error.to_string());
    }
    if shared.status.fail(INTAKE, error.to_string()) {
        tracing::warn!(%error, "audit insert failed; retrying, no audit is lost");
    }
    sleep(backoff.pause()).await;
    Ok(())
}

async fn acknowledge_batch(
    shared: &CentralContext,
    batch: &AuditBatch,
    position: &mut AuditPosition,
    kind: AckKind,
) {
    let mut backoff = limits::BACKOFF;
    while let Err(error) = position.advance(shared, batch).await {
        shared.status.fail(INTAKE, error.to_string());
        sleep(backoff.pause()).await;
    }
    let replies = batch.replies();
    let failed = acknowledge(&shared.broker.client, replies.iter(), kind).await;
    shared.metrics.ack_failures.inc_by(u64::try_from(failed).unwrap_or(u64::MAX));
}
