//! Answers requests to send events again. Published events are not kept, so every answer is `not_kept`.

use std::time::Duration;

use anyhow::Context;
use async_nats::Client;
use futures_util::StreamExt;
use marketprism_schema::{REPAIR_VERSION, RepairAnswer, RepairRequest, RepairState, repair_subject};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::limits::REPAIR_ANSWER;

const NOT_KEPT: &str =
    "this edge keeps no journal on disk: events that the broker has confirmed are not kept";

/// Answers requests one by one until `stop`. Requests beyond the client's bounded buffer are dropped; the requester times out and
/// repeats.
pub async fn answer_requests(client: Client, edge: String, stop: CancellationToken) -> anyhow::Result<()> {
    let subject = repair_subject(&edge);
    let mut requests =
        client.subscribe(subject.clone()).await.with_context(|| format!("subject {subject}"))?;
    loop {
        let request = tokio::select! {
            request = requests.next() => request,
            () = stop.cancelled() => return Ok(()),
        };
        let Some(request) = request else { anyhow::bail!("subscription {subject} ended") };
        let Some(reply) = request.reply else { continue };
        let answer = answer(&request.payload).encode().context("answer cannot be encoded")?;
        send(&client, reply, answer, REPAIR_ANSWER).await;
    }
}

async fn send(client: &Client, reply: async_nats::Subject, answer: Vec<u8>, limit: Duration) {
    match timeout(limit, client.publish(reply, answer.into())).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "answer to a repair request not sent"),
        Err(_elapsed) => tracing::warn!(?limit, "answer to a repair request not sent in time"),
    }
}

fn answer(request: &[u8]) -> RepairAnswer {
    let (request_id, state, reason) = match RepairRequest::decode(request) {
        Ok(request) => (request.request_id, RepairState::NotKept, NOT_KEPT.to_owned()),
        Err(error) => (String::new(), RepairState::Refused, error.to_string()),
    };
    RepairAnswer { version: REPAIR_VERSION, request_id, state, resent: 0, reason }
}
