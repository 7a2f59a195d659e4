//! The lease of an edge's name at the broker. Its holder writes it again and again; a process of another host that sees it change must not
//! run. Clocks of different hosts are never compared.
//!
//! It never keeps the edge from collecting: with the broker away, or without the bucket, the name is checked later.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use async_nats::client::RequestErrorKind;
use async_nats::{Client, HeaderMap, Message, Request};
use marketprism_schema::{EdgeLease, edge_lease_request_subject, edge_lease_subject};
use serde::Deserialize;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::broker::BrokerLink;
use crate::limits::{NAME_LEASE_ANSWER, NAME_LEASE_EVERY, NAME_LEASE_EXPIRY};

const EXPECTED: &str = "Nats-Expected-Last-Subject-Sequence";
const SEQUENCE: &str = "Nats-Sequence";
const OPERATION: &str = "KV-Operation";
/// JetStream's error code of another sequence than the expected one.
const WRONG_LAST_SEQUENCE: u32 = 10_071;

#[derive(Debug, Clone, Copy)]
pub struct LeaseTimes {
    /// Between two writes, and between two looks of a process that waits.
    pub every: Duration,
    /// Without a write, after which the lease is free.
    pub expiry: Duration,
}

impl Default for LeaseTimes {
    fn default() -> Self {
        Self { every: NAME_LEASE_EVERY, expiry: NAME_LEASE_EXPIRY }
    }
}

pub struct NameLease {
    client: Client,
    link: Arc<BrokerLink>,
    own: EdgeLease,
    times: LeaseTimes,
    is_held: bool,
    /// Sequence of another process's lease, and since when it is the newest.
    watched: Option<(u64, Instant)>,
    is_told: bool,
}

/// The newest message of the key.
#[derive(Default)]
struct StoredLease {
    sequence: u64,
    /// `None`: nobody holds it.
    lease: Option<EdgeLease>,
}

#[derive(Debug, PartialEq, Eq)]
enum LeaseStep {
    Held,
    /// Another process holds it, or held it until it died.
    Waiting,
    /// Another process lives.
    Twin(EdgeLease),
}

impl NameLease {
    /// Until the name is known to be free, `link` holds publishing back.
    pub fn new(client: Client, link: Arc<BrokerLink>, own: EdgeLease, times: LeaseTimes) -> Self {
        link.hold_back();
        Self { client, link, own, times, is_held: false, watched: None, is_told: false }
    }

    /// Holds the lease until `stop`; a living process of another host that holds it ends this earlier and is returned.
    pub async fn hold(mut self, stop: CancellationToken) -> Option<EdgeLease> {
        loop {
            let step = async {
                match self.link.is_connected() {
                    true => self.step().await.map(Some),
                    false => Ok(None),
                }
            };
            let step = tokio::select! {
                step = step => step,
                () = stop.cancelled() => break,
            };
            match step {
                Ok(Some(LeaseStep::Twin(twin))) => return Some(twin),
                Ok(Some(LeaseStep::Held)) => self.link.admit(),
                Ok(Some(LeaseStep::Waiting) | None) => {}
                Err(error) => self.unknown(&error),
            }
            tokio::select! {
                () = self.pause() => {}
                () = stop.cancelled() => break,
            }
        }
        None
    }

    /// Gives the lease up, so that another host need not wait for its expiry.
    pub async fn release(client: &Client, own: &EdgeLease) {
        let released = async {
            let stored = read(client, &own.edge).await?;
            if stored.lease.as_ref() == Some(own) {
                write(client, &own.edge, stored.sequence, None).await?;
            }
            anyhow::Ok(())
        };
        if let Err(error) = released.await {
            tracing::debug!(
                error = format!("{error:#}"),
                "lease of the name not released; it expires by itself"
            );
        }
    }

    /// A connection is noticed at once: events wait for this.
    async fn pause(&self) {
        if self.link.is_connected() {
            return sleep(self.times.every).await;
        }
        let connected = async {
            while !self.link.is_connected() {
                sleep(Duration::from_millis(20)).await;
            }
        };
        connected.await;
    }

