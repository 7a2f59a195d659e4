//! The connection to the broker and whether it stands.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use async_nats::{Client, Event};
use marketprism_config::Nats;
use tokio::sync::Notify;

use crate::limits::ACKNOWLEDGEMENTS_MAX;
use crate::telemetry::LogLimit;

const CLOSED_IN_HANDSHAKE: &str = "nats: IO error";

/// Whether the broker is connected. Updated by the client's events.
#[derive(Debug, Default)]
pub struct BrokerLink {
    connected: AtomicBool,
    connects: AtomicU64,
    changed: Notify,
    /// The end of the connection is ours.
    ending: AtomicBool,
    troubles: Mutex<LogLimit>,
}

impl BrokerLink {
    /// Whether the connection stands.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Acquire)
    }

    /// Connections made since the start.
    #[must_use]
    pub fn connects(&self) -> u64 {
        self.connects.load(Ordering::Acquire)
    }

    /// Waits for the next change.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// From here on, the end of the connection is expected.
    pub(crate) fn end(&self) {
        self.ending.store(true, Ordering::Release);
    }

    fn trouble(&self, error: &str) {
        let allowed = self.troubles.lock().unwrap_or_else(PoisonError::into_inner).allow(Instant::now());
        let Some(held_back) = allowed else { return };
        // The client keeps only this of a connection that the server closes in the middle of the handshake.
        if error == CLOSED_IN_HANDSHAKE {
            tracing::warn!(
                error,
                held_back,
                "cannot connect to nats: the server closed the connection; does it demand a client certificate?"
            );
        } else {
            tracing::warn!(error, held_back, "nats client");
        }
    }

    fn note(&self, event: &Event) {
        match event {
            Event::Connected => {
                tracing::info!("connected to nats");
                self.connects.fetch_add(1, Ordering::AcqRel);
                self.connected.store(true, Ordering::Release);
                self.changed.notify_one();
            }
            Event::Disconnected | Event::Closed => {
                let was_connected = self.connected.swap(false, Ordering::AcqRel);
                if was_connected && !self.ending.load(Ordering::Acquire) {
                    tracing::warn!("the connection to nats is gone, events wait in the queue");
                }
                self.changed.notify_one();
            }
            Event::ServerError(error) => tracing::error!(%error, "nats refuses"),
            Event::ClientError(error) => self.trouble(&error.to_string()),
            Event::SlowConsumer(_) => {
                tracing::warn!("acknowledgements overflowed: messages will be sent again")
            }
            Event::LameDuckMode | Event::Draining => tracing::info!(%event, "nats"),
        }
    }
}

/// Starts connecting and returns at once; the client keeps trying for ever.
pub async fn connect(nats: &Nats, name: &str) -> anyhow::Result<(Client, Arc<BrokerLink>)> {
    let link = Arc::new(BrokerLink::default());
    let noted = Arc::clone(&link);
    let options = nats
        .options(name)
        .await?
        .subscription_capacity(ACKNOWLEDGEMENTS_MAX)
        .skip_subject_validation(true)
        .event_callback(move |event| {
            noted.note(&event);
            std::future::ready(())
        });
    let client = options.connect(nats.urls.clone()).await?;
    Ok((client, link))
}
