//! A bare publisher: async-nats with the same payload, headers and window, and nothing else. It is what the edge is compared with,
//! and it fills streams for the ingest.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use async_nats::HeaderMap;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use marketprism_schema::WireForm;

use crate::sample::Sample;

/// Acknowledgements in flight: the edge's default.
pub const WINDOW: usize = 4096;

/// Publishes events numbered from `first` on; gives the time from the first publish to the last acknowledgement.
pub async fn publish(url: &str, sample: Sample, form: WireForm, first: u64, events: u64) -> Result<Duration> {
    let client = async_nats::connect(url).await?;
    let context = async_nats::jetstream::ContextBuilder::new()
        .timeout(Duration::from_secs(30))
        .ack_timeout(Duration::from_secs(30))
        .max_ack_inflight(WINDOW)
        .backpressure_on_inflight(true)
        .build(client);
    let subject = sample.subject()?;
    let mut acks = FuturesUnordered::new();
    let started = Instant::now();
    for number in first..first + events {
        let event = sample.event(number);
        let mut payload = Vec::with_capacity(512);
        form.encode(&event, &mut payload);
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", event.header.event_id.to_string());
        headers.insert("Content-Type", form.content_type());
        acks.push(
            context.publish_with_headers(subject.clone(), headers, payload.into()).await?.into_future(),
        );
        while acks.len() >= WINDOW {
            acks.next().await.context("no acknowledgement in flight")??;
        }
    }
    while let Some(ack) = acks.next().await {
        ack?;
    }
    Ok(started.elapsed())
}
