//! Writes the edge's heartbeat to its key, so that central knows the edge and notices its silence.
//!
//! It holds nothing up: one that is not written is replaced by the next. A process that may not publish writes none.

use std::sync::Arc;

use async_nats::{Client, Request};
use marketprism_schema::{EdgeRunState, edge_heartbeat_subject};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::bucket::write;
use crate::http::{EdgeState, heartbeat};
use crate::limits::{HEARTBEAT_EVERY, HEARTBEAT_LOOK};

pub struct HeartbeatWriter {
    client: Client,
    state: Arc<EdgeState>,
}

impl HeartbeatWriter {
    pub const fn new(client: Client, state: Arc<EdgeState>) -> Self {
        Self { client, state }
    }

    /// Writes until `stop`.
    pub async fn run(&self, stop: &CancellationToken) {
        let mut is_reported = false;
        while !stop.is_cancelled() {
            let pause = if self.state.link.may_publish() {
                match self.write(EdgeRunState::Running).await {
                    Ok(()) => is_reported = false,
                    Err(error) => {
                        let error = format!("{error:#}");
                        if !std::mem::replace(&mut is_reported, true) {
                            tracing::warn!(error, "heartbeat not written: central may call this edge silent");
                        }
                    }
                }
                HEARTBEAT_EVERY
            } else {
                HEARTBEAT_LOOK
            };
            tokio::select! {
                () = sleep(pause) => {}
                () = self.state.swaps.followed_changed() => {}
                () = stop.cancelled() => {}
            }
        }
    }

    /// Tells that the edge was stopped on purpose: its silence is none.
    pub async fn write_last(&self) {
        if !self.state.link.may_publish() {
            return;
        }
        if let Err(error) = self.write(EdgeRunState::Stopped).await {
            let error = format!("{error:#}");
            tracing::warn!(error, "last heartbeat not written: central will call this edge silent");
        }
    }

    async fn write(&self, life: EdgeRunState) -> anyhow::Result<()> {
        let beat = heartbeat(&self.state, life).encode()?;
        let subject = edge_heartbeat_subject(&self.state.context.name);
        write(&self.client, &self.state.link, subject, Request::new().payload(beat.into())).await.map(drop)
    }
}
