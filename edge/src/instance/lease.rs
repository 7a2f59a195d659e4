//! The lease of an edge's name at the broker. Its holder writes it again and again; a process of another host that sees it change must not
//! run. Clocks of different hosts are never compared.
//!
//! It never keeps the edge from collecting: with the broker unreachable, or without the bucket, the name is checked later.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use async_nats::{Client, HeaderMap, Request};
use marketprism_schema::{EdgeLease, edge_lease_request_subject, edge_lease_subject};
use marketprism_service::read_text;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::bucket::{self, request};
use crate::broker::BrokerLink;
use crate::limits::{NAME_LEASE_EVERY, NAME_LEASE_EXPIRY};

const EXPECTED: &str = "Nats-Expected-Last-Subject-Sequence";
const SEQUENCE: &str = "Nats-Sequence";
const OPERATION: &str = "KV-Operation";

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
    has_written: bool,
    /// Sequence of the key before it was written last, by this process or by the run before, and when this process knew it.
    written: Option<(u64, Instant)>,
    watch: TwinWatch,
    is_reported: bool,
    memory: Option<LeaseMemory>,
}

/// The newest sequence of the lease, kept over restarts: a broker may be put back to an earlier state while the edge is down.
#[derive(Debug)]
struct LeaseMemory(PathBuf);

impl LeaseMemory {
    /// `None`: there was none, or a crash of the machine left half of it.
    fn read(&self) -> Option<u64> {
        match read_text(&self.0, 32) {
            Ok(text) => text.trim().parse().ok(),
            Err(error) => {
                if error.kind() != ErrorKind::NotFound {
                    tracing::warn!(path = %self.0.display(), %error, "sequence of the last lease not read");
                }
                None
            }
        }
    }