    async fn step(&mut self) -> anyhow::Result<LeaseStep> {
        let StoredLease { sequence, lease } = read(&self.client, &self.own.edge).await?;
        if let Some(other) = lease.filter(|lease| lease.data_id != self.own.data_id) {
            if self.is_held {
                return Ok(LeaseStep::Twin(other));
            }
            match self.watched {
                Some((seen, _)) if seen != sequence => return Ok(LeaseStep::Twin(other)),
                Some((_, since)) if since.elapsed() >= self.times.expiry => {
                    let (host, pid) = (other.host, other.pid);
                    tracing::warn!(
                        host,
                        pid,
                        "the process that held the edge's name is dead: its lease is taken over"
                    );
                }
                Some(_) => return Ok(LeaseStep::Waiting),
                None => {
                    self.watched = Some((sequence, Instant::now()));
                    return Ok(LeaseStep::Waiting);
                }
            }
        }
        if !write(&self.client, &self.own.edge, sequence, Some(&self.own)).await? {
            // Somebody wrote in between.
            return Ok(LeaseStep::Waiting);
        }
        (self.is_held, self.watched, self.is_told) = (true, None, false);
        Ok(LeaseStep::Held)
    }

    /// Publishing goes on: a twin does less harm than a standstill.
    fn unknown(&mut self, error: &anyhow::Error) {
        self.link.admit();
        if !std::mem::replace(&mut self.is_told, true) {
            let error = format!("{error:#}");
            tracing::warn!(
                error,
                "lease of the edge's name not known: an edge of this name on another host goes unnoticed"
            );
        }
    }
}

#[derive(Deserialize)]
struct WriteReply {
    #[serde(default)]
    error: Option<WriteError>,
}

#[derive(Deserialize)]
struct WriteError {
    #[serde(default)]
    err_code: u32,
    #[serde(default)]
    description: String,
}

async fn read(client: &Client, edge: &str) -> anyhow::Result<StoredLease> {
    const NOT_FOUND: u16 = 404;
    let message = request(client, edge_lease_request_subject(edge), Request::new()).await?;
    match message.status.map(|status| status.as_u16()) {
        Some(NOT_FOUND) => return Ok(StoredLease::default()),
        Some(status) if status >= 300 => bail!("the broker answered with status {status}"),
        _ => {}
    }
    let headers = message.headers.unwrap_or_default();
    let sequence = headers.get(SEQUENCE).context("answer without a sequence")?.as_str().parse()?;
    // A deleted key has an operation and no value.
    let lease = if headers.get(OPERATION).is_some() {
        None
    } else {
        Some(serde_json::from_slice(&message.payload).context("not a lease")?)
    };
    Ok(StoredLease { sequence, lease })
}

/// False: the newest message is another one than `expected` by now.
async fn write(
    client: &Client,
    edge: &str,
    expected: u64,
    lease: Option<&EdgeLease>,
) -> anyhow::Result<bool> {
    let mut headers = HeaderMap::new();
    headers.insert(EXPECTED, expected.to_string().as_str());
    let payload = match lease {
        Some(lease) => serde_json::to_vec(lease)?,
        None => {
            headers.insert(OPERATION, "DEL");
            Vec::new()
        }
    };
    let message =
        request(client, edge_lease_subject(edge), Request::new().headers(headers).payload(payload.into()));
    let reply: WriteReply = serde_json::from_slice(&message.await?.payload).context("reply to a write")?;
    match reply.error {
        None => Ok(true),
        Some(error) if error.err_code == WRONG_LAST_SEQUENCE => Ok(false),
        Some(error) => bail!("{} ({})", error.description, error.err_code),
    }
}

async fn request(client: &Client, subject: String, request: Request) -> anyhow::Result<Message> {
    let request = request.timeout(Some(NAME_LEASE_ANSWER));
    match timeout(NAME_LEASE_ANSWER * 2, client.send_request(subject.clone(), request)).await {
        Ok(Ok(message)) => Ok(message),
        Ok(Err(error)) if error.kind() == RequestErrorKind::NoResponders => {
            bail!("{subject}: no such bucket yet; central creates it")
        }
        Ok(Err(error)) => Err(error).context(subject),
        Err(_elapsed) => bail!("{subject}: no answer"),
    }
}
