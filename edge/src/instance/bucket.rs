//! Requests for the keys of this edge in the bucket of the edges.

use anyhow::{Context as _, bail};
use async_nats::client::RequestErrorKind;
use async_nats::{Client, Message, Request};
use serde::Deserialize;
use tokio::time::timeout;

use crate::broker::BrokerLink;
use crate::limits::NAME_LEASE_ANSWER;

/// JetStream's error code of another sequence than the expected one.
const WRONG_LAST_SEQUENCE: u32 = 10_071;

#[derive(Deserialize)]
struct WriteReply {
    #[serde(default)]
    error: Option<WriteError>,
}

#[derive(Deserialize)]
struct WriteError {
    #[serde(default)]
    err_code: u32,
    #[serde(default)]
    description: String,
}

/// False: the newest message is another one than the request expects.
pub(super) async fn write(
    client: &Client,
    link: &BrokerLink,
    subject: String,
    request: Request,
) -> anyhow::Result<bool> {
    let message = self::request(client, link, subject, request).await?;
    let reply: WriteReply = serde_json::from_slice(&message.payload).context("reply to a write")?;
    match reply.error {
        None => Ok(true),
        Some(error) if error.err_code == WRONG_LAST_SEQUENCE => Ok(false),
        Some(error) => bail!("{} ({})", error.description, error.err_code),
    }
}

pub(super) async fn request(
    client: &Client,
    link: &BrokerLink,
    subject: String,
    request: Request,
) -> anyhow::Result<Message> {
    let subject = link.jetstream_subject(subject);
    // On an inbox of its own: the client would keep a request without an answer for ever.
    let request = request.inbox(client.new_inbox()).timeout(Some(NAME_LEASE_ANSWER));
    match timeout(NAME_LEASE_ANSWER * 2, client.send_request(subject.clone(), request)).await {
        Ok(Ok(message)) => Ok(message),
        Ok(Err(error)) if error.kind() == RequestErrorKind::NoResponders => {
            bail!("{subject}: {}", link.no_bucket())
        }
        Ok(Err(error)) => Err(error).context(subject),
        Err(_elapsed) => bail!("{subject}: no answer"),
    }
}
