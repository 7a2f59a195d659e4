//! One generation of a connection, from its opening to its end.

mod serving;

use std::sync::Arc;
use std::time::Duration;

use marketprism_adapter_host::SourceIndex;
use marketprism_adapter_host::contract::Connection;
use marketprism_service::clock::now_ns;
use marketprism_service::mask;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use url::Url;

use self::serving::Serving;
use super::open::{OpenError, Socket, open};
use super::send_queue::OutgoingText;
use crate::context::FeedContext;
use crate::error::CloseReason;
use crate::event::SocketEvent;
use crate::rest::{apply_refusal, charges_or_origin};
use crate::status::ConnectionState;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SessionEvent {
    Opened {
        at: Instant,
        at_ns: i64,
    },
    /// The last opening message was sent.
    Subscribed,
    Ready,
}

#[derive(Debug)]
pub(crate) struct SessionEnd {
    pub(crate) generation: u64,
    /// When it opened, if it did.
    pub(crate) opened: Option<Instant>,
    pub(crate) end: SessionEndCause,
}

#[derive(Debug)]
pub(crate) enum SessionEndCause {
    NotOpened(OpenError),
    /// By the supervisor, or the feed stops.
    Retired,
    Closed(CloseReason),
}

pub(crate) struct Session {
    pub(crate) source: SourceIndex,
    pub(crate) generation: u64,
    pub(crate) plan: Arc<Connection>,
    pub(crate) feed: Arc<FeedContext>,
    pub(crate) state: Arc<ConnectionState>,
    pub(crate) events: mpsc::Sender<(u64, SessionEvent)>,
    pub(crate) texts: mpsc::Receiver<OutgoingText>,
    /// Cancelled by the supervisor and with the feed.
    pub(crate) retire: CancellationToken,
}

impl Session {
    pub(crate) async fn run(self) -> SessionEnd {
        let generation = self.generation;
        let retire = self.retire.clone();
        let charges = match Url::parse(&self.plan.url) {
            Ok(url) => charges_or_origin(&self.plan.charges, &url),
            Err(_) => self.plan.charges.clone(),
        };
        let opening = async {
            let mut permit = self.feed.budgets.reserve(&charges, self.feed.options.budget_wait_max).await?;
            permit.begin_use();
            let began = Instant::now();
            let socket = open(&self.plan, &self.feed.dialer, &self.feed.options, &self.feed.large_messages);
            Ok::<_, OpenError>((socket.await?, began.elapsed()))
        };
        let opened = tokio::select! {
            biased;
            () = retire.cancelled() => return SessionEnd { generation, opened: None, end: SessionEndCause::Retired },
            opened = opening => opened,
        };
        match opened {
            Ok((socket, took)) => {
                let at = Instant::now();
                self.feed.budgets.served(&charges);
                SessionEnd { generation, opened: Some(at), end: self.serve(socket, at, took).await }
            }
            Err(error) => {
                if let OpenError::Refused { status, retry_after, .. } = &error {
                    let feed = &self.feed;
                    apply_refusal(&feed.budgets, &charges, &feed.counters, *status, *retry_after);
                }
                SessionEnd { generation, opened: None, end: SessionEndCause::NotOpened(error) }
            }
        }
    }

    async fn serve(self, socket: Socket, opened: Instant, took: Duration) -> SessionEndCause {
        let at_ns = now_ns();
        let (source, generation) = (self.source, self.generation);
        let url = mask(&self.plan.url).into_owned();
        // Before the supervisor's event, so that this is the first event of the generation.
        if self.feed.deliver(SocketEvent::Opened { source, generation, url, at_ns }).await.is_err() {
            return SessionEndCause::Closed(CloseReason::Stopped);
        }
        let event = SessionEvent::Opened { at: opened, at_ns };
        if self.events.send((generation, event)).await.is_err() {
            return SessionEndCause::Closed(CloseReason::Stopped);
        }
        let mut serving = Serving::new(self, socket, took);
        if let Err(reason) = serving.report_subscribed().await {
            return SessionEndCause::Closed(reason);
        }
        serving.run().await
    }
}