    fn write(&self, sequence: u64) {
        let part = self.0.with_extension("lease.part");
        let written =
            std::fs::write(&part, sequence.to_string()).and_then(|()| std::fs::rename(&part, &self.0));
        if let Err(error) = written {
            tracing::debug!(path = %self.0.display(), %error, "sequence of the lease not written");
        }
    }
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
        Self {
            client,
            link,
            own,
            times,
            has_written: false,
            written: None,
            watch: TwinWatch::default(),
            is_reported: false,
            memory: None,
        }
    }

    /// Keeps the sequence of the lease in this file, from the run before too.
    #[must_use]
    pub fn remembered_in(self, path: &Path) -> Self {
        let memory = LeaseMemory(path.to_owned());
        let written = memory.read().map(|sequence| (sequence, Instant::now()));
        Self { written, memory: Some(memory), ..self }
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
                Ok(Some(LeaseStep::Waiting)) => {}
                Ok(None) => self.watch.interrupted(),
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
    pub async fn release(client: &Client, link: &BrokerLink, own: &EdgeLease) {
        let released = async {
            let stored = read(client, link, &own.edge).await?;
            if stored.lease.as_ref() == Some(own) {
                write(client, link, &own.edge, stored.sequence, None).await?;
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
        let StoredLease { sequence, lease } = read(&self.client, &self.link, &self.own.edge).await?;
        if let Some(other) = lease.filter(|lease| self.is_twin(lease)) {
            // Also by the holder: a broker that was restored shows the lease of a dead process.
            self.link.hold_back();
            match self.watch.see(sequence, Instant::now(), self.times.expiry) {
                TwinState::Alive => return Ok(LeaseStep::Twin(other)),
                TwinState::Unknown => return Ok(LeaseStep::Waiting),
                TwinState::Dead => {
                    let (host, pid) = (other.host, other.pid);
                    tracing::warn!(
                        host,
                        pid,
                        "the process that held the edge's name is dead: its lease is taken over"
                    );
                }
            }
        }
        if !write(&self.client, &self.link, &self.own.edge, sequence, Some(&self.own)).await? {
            // Somebody wrote in between.
            return Ok(LeaseStep::Waiting);
        }
        // Not before the write: a replica that lags may answer a read.
        if let Some((before, at)) = self.written
            && sequence <= before
        {
            tracing::warn!(
                sequence,
                before,
                "the broker lost the last lease of the edge's name: it has an earlier state"
            );
            self.link.went_back(at);
        }
        self.written = Some((sequence, Instant::now()));
        if let Some(memory) = &self.memory {
            memory.write(sequence);
        }
        (self.has_written, self.watch, self.is_reported) = (true, TwinWatch::default(), false);
        Ok(LeaseStep::Held)
    }

    /// The lock of the folder ended a predecessor on this host. Once this process has written, every other lease is a twin's, also from a copy
    /// of the folder.
    fn is_twin(&self, lease: &EdgeLease) -> bool {
        let (id, host) = (&self.own.data_id, &self.own.host);
        if self.has_written { *lease != self.own } else { lease.data_id != *id || lease.host != *host }
    }

    /// Publishing goes on: a twin does less harm than a standstill. A name that is known to be held waits one expiry longer.
    fn unknown(&mut self, error: &anyhow::Error) {
        if self.watch.failed(Instant::now(), self.times.expiry) {
            self.link.admit();
        }
        if !std::mem::replace(&mut self.is_reported, true) {
            let error = format!("{error:#}");
            tracing::warn!(
                error,
                "lease of the edge's name not known: an edge of this name on another host goes unnoticed"
            );
        }
    }
}

/// Signs of life of another process that holds the name.
#[derive(Debug, Default)]
struct TwinWatch {
    /// Sequence of its lease, and since when it is the newest while it could be written.
    seen: Option<(u64, Instant)>,
    is_known: bool,
    failing_since: Option<Instant>,
}

#[derive(Debug, PartialEq, Eq)]
enum TwinState {
    Unknown,
    Alive,
    Dead,
}

impl TwinWatch {
    fn see(&mut self, sequence: u64, now: Instant, expiry: Duration) -> TwinState {
        (self.is_known, self.failing_since) = (true, None);
        match *self.seen.get_or_insert((sequence, now)) {
            (seen, _) if seen != sequence => TwinState::Alive,
            (_, since) if now.duration_since(since) >= expiry => TwinState::Dead,
            _ => TwinState::Unknown,
        }
    }

    /// The broker is unreachable: no edge can write, so silence says nothing.
    fn interrupted(&mut self) {
        (self.seen, self.failing_since) = (None, None);
    }

    /// The broker does not answer. True: publishing goes on.
    fn failed(&mut self, now: Instant, expiry: Duration) -> bool {
        self.seen = None;
        let since = *self.failing_since.get_or_insert(now);
        !self.is_known || now.duration_since(since) >= expiry
    }
}

async fn read(client: &Client, link: &BrokerLink, edge: &str) -> anyhow::Result<StoredLease> {
    const NOT_FOUND: u16 = 404;
    let message = request(client, link, edge_lease_request_subject(edge), Request::new()).await?;
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
    link: &BrokerLink,
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
    let request = Request::new().headers(headers).payload(payload.into());
    bucket::write(client, link, edge_lease_subject(edge), request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPIRY: Duration = Duration::from_secs(10);

    #[test]
    fn a_lease_that_nobody_could_write_is_not_silent() {
        let (mut watch, start) = (TwinWatch::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(watch.see(7, at(0), EXPIRY), TwinState::Unknown);
        watch.interrupted();
        assert_eq!(watch.see(7, at(12), EXPIRY), TwinState::Unknown, "the broker was unreachable");
        assert!(!watch.failed(at(20), EXPIRY), "the name is known to be held");
        assert_eq!(watch.see(7, at(23), EXPIRY), TwinState::Unknown, "the broker did not answer");
        assert_eq!(watch.see(7, at(32), EXPIRY), TwinState::Unknown);
        assert_eq!(watch.see(7, at(33), EXPIRY), TwinState::Dead);
        assert_eq!(watch.see(8, at(34), EXPIRY), TwinState::Alive);
    }

    #[test]
    fn a_broker_that_does_not_answer_holds_nothing_back_for_ever() {
        let (mut watch, start) = (TwinWatch::default(), Instant::now());
        assert!(watch.failed(start, EXPIRY), "nobody is known to hold the name");
        watch.see(7, start, EXPIRY);
        assert!(!watch.failed(start, EXPIRY));
        assert!(watch.failed(start + EXPIRY, EXPIRY));
    }
}
