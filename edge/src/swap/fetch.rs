//! Requests to the broker for wanted versions and components. An edge may create no consumer there: each answer is one message.

use anyhow::{Context, anyhow, bail, ensure};
use async_nats::client::RequestErrorKind;
use async_nats::{Client, Message, Request};
use bytes::Bytes;
use marketprism_schema::{
    ADAPTER_OBJECTS_BUCKET, WANTED_ADAPTERS_BUCKET, WantedAdapter, adapter_chunk_request_subject,
    adapter_chunk_subject, adapter_info_request_subject, adapter_object_name, component_digest,
    wanted_adapter_request_subject,
};
use serde::Deserialize;
use serde_json::json;
use tokio::time::timeout;

use crate::broker::{BrokerLink, OLDER_REVISIONS_FOR};
use crate::limits::{COMPONENT_BYTES_MAX, COMPONENT_FETCH, CONFIRMED_ANSWER};

const NOT_FOUND: u16 = 404;
const SEQUENCE: &str = "Nats-Sequence";
const OPERATION: &str = "KV-Operation";

/// Part of an object's description in the Object Store.
#[derive(Deserialize)]
struct ObjectInfo {
    nuid: String,
    size: u64,
    chunks: u64,
    #[serde(default)]
    deleted: bool,
}

/// `None`: central wants nothing of this adapter. The outer error: the broker did not answer; the inner one: what it has is not readable.
pub(super) async fn read_wanted(
    broker: (&Client, &BrokerLink),
    adapter: &str,
) -> anyhow::Result<anyhow::Result<Option<WantedAdapter>>> {
    let subject = wanted_adapter_request_subject(adapter);
    let answer = request(broker, subject.clone(), Bytes::new(), WANTED_ADAPTERS_BUCKET).await?;
    // An earlier wish, or none, would undo the newest one.
    if !broker.1.is_newest(&subject, answer.as_ref()) {
        return Ok(Err(anyhow!(
            "bucket {WANTED_ADAPTERS_BUCKET}, key {adapter}: the answer is older than one before: a replica lags, or the broker was put back; \
             it is taken if no newer one comes for {OLDER_REVISIONS_FOR:?}"
        )));
    }
    let Some(message) = answer else { return Ok(Ok(None)) };
    let is_deleted = message.headers.as_ref().is_some_and(|headers| headers.get(OPERATION).is_some());
    if is_deleted {
        return Ok(Ok(None));
    }
    let wanted = serde_json::from_slice(&message.payload);
    let place = || format!("bucket {WANTED_ADAPTERS_BUCKET}, key {adapter}: no wanted versions");
    Ok(wanted.with_context(place).map(Some))
}

/// The component with this digest, within [`COMPONENT_FETCH`].
pub(super) async fn fetch_component(
    broker: (&Client, &BrokerLink),
    adapter: &str,
    digest: &str,
) -> anyhow::Result<Bytes> {
    let name = adapter_object_name(adapter, digest);
    let fetched = timeout(COMPONENT_FETCH, fetch(broker, &name, digest)).await;
    let fetched = fetched.unwrap_or_else(|_elapsed| bail!("not complete within {COMPONENT_FETCH:?}"));
    fetched.with_context(|| format!("object {name} of bucket {ADAPTER_OBJECTS_BUCKET}"))
}

