//! Answers of central's requests for the edge's status, with the content of `/health`.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use async_nats::Client;
use futures_util::StreamExt as _;
use marketprism_schema::{EDGE_STATUS_SUBJECT, EDGE_STATUS_VERSION, EdgeDisk, EdgeStatus};
use marketprism_service::DiskSpace;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::pages::{Health, health_state};
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
        let answer = edge_status(state).encode().context("answer cannot be encoded")?;
        match timeout(REPAIR_ANSWER, client.publish(reply, answer.into())).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "status of this edge not sent"),
            Err(_elapsed) => tracing::warn!(limit = ?REPAIR_ANSWER, "status of this edge not sent in time"),
        }
    }
    anyhow::bail!("the subscription ended")
}

fn edge_status(state: &EdgeState) -> EdgeStatus {
    let Health { word, mut reasons, degraded, .. } = health_state(state);
    reasons.extend(degraded);
    EdgeStatus {
        version: EDGE_STATUS_VERSION,
        edge: state.context.name.clone(),
        region: state.context.region.clone(),
        program_version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_seconds: state.started.elapsed().as_secs(),
        status: word.to_owned(),
        reasons,
        data_dir: state.context.data_dir.display().to_string(),
        disk: edge_disk(&state.context.data_dir),
    }
}

pub(super) fn edge_disk(data_dir: &Path) -> Option<EdgeDisk> {
    let DiskSpace { free_bytes, total_bytes } = DiskSpace::of(data_dir).ok()?;
    Some(EdgeDisk { free_bytes, total_bytes })
}
