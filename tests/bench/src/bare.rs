//! A bare publisher and a bare consumer: async-nats with the same payload, headers and bounds. The references for edge and central; the
//! publisher also fills the streams.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use async_nats::HeaderMap;
use async_nats::jetstream::AckKind;
use async_nats::jetstream::consumer::{AckPolicy, pull};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use marketprism_schema::WireForm;

use crate::sample::Sample;

/// Acknowledgements in flight: the edge's default.
pub const WINDOW: usize = 4096;

/// Publishes events numbered from `first`; returns the time from the first publish to the last acknowledgement.
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

/// Consumes and acknowledges messages of a stream without decoding; returns the total time.
pub async fn take(url: &str, sample: Sample, events: u64) -> Result<Duration> {
    let ahead = sample.asked_for_ahead();
    let client = async_nats::connect(url).await?;
    let stream = async_nats::jetstream::new(client.clone()).get_stream(sample.stream()).await?;
    let config = pull::Config {
        durable_name: Some("bench-bare".to_owned()),
        ack_policy: AckPolicy::Explicit,
        max_ack_pending: 100_000,
        ..pull::Config::default()
    };
    let consumer = stream.create_consumer(config).await?;
    let started = Instant::now();
    let mut messages = consumer.stream().max_messages_per_batch(ahead).messages().await?;
    let mut replies = Vec::with_capacity(ahead);
    for taken in 1..=events {
        let message = messages.next().await.context("the pull ended")??;
        replies.extend(message.message.reply);
        if replies.len() == ahead || taken == events {
            for reply in replies.drain(..) {
                client.publish(reply, AckKind::Ack.into()).await?;
            }
        }
    }
    client.flush().await?;
    let time = started.elapsed();
    stream.delete_consumer("bench-bare").await?;
    Ok(time)
}
