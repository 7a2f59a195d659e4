//! Publishes the events of a correction, several at once, and then the message that closes it. Each is repeated until the broker has it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use async_nats::header::NATS_MESSAGE_ID;
use async_nats::{Client, HeaderMap, HeaderValue};
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use marketprism_config::Nats;
use marketprism_schema::{
    CORRECTION_HEADER, Correction, CorrectionMark, EventId, STREAMS, correction_subject, edge_connection,
};
use marketprism_service::{Backoff, clock};
use tokio::sync::mpsc::Receiver;
use tokio::time::{sleep, timeout};

use super::comparison::CorrectedRecord;
use crate::broker::{BrokerLink, PublishReply, StreamMessage, connect};
use crate::limits::{ACK_WAIT_MAX, AUDIT_ACK, AUDIT_BACKOFF};

/// Messages without an acknowledgement. Full: the comparison waits.
const IN_FLIGHT: usize = 256;
/// Time for the broker to connect, and to store a message of a correction. Passed: the command ends with an error, and can be repeated.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) struct CorrectionPublisher {
    client: Client,
    link: Arc<BrokerLink>,
    correction: EventId,
}

impl CorrectionPublisher {
    /// With the connection name of the edge, whose permissions it needs.
    pub(super) async fn connect(nats: &Nats, edge: &str, correction: EventId) -> anyhow::Result<Self> {
        let (client, link) = connect(nats, &edge_connection(edge)).await?;
        let began = Instant::now();
        while !link.is_connected() {
            if began.elapsed() >= PATIENCE {
                let problem = link.problem().unwrap_or_else(|| "no answer".to_owned());
                bail!("nats {}: {problem} within {PATIENCE:?}", nats.shown_urls());
            }
            let _ = timeout(AUDIT_BACKOFF.0, link.changed()).await;
        }
        Ok(Self { client, link, correction })
    }

    /// Publishes all that comes. Ends with the first event that the broker does not take.
    pub(super) async fn publish(&self, mut records: Receiver<CorrectedRecord>) -> anyhow::Result<()> {
        let mut in_flight = FuturesUnordered::new();
        loop {
            tokio::select! {
                record = records.recv(), if in_flight.len() < IN_FLIGHT => match record {
                    Some(record) => in_flight.push(self.publish_event(record)),
                    None => break,
                },
                Some(published) = in_flight.next(), if !in_flight.is_empty() => published?,
            }
        }
        while let Some(published) = in_flight.next().await {
            published?;
        }
        Ok(())
    }

    pub(super) async fn close(&self, closing: &Correction) -> anyhow::Result<()> {
        let mut headers = HeaderMap::new();
        headers.insert(NATS_MESSAGE_ID, HeaderValue::from(closing.message_id(clock::now_ns())));
        self.send(correction_subject(&closing.edge, &closing.exchange), headers, closing.encode()?.into())
            .await
    }

    async fn publish_event(&self, record: CorrectedRecord) -> anyhow::Result<()> {
        let CorrectedRecord { kind, subject, event_id, was_at_us, received_at_ns, payload } = record;
        let mark = CorrectionMark { correction: self.correction, kind, was_at_us };
        let mut headers = HeaderMap::new();
        headers.insert(NATS_MESSAGE_ID, HeaderValue::from(mark.message_id(event_id, received_at_ns)));
        headers.insert(CORRECTION_HEADER, HeaderValue::from(mark.to_string()));
        self.send(subject.to_string(), headers, payload).await
    }

    async fn send(&self, subject: String, headers: HeaderMap, payload: Bytes) -> anyhow::Result<()> {
        let (began, mut backoff) = (Instant::now(), Backoff::new(AUDIT_BACKOFF.0, AUDIT_BACKOFF.1));
        let (stream, mut wait) = (stream_of_subject(&subject), AUDIT_ACK);
        loop {
            let (headers, payload) = (headers.clone(), payload.clone());
            let message = StreamMessage { stream, subject: subject.clone(), headers, payload };
            let problem = match self.link.publish(&self.client, message, wait).await {
                PublishReply::Stored { .. } => return Ok(()),
                PublishReply::Rejected { text } => bail!("{subject}: the broker refuses an event: {text}"),
                PublishReply::Foreign { text } | PublishReply::Refused { text } => text,
                PublishReply::NoStream => "no stream has this subject".into(),
            };
            if began.elapsed() >= PATIENCE {
                return Err(anyhow::anyhow!("{problem}")).with_context(|| {
                    format!("{subject}: not stored within {PATIENCE:?}; run the command again: it goes on")
                });
            }
            wait = wait.saturating_mul(2).min(ACK_WAIT_MAX);
            sleep(backoff.pause()).await;
        }
    }
}

/// Stream of a subject; empty for one that is in none.
fn stream_of_subject(subject: &str) -> &'static str {
    let has = |of: &&str| subject.starts_with(of.trim_end_matches('>'));
    STREAMS.iter().find(|stream| stream.subjects.iter().any(&has)).map_or("", |stream| stream.name)
}
