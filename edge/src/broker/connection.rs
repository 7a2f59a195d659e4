//! The connection to the broker. The client reconnects by itself, without end.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use async_nats::{Client, Event};
use marketprism_config::Nats;
use marketprism_service::LogLimit;
use tokio::sync::Notify;

use crate::limits::ACKNOWLEDGEMENTS_MAX;

const CLOSED_IN_HANDSHAKE: &str = "nats: IO error";

/// State of the connection, updated by the client's events.
#[derive(Debug, Default)]
pub struct BrokerLink {
    connected: AtomicBool,
    connects: AtomicU64,
    changed: Notify,
    /// The edge closes the connection.
    ending: AtomicBool,
    error_lines: Mutex<LogLimit>,
}

impl BrokerLink {
    pub fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Acquire)
    }

    pub fn connects(&self) -> u64 {
        self.connects.load(Ordering::Acquire)
    }

    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// From now on a closed connection is not logged as a problem.
    pub(crate) fn end(&self) {
        self.ending.store(true, Ordering::Release);
    }

    fn client_error(&self, error: &str) {
        let allowed = self.error_lines.lock().unwrap_or_else(PoisonError::into_inner).allow(Instant::now());
        let Some(held_back) = allowed else { return };
        // All that the client reports of a connection that the server closes during the handshake.
        if error == CLOSED_IN_HANDSHAKE {
            tracing::warn!(
                error,
                held_back,
                "cannot connect to nats: the server closed the connection; does it require a client certificate?"
            );
        } else {
            tracing::warn!(error, held_back, "error of the nats client");
        }
    }

    fn update(&self, event: &Event) {
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
                    tracing::warn!("connection to nats lost, events wait in the queue");
                }
                self.changed.notify_one();
            }
            Event::ServerError(error) => tracing::error!(%error, "nats reports an error"),
            Event::ClientError(error) => self.client_error(&error.to_string()),
            Event::SlowConsumer(_) => {
                tracing::warn!("acknowledgements were dropped: their messages will be published again")
            }
            Event::LameDuckMode | Event::Draining => tracing::info!(%event, "nats"),
        }
    }
}

pub async fn connect(nats: &Nats, name: &str) -> anyhow::Result<(Client, Arc<BrokerLink>)> {
    let link = Arc::new(BrokerLink::default());
    let updated = Arc::clone(&link);
    let options = nats
        .options(name)
        .await?
        .subscription_capacity(ACKNOWLEDGEMENTS_MAX)
        .skip_subject_validation(true)
        .event_callback(move |event| {
            updated.update(&event);
            std::future::ready(())
        });
    let client = options.connect(nats.urls.clone()).await?;
    Ok((client, link))
}
