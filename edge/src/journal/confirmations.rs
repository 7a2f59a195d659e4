//! Asks the broker for the state of its streams and central's confirmed sequences: what is in hot may leave the journal, what a stream or
//! hot has lost is sent again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use async_nats::{Client, Message, Request};
use marketprism_schema::{Carries, STREAMS, Watermark, confirmed_request_subject, stream_info_subject};
use marketprism_service::LogLimit;
use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::log::{Journal, StreamFacts};
use crate::broker::BrokerLink;
use crate::limits::{ACK_WAIT_MAX, CONFIRMED_ANSWER, CONFIRMED_EVERY};

#[derive(Deserialize)]
struct StreamInfo {
    created: Option<String>,
    config: Option<StreamConfig>,
    state: Option<StreamState>,
}

impl StreamInfo {
    fn message_bytes_max(&self) -> Option<usize> {
        usize::try_from(self.config.as_ref()?.max_msg_size?).ok()
    }
}

#[derive(Deserialize)]
struct StreamConfig {
    /// Below 0: of any size.
    max_msg_size: Option<i64>,
}

#[derive(Deserialize)]
struct StreamState {
    last_seq: u64,
}

/// Asks until `stop`.
pub async fn follow_confirmations(
    client: Client,
    link: Arc<BrokerLink>,
    journal: Arc<Journal>,
    stop: CancellationToken,
) {
    let mut tick = interval(CONFIRMED_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut lines, mut wait) = (LogLimit::default(), CONFIRMED_ANSWER);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = stop.cancelled() => return,
        }
        if !link.is_connected() {
            continue;
        }
        // Not before all of the journal has been read, of which the loss may be.
        if journal.is_recovered()
            && let Some(had_at) = link.take_loss()
        {
            journal.broker_went_back(had_at);
        }
        for (number, stream) in STREAMS.iter().enumerate().filter(|(_, one)| one.carries == Carries::Events) {
            let asked = tokio::select! {
                asked = ask((&client, &link), &journal, (number, stream.name), wait) => asked,
                () = stop.cancelled() => return,
            };
            // Over a slow link the answers wait behind the events.
            wait = match &asked {
                Ok(_) => wait / 4 * 3,
                Err(_) => wait * 2,
            };
            wait = wait.clamp(CONFIRMED_ANSWER, ACK_WAIT_MAX);
            match asked {
                Ok(Some(facts)) => {
                    journal.observe(facts);
                }
                Ok(None) => {}
                Err(error) => {
                    if let Some(held_back) = lines.allow(Instant::now()) {
                        let (error, stream) = (format!("{error:#}"), stream.name);
                        tracing::warn!(
                            error,
                            stream,
                            held_back,
                            "confirmed sequence not read: the journal is not freed"
                        );
                    }
                }
            }
        }
    }
}

/// `None`: there is no such stream, or the journal is still being read.
async fn ask(
    broker: (&Client, &BrokerLink),
    journal: &Journal,
    (stream, name): (usize, &'static str),
    wait: Duration,
) -> anyhow::Result<Option<StreamFacts>> {
    let Some(stored_before) = journal.stored_max(stream) else { return Ok(None) };
    let Some(info) = request(broker, stream_info_subject(name), wait).await? else { return Ok(None) };
    let info: StreamInfo = serde_json::from_slice(&info.payload).context("state of a stream")?;
    let message_bytes_max = info.message_bytes_max();
    // An error in the answer: no such stream.
    let (Some(created), Some(state)) = (info.created, info.state) else { return Ok(None) };
    broker.1.note_message_size(name, message_bytes_max);
    let created =
        OffsetDateTime::parse(&created, &Rfc3339).with_context(|| format!("creation time {created:?}"))?;
    let created_ns = i64::try_from(created.unix_timestamp_nanos())?;
    let key = confirmed_request_subject(name);
    let newest = request(broker, key.clone(), wait).await?;
    // Neither a missing nor a deleted key has a value.
    let read = |message: &Message| serde_json::from_slice::<Watermark>(&message.payload).ok();
    if stored_before > 0 {
        // A bucket that nobody answers for at the moment says nothing of what central confirmed before.
        let is_confirmed =
            journal.has_confirmed(stream) || newest.as_ref().is_some_and(|one| read(one).is_some());
        broker.1.note_confirmed(name, is_confirmed);
    }
    // An older one would be taken for a hot that was put back.
    let confirmed = newest.filter(|value| broker.1.is_newest(&key, Some(value))).and_then(|message| {
        let value = read(&message)?;
        (value.stream_created_ns == created_ns).then_some(value.confirmed_seq)
    });
    Ok(Some(StreamFacts { stream, created_ns, last_sequence: state.last_seq, stored_before, confirmed }))
}

/// `None`: nobody answers on this subject.
async fn request(
    (client, link): (&Client, &BrokerLink),
    subject: String,
    wait: Duration,
) -> anyhow::Result<Option<Message>> {
    use async_nats::client::RequestErrorKind;
    let subject = link.jetstream_subject(subject);
    // On an inbox of its own: the client would keep a request without an answer for ever.
    let request = Request::new().inbox(client.new_inbox()).timeout(None);
    match timeout(wait, client.send_request(subject.clone(), request)).await {
        Ok(Ok(message)) => Ok(Some(message)),
        Ok(Err(error)) if error.kind() == RequestErrorKind::NoResponders => Ok(None),
        Ok(Err(error)) => Err(error).context(subject),
        Err(_elapsed) => bail!("{subject}: no answer within {wait:?}"),
    }
}
