//! Answers requests to send events again. What was published is not kept on disk, so that none can be sent again; the answer says so.

use std::time::Duration;

use anyhow::Context;
use async_nats::Client;
use futures_util::StreamExt;
use marketprism_schema::{REPAIR_VERSION, RepairAnswer, RepairRequest, RepairState, repair_subject};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::limits::REPAIR_ANSWER;

const NOT_KEPT: &str = "this edge keeps no journal on disk: what the broker has confirmed is not kept";

/// Answers requests for an edge until `stop`. One after the other; those that wait stand in the client's bounded queue, whose overflow is
/// dropped: whoever asked sees no answer in time, and asks again.
pub async fn answer_requests(client: Client, edge: String, stop: CancellationToken) -> anyhow::Result<()> {
    let subject = repair_subject(&edge);
    let mut requests =
        client.subscribe(subject.clone()).await.with_context(|| format!("subject {subject}"))?;
    loop {
        let request = tokio::select! {
            request = requests.next() => request,
            () = stop.cancelled() => return Ok(()),
        };
        let Some(request) = request else { anyhow::bail!("the subscription of {subject} ended") };
        let Some(reply) = request.reply else { continue };
        let answer = answer(&request.payload).encode().context("an answer cannot be written")?;
        send(&client, reply, answer, REPAIR_ANSWER).await;
    }
}

async fn send(client: &Client, reply: async_nats::Subject, answer: Vec<u8>, patience: Duration) {
    match timeout(patience, client.publish(reply, answer.into())).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "an answer to a repair request was not sent"),
        Err(_elapsed) => tracing::warn!("an answer to a repair request was not sent in time"),
    }
}

fn answer(request: &[u8]) -> RepairAnswer {
    let (request_id, state, reason) = match RepairRequest::decode(request) {
        Ok(request) => (request.request_id, RepairState::NotKept, NOT_KEPT.to_owned()),
        Err(error) => (String::new(), RepairState::Refused, error.to_string()),
    };
    RepairAnswer { version: REPAIR_VERSION, request_id, state, resent: 0, reason }
}