async fn fetch(broker: (&Client, &BrokerLink), name: &str, digest: &str) -> anyhow::Result<Bytes> {
    let subject = adapter_info_request_subject(name);
    let info = request(broker, subject, Bytes::new(), ADAPTER_OBJECTS_BUCKET).await?;
    let info: ObjectInfo =
        serde_json::from_slice(&info.context("is not there")?.payload).context("description")?;
    ensure!(!info.deleted, "was deleted");
    let ObjectInfo { nuid, size, chunks, .. } = info;
    ensure!(size <= COMPONENT_BYTES_MAX, "has {size} bytes (allowed: {COMPONENT_BYTES_MAX})");
    let mut component = Vec::with_capacity(usize::try_from(size)?);
    let mut after = 0_u64;
    for number in 1..=chunks {
        let wanted = json!({ "seq": after + 1, "next_by_subj": adapter_chunk_subject(&nuid) });
        let wanted = serde_json::to_vec(&wanted)?.into();
        let chunk = request(broker, adapter_chunk_request_subject(), wanted, ADAPTER_OBJECTS_BUCKET).await?;
        let chunk = chunk.with_context(|| format!("piece {number} of {chunks} is not there"))?;
        let sequence = chunk.headers.as_ref().and_then(|headers| headers.get(SEQUENCE));
        after = sequence.context("piece without a sequence")?.as_str().parse()?;
        component.extend_from_slice(&chunk.payload);
        let found = u64::try_from(component.len())?;
        ensure!(found <= size, "has more bytes than the {size} of its description");
    }
    let found = component_digest(&component);
    ensure!(found == digest, "has digest {found}, and {} of {size} bytes", component.len());
    Ok(component.into())
}

/// `None`: no such message in the bucket.
async fn request(
    (client, link): (&Client, &BrokerLink),
    subject: String,
    payload: Bytes,
    bucket: &str,
) -> anyhow::Result<Option<Message>> {
    let subject = link.jetstream_subject(subject);
    // On an inbox of its own: the client would keep a request without an answer for ever.
    let request = Request::new().payload(payload).inbox(client.new_inbox()).timeout(None);
    let message = match timeout(CONFIRMED_ANSWER, client.send_request(subject, request)).await {
        Ok(Ok(message)) => message,
        Ok(Err(error)) if error.kind() == RequestErrorKind::NoResponders => {
            bail!("bucket {bucket}: {}", link.no_bucket())
        }
        Ok(Err(error)) => return Err(error).with_context(|| format!("bucket {bucket}")),
        Err(_elapsed) => bail!(
            "bucket {bucket}: no answer within {CONFIRMED_ANSWER:?}; the broker is busy, or this user may not read it"
        ),
    };
    match message.status.map(|status| status.as_u16()) {
        Some(NOT_FOUND) => Ok(None),
        Some(status) if status >= 300 => bail!("bucket {bucket}: the broker answered with status {status}"),
        _ => Ok(Some(message)),
    }
}

#[cfg(test)]
mod tests {
    use async_nats::jetstream::{self, stream};
    use marketprism_config::Nats;
    use marketprism_tests::broker::Broker;

    use super::*;

    /// After the newest message of the key is deleted, the bucket answers as a replica that does not have it yet.
    #[tokio::test]
    async fn the_wish_of_a_replica_that_lags_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let broker = Broker::start(folder.path()).await;
        let client = async_nats::connect(broker.url()).await.unwrap();
        let context = jetstream::new(client.clone());
        let config = stream::Config {
            name: format!("KV_{WANTED_ADAPTERS_BUCKET}"),
            subjects: vec![format!("$KV.{WANTED_ADAPTERS_BUCKET}.>")],
            max_messages_per_subject: 5,
            allow_direct: true,
            ..Default::default()
        };
        let bucket = context.create_stream(config).await.unwrap();
        let link = BrokerLink::new(&Nats::default(), "test");
        let put = async || {
            let wanted = serde_json::to_vec(&WantedAdapter::default()).unwrap();
            let subject = format!("$KV.{WANTED_ADAPTERS_BUCKET}.sim");
            context.publish(subject, wanted.into()).await.unwrap().await.unwrap().sequence
        };
        let read =
            async || read_wanted((&client, &link), "sim").await.unwrap().map(|wanted| wanted.is_some());
        let is_older = async || {
            let error = read().await.unwrap_err().to_string();
            assert!(error.contains("a replica lags, or the broker was put back"), "{error}");
        };
        assert!(!read().await.unwrap(), "nothing is wanted yet");
        put().await;
        let newest = put().await;
        assert!(read().await.unwrap());
        bucket.delete_message(newest).await.unwrap();
        is_older().await;
        bucket.purge().await.unwrap();
        is_older().await;
        put().await;
        assert!(read().await.unwrap(), "a later wish counts");
    }
}
