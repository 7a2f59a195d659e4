//! Answers of central's requests for the edge's status, with its heartbeat.

use std::sync::Arc;

use anyhow::Context as _;
use async_nats::Client;
use futures_util::StreamExt as _;
use marketprism_schema::{EDGE_STATUS_SUBJECT, EdgeRunState};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::heartbeat::heartbeat;
use super::state::EdgeState;
use crate::limits::REPAIR_ANSWER;

/// Answers one request after the other until `stop`. Those beyond the client's bounded buffer are dropped; the requester repeats.
pub async fn answer_status(client: Client, state: Arc<EdgeState>, stop: CancellationToken) {
    tokio::select! {
        answered = answer_all(&client, &state) => {
            if let Err(error) = answered {
                tracing::error!(error = format!("{error:#}"), "requests for the status of this edge are no longer answered");
            }
        }
        () = stop.cancelled() => {}
    }
}

async fn answer_all(client: &Client, state: &EdgeState) -> anyhow::Result<()> {
    let mut requests = client.subscribe(EDGE_STATUS_SUBJECT).await.context("cannot subscribe")?;
    while let Some(request) = requests.next().await {
        let Some(reply) = request.reply else { continue };
        let answer = heartbeat(state, EdgeRunState::Running).encode().context("answer cannot be encoded")?;
        match timeout(REPAIR_ANSWER, client.publish(reply, answer.into())).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "status of this edge not sent"),
            Err(_elapsed) => tracing::warn!(limit = ?REPAIR_ANSWER, "status of this edge not sent in time"),
        }
    }
    anyhow::bail!("the subscription ended")
}
