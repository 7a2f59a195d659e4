//! One generation of a connection: from its opening to its end.

mod serving;

use std::sync::Arc;

use marketprism_adapter_host::contract::Connection;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use url::Url;

use self::serving::Serving;
use super::open::{OpenError, Socket, open};
use super::outbox::Text;
use crate::clock::wall_ns;
use crate::context::FeedContext;
use crate::error::CloseReason;
use crate::input::Input;
use crate::rest::{charges_or_origin, learn};
use crate::status::ConnectionState;

/// What a generation tells its supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SessionEvent {
    /// The handshake is done.
    Opened { at: Instant, at_ns: i64 },
    /// The last opening message was sent.
    Subscribed,
    /// Data came after that.
    Ready,
}

/// How a generation ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) generation: u64,
    /// When it stood, if it ever did.
    pub(crate) opened: Option<Instant>,
    pub(crate) end: End,
}

/// Why a generation ended.
#[derive(Debug)]
pub(crate) enum End {
    /// It never stood.
    NotOpened(OpenError),
    /// Its supervisor ended it, or the feed stops.
    Retired,
    /// By itself.
    Closed(CloseReason),
}

/// One generation, before it runs.
pub(crate) struct Session {
    pub(crate) source: u32,
    pub(crate) generation: u64,
    pub(crate) plan: Arc<Connection>,
    pub(crate) feed: Arc<FeedContext>,
    pub(crate) state: Arc<ConnectionState>,
    pub(crate) events: mpsc::Sender<(u64, SessionEvent)>,
    pub(crate) texts: mpsc::Receiver<Text>,
    /// Cancelled by the supervisor, and with the feed.
    pub(crate) retire: CancellationToken,
}

impl Session {
    /// Opens, serves, closes.
    pub(crate) async fn run(self) -> Ended {
        let generation = self.generation;
        let retire = self.retire.clone();
        let charges = match Url::parse(&self.plan.url) {
            Ok(url) => charges_or_origin(&self.plan.charges, &url),
            Err(_) => self.plan.charges.clone(),
        };
        let opening = async {
            let mut permit = self.feed.budgets.reserve(&charges, self.feed.options.budget_wait_max).await?;
            permit.begin_use();
            open(&self.plan, &self.feed.tls, &self.feed.options).await
        };
        let opened = tokio::select! {
            biased;
            () = retire.cancelled() => return Ended { generation, opened: None, end: End::Retired },
            opened = opening => opened,
        };
        match opened {
            Ok(socket) => {
                let at = Instant::now();
                self.feed.budgets.served(&charges);
                let end = match self.serve(socket, at).await {
                    Some(reason) => End::Closed(reason),
                    None => End::Retired,
                };
                Ended { generation, opened: Some(at), end }
            }
            Err(error) => {
                if let OpenError::Refused { status, retry_after, .. } = &error {
                    let feed = &self.feed;
                    learn(&feed.budgets, &charges, &feed.counters, *status, *retry_after);
                }
                Ended { generation, opened: None, end: End::NotOpened(error) }
            }
        }
    }

    /// Serves an open socket until its end. `None`: retired.
    async fn serve(self, socket: Socket, opened: Instant) -> Option<CloseReason> {
        let at_ns = wall_ns();
        let (source, generation) = (self.source, self.generation);
        let url = self.plan.url.clone();
        // Before the supervisor knows, so that this input stands before every other one of this generation.
        if self.feed.deliver(Input::Opened { source, generation, url, at_ns }).await.is_err() {
            return Some(CloseReason::Stopped);
        }
        let event = SessionEvent::Opened { at: opened, at_ns };
        if self.events.send((generation, event)).await.is_err() {
            return Some(CloseReason::Stopped);
        }
        let mut serving = Serving::new(self, socket);
        if let Err(reason) = serving.tell_subscribed().await {
            return Some(reason);
        }
        serving.run().await
    }
}
