//! Takes audits in: pull, decode, insert, acknowledge.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_nats::jetstream::AckKind;
use async_nats::jetstream::consumer::pull::Stream as Pull;
use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _};
use marketprism_schema::DEAD_LETTERS;
use tokio::time::{MissedTickBehavior, interval_at, sleep};

use super::batch::{AUDIT, Batch, Entry, Sorted};
use super::row::{AUDITS, FEED_AUDITS};
use crate::config::Stream;
use crate::context::CentralContext;
use crate::ingest::{acknowledge, subscribe};
use crate::ledger::store::insert;
use crate::ledger::touched::Touched;
use crate::row::{Column, Target};
use crate::storage::StorageError;
use crate::{clock, limits};

/// Names of the tables.
const TABLE: &str = "audits";
const FEEDS: &str = "feed_audits";
/// Part of the status that says whether audits are taken in.
pub const INTAKE: &str = "audits";

/// Takes audits in until it is dropped, which is safe at any moment: what is not acknowledged is delivered again and gives the same rows.
pub async fn take_in(shared: &Arc<CentralContext>, touched: &Touched) -> anyhow::Result<Infallible> {
    let stream = shared.config.streams.iter().find(|stream| stream.settings.name == AUDIT);
    let stream = stream.with_context(|| format!("stream {AUDIT} is not configured"))?;
    let mut backoff = limits::BACKOFF;
    loop {
        let reason = match start(shared, stream).await {
            Ok(mut messages) => {
                backoff.reset();
                shared.status.clear(INTAKE);
                pull(shared, stream, &mut messages, touched).await
            }
            Err(error) => format!("{error:#}"),
        };
        if shared.status.fail(INTAKE, reason.clone()) {
            tracing::warn!(reason, "not taking audits; trying again, nothing is lost");
        }
        sleep(backoff.pause()).await;
    }
}

async fn start(shared: &CentralContext, stream: &Stream) -> anyhow::Result<Pull> {
    subscribe(shared, stream).await?.messages(AUDIT).await
}

/// Takes messages until the pull breaks; gives the reason.
async fn pull(shared: &CentralContext, stream: &Stream, messages: &mut Pull, touched: &Touched) -> String {
    loop {
        let mut sorted = Sorted::default();
        let (mut count, mut bytes) = (0, 0);
        let mut next = messages.next().await;
        let broken = loop {
            match next {
                Some(Ok(message)) => {
                    count += 1;
                    bytes += message.payload.len();
                    sorted.add(message, clock::now_ns());
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
        store(shared, stream, sorted, touched).await;
        if let Some(reason) = broken {
            return reason;
        }
    }
}

/// Brings the messages at hand into their tables, however long that takes, and acknowledges them.
async fn store(shared: &CentralContext, stream: &Stream, mut sorted: Sorted, touched: &Touched) {
    let good = std::mem::take(&mut sorted.good);
    let held: Vec<_> = good.replies().into_iter().chain(sorted.bad.replies()).collect();
    let storing = async {
        let refused = store_audits(shared, good, touched).await;
        for (entry, reason) in refused {
            sorted.refuse(entry.message, entry.delivery, &reason);
        }
        store_dead_letters(shared, &sorted.bad).await;
    };
    tokio::pin!(storing);
    let every = shared.config.ack_wait / 3;
    let mut ticks = interval_at(tokio::time::Instant::now() + every, every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = &mut storing => return,
            _ = ticks.tick() => {
                tracing::debug!(stream = stream.settings.name, held = held.len(), "audits are still being stored");
                acknowledge(&shared.broker.client, held.iter(), AckKind::Progress).await;
            }
        }
    }
}

/// Stores audits; gives those whose rows ClickHouse refuses for their content.
async fn store_audits(shared: &CentralContext, batch: Batch, touched: &Touched) -> Vec<(Entry, String)> {
    let mut refused = Vec::new();
    let mut open = vec![batch];
    while let Some(batch) = open.pop() {
        if batch.entries.is_empty() {
            continue;
        }
        match store_batch(shared, &batch).await {
            Ok(()) => {
                touched.add(batch.entries.iter().filter_map(|entry| entry.window));
                shared.metrics.ledger.taken.inc_by(u64::try_from(batch.entries.len()).unwrap_or(u64::MAX));
                settle(shared, &batch, AckKind::Ack).await;
            }
            Err(error) => match <[Entry; 1]>::try_from(batch.entries) {
                Ok([entry]) => refused.push((entry, error)),
                Err(entries) => open.extend(entries.into_iter().map(|entry| Batch { entries: vec![entry] })),
            },
        }
    }
    refused
}

/// Feeds first: a window is judged with its streams, and then what explains it is there.
async fn store_batch(shared: &CentralContext, batch: &Batch) -> Result<(), String> {
    let feeds = batch.feeds();
    if !feeds.is_empty() {
        insert_held(shared, FEEDS, FEED_AUDITS, batch, feeds).await?;
    }
    insert_held(shared, TABLE, AUDITS, batch, batch.rows()).await
}

async fn store_dead_letters(shared: &CentralContext, batch: &Batch) {
    if batch.entries.is_empty() {
        return;
    }
    // A refused dead letter has nowhere to go: it is tried again like any other trouble, loudly.
    let (mut backoff, columns) = (limits::BACKOFF, Target::DeadLetters.columns());
    while let Err(error) = insert_held(shared, DEAD_LETTERS, &columns, batch, batch.rows()).await {
        tracing::error!(error, "clickhouse refuses dead letters; they stay with the broker");
        sleep(backoff.pause()).await;
    }
    shared
        .metrics
        .dead_letters
        .with_label_values(&["audit"])
        .inc_by(u64::try_from(batch.entries.len()).unwrap_or(u64::MAX));
    settle(shared, batch, AckKind::Term).await;
}

/// Inserts until ClickHouse takes the rows or refuses them for their content, with its words.
async fn insert_held(
    shared: &CentralContext,
    table: &str,
    columns: &[Column],
    batch: &Batch,
    rows: Bytes,
) -> Result<(), String> {
    let (mut backoff, token) = (limits::BACKOFF, batch.token(table, &rows));
    loop {
        let tried = insert(&shared.storage, table, columns, rows.clone(), &token).await;
        match tried {
            Ok(()) => {
                shared.status.clear(INTAKE);
                return Ok(());
            }
            Err(error) if error.is_content() => return Err(error.to_string()),
            Err(error) => hold(shared, &error, backoff.pause()).await,
        }
    }
}

async fn hold(shared: &CentralContext, error: &StorageError, pause: Duration) {
    if shared.status.fail(INTAKE, error.to_string()) {
        tracing::warn!(%error, "audits are held; trying again, nothing is lost");
    }
    sleep(pause).await;
}

async fn settle(shared: &CentralContext, batch: &Batch, kind: AckKind) {
    let replies = batch.replies();
    let failed = acknowledge(&shared.broker.client, replies.iter(), kind).await;
    shared.metrics.ack_failures.inc_by(u64::try_from(failed).unwrap_or(u64::MAX));
}
