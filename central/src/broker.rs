//! The connection to NATS.

use anyhow::{Context as _, bail};
use async_nats::connection::State;
use async_nats::jetstream::context::ContextBuilder;
use async_nats::{Client, jetstream};
use marketprism_config::Nats;
use tokio::time::{Instant, sleep};

use crate::limits;

/// A connection that reconnects by itself, and its JetStream.
#[derive(Debug, Clone)]
pub struct Broker {
    pub client: Client,
    /// With a timeout on every request.
    pub jetstream: jetstream::Context,
}

impl Broker {
    /// Starts to connect; returns before the connection is established.
    pub async fn start(nats: &Nats) -> anyhow::Result<Self> {
        let client = nats
            .options("marketprism-central")
            .await?
            .connect(nats.urls.clone())
            .await
            .with_context(|| format!("cannot connect to nats at {}", nats.shown_urls()))?;
        let jetstream = ContextBuilder::new().timeout(limits::BROKER_TIMEOUT).build(client.clone());
        Ok(Self { client, jetstream })
    }

    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// Waits for the connection, at most `BROKER_CONNECT_WAIT`.
    pub async fn connected(&self, nats: &Nats) -> anyhow::Result<()> {
        let deadline = Instant::now() + limits::BROKER_CONNECT_WAIT;
        while !self.is_connected() {
            if Instant::now() >= deadline {
                let wait = limits::BROKER_CONNECT_WAIT.as_secs();
                bail!("no nats server at {} accepted a connection within {wait} s", nats.shown_urls());
            }
            sleep(limits::BACKOFF_FIRST / 4).await;
        }
        Ok(())
    }
}
