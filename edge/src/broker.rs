//! The connection to the broker and its replies. The client reconnects by itself, without end.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use async_nats::{Client, Event, Message};
use marketprism_config::{Nats, NatsProblems};
use marketprism_schema::{CORE_MIRROR_PREFIX, STREAMS, domain_subject};
use marketprism_service::LogLimit;
use serde::Deserialize;
use tokio::sync::Notify;

pub(crate) use acknowledgement::StreamMessage;
use domains::AckDomains;
use revisions::NewestRevisions;
pub(crate) use revisions::OLDER_REVISIONS_FOR;
pub use stalls::PublishStalls;
use streams::DescribedStreams;
pub(crate) use streams::message_bytes;

use crate::limits::ACKNOWLEDGEMENTS_MAX;

mod acknowledgement;
mod domains;
mod revisions;
mod stalls;
mod streams;

/// State of the connection, updated by the client's events.
#[derive(Debug)]
pub struct BrokerLink {
    connected: AtomicBool,
    connects: AtomicU64,
    changed: Notify,
    ending: AtomicBool,
    is_held_back: AtomicBool,
    stalls: PublishStalls,
    progress: PublishProgress,
    problems: NatsProblems,
    went_back: Mutex<Option<Instant>>,
    revisions: NewestRevisions,
    /// JetStream domain of the centre, behind a leaf node.
    domain: Option<String>,
    ack_domains: AckDomains,
    streams: DescribedStreams,
    foreign_lines: Mutex<LogLimit>,
}

/// Counters that stand still when publishing does.
#[derive(Debug, Default)]
pub struct PublishProgress {
    turns: AtomicU64,
    replies: AtomicU64,
}

impl PublishProgress {
    pub(crate) fn turn(&self) {
        self.turns.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn add_replies(&self, replies: usize) {
        self.replies.fetch_add(u64::try_from(replies).unwrap_or_default(), Ordering::Relaxed);
    }

    pub fn turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }

    pub fn replies(&self) -> u64 {
        self.replies.load(Ordering::Relaxed)
    }
}

impl BrokerLink {
    /// Of a client that did not connect yet.
    pub fn new(nats: &Nats, name: &str) -> Self {
        Self {
            connected: AtomicBool::new(false),
            connects: AtomicU64::new(0),
            changed: Notify::new(),
            ending: AtomicBool::new(false),
            is_held_back: AtomicBool::new(false),
            stalls: PublishStalls::default(),
            progress: PublishProgress::default(),
            problems: NatsProblems::new(nats, name).with_minor(CORE_MIRROR_PREFIX),
            went_back: Mutex::new(None),
            revisions: NewestRevisions::default(),
            domain: nats.jetstream_domain.clone(),
            ack_domains: AckDomains::default(),
            streams: DescribedStreams::default(),
            foreign_lines: Mutex::default(),
        }
    }

    /// The subject under which a request to JetStream, or a write to a bucket, reaches the centre.
    pub(crate) fn jetstream_subject(&self, subject: String) -> String {
        match &self.domain {
            Some(domain) => domain_subject(domain, &subject),
            None => subject,
        }
    }

    /// The reply to a publish on a subject of a stream, of a message with so many bytes.
    pub(crate) fn reply<'a>(
        &self,
        message: &'a Message,
        stream: &str,
        bytes: impl FnOnce() -> usize,
    ) -> PublishReply<'a> {
        let status = message.status.map(|status| status.as_u16());
        let reply: serde_json::Result<RawReply<'a>> = serde_json::from_slice(&message.payload);
        self.note_domain(&reply);
        let is_failed = reply.as_ref().is_ok_and(|reply| reply.error.is_some());
        let is_taken = !is_failed || self.streams.takes(stream, bytes());
        PublishReply::of(reply, status, (stream, is_taken), self.domain.as_deref())
    }

    /// The largest message that the centre's stream takes; `None`: of any size.
    pub(crate) fn note_message_size(&self, stream: &'static str, bytes_max: Option<usize>) {
        self.streams.note_size(stream, bytes_max);
    }

    /// Of a stream that has stored messages of this edge. `is_confirmed`: central has a confirmed sequence of it.
    pub(crate) fn note_confirmed(&self, stream: &'static str, is_confirmed: bool) {
        // A configured domain is the centre's.
        if self.domain.is_none() && self.streams.note_confirmed(stream, is_confirmed, Instant::now()) {
            tracing::error!(
                problem = self.domain_problem(),
                "acknowledgements that central does not confirm"
            );
        }
    }

    /// Reason for which nobody on this server takes a subject of the stream.
    pub(crate) fn no_stream(&self, stream: &str) -> String {
        let mut text = if self.stalls.has_stored(stream) {
            format!(
                "nobody takes the subject at the moment: stream {stream}, which has stored messages of this run, has no leader or was deleted"
            )
        } else {
            "no stream stores the subject: central or `marketprism-central init` creates it, if JetStream is on; or it has no leader".to_owned()
        };
        if self.domain.is_some() {
            text.push_str(
                "; or this leaf node has lost the centre: see its log and `/leafz` of its monitor, and restart it if it does not connect again",
            );
        }
        text
    }

    /// Reason for which nobody on this server answers for a bucket.
    pub(crate) const fn no_bucket(&self) -> &'static str {
        if self.domain.is_some() {
            "nobody answers: central has not created it yet, it has no leader, or this leaf node has lost the centre"
        } else {
            "nobody answers: central has not created it yet, or it has no leader"
        }
    }

    /// A further reply to a message that was answered: of another try, or of another stream.
    pub(crate) fn note_late_reply(&self, message: &Message) {
        self.note_domain(&serde_json::from_slice(&message.payload));
    }

    fn note_domain(&self, reply: &serde_json::Result<RawReply<'_>>) {
        let Ok(RawReply { stream: Some(stream), domain, error: None, .. }) = reply else { return };
        if self.domain.is_none() && STREAMS.iter().any(|known| known.name == stream) {
            self.ack_domains.note(domain.as_deref());
        }
    }

    /// No JetStream domain is configured, and streams of two acknowledge, or those of one that central does not confirm.
    pub fn domain_problem(&self) -> Option<String> {
        self.ack_domains.problem().or_else(|| {
            let unconfirmed = self.streams.unconfirmed(Instant::now());
            (!unconfirmed.is_empty()).then(|| self.ack_domains.unconfirmed_problem(&unconfirmed))
        })
    }

    /// Refused connection or subject, for `/health`.
    pub fn problem(&self) -> Option<String> {
        self.problems.current()
    }

    /// A refused subject of the mirror: JetStream has its events.
    pub fn mirror_problem(&self) -> Option<String> {
        self.problems.minor()
    }

    /// Events of the mirror that the server refused.
    pub(crate) fn mirror_denials(&self) -> u64 {
        self.problems.minor_denials()
    }

    pub fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Acquire)
    }

    /// Nothing is published until [`Self::admit`].
    pub(crate) fn hold_back(&self) {
        self.is_held_back.store(true, Ordering::Release);
    }

    /// No other edge of this name is known to run.
    pub(crate) fn admit(&self) {
        if self.is_held_back.swap(false, Ordering::AcqRel) {
            self.changed.notify_one();
        }
    }

    /// The broker has an earlier state: it lost something that it had at this time.
    pub(crate) fn went_back(&self, had_at: Instant) {
        self.revisions.forget();
        *self.went_back.lock().unwrap_or_else(PoisonError::into_inner) = Some(had_at);
    }

    /// The time of a loss that was not taken yet.
    pub fn take_loss(&self) -> Option<Instant> {
        self.went_back.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// False for an answer to a read of a bucket that is older than one before; `None`: there is no such key. A replica of the bucket that lags
    /// has answered, or the broker was put back.
    pub(crate) fn is_newest(&self, subject: &str, answer: Option<&Message>) -> bool {
        self.revisions.is_newest(subject, answer, Instant::now())
    }

    /// The broker is connected, and the name is not held by another edge.
    pub fn may_publish(&self) -> bool {
        self.is_connected() && !self.is_held_back.load(Ordering::Acquire)
    }

    pub fn connects(&self) -> u64 {
        self.connects.load(Ordering::Acquire)
    }

    pub const fn stalls(&self) -> &PublishStalls {
        &self.stalls
    }

    pub const fn progress(&self) -> &PublishProgress {
        &self.progress
    }

    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// From now on a closed connection is not logged as a problem.
    pub(crate) fn end(&self) {
        self.ending.store(true, Ordering::Release);
    }

    pub(crate) async fn update(&self, event: Event) {
        self.problems.note(&event).await;
        match event {
            Event::Connected => {
                tracing::info!("connected to nats");
                self.ack_domains.reconnected();
                self.streams.reconnected();
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
            Event::ServerError(_) | Event::ClientError(_) => {}
            Event::SlowConsumer(_) => {
                tracing::warn!("acknowledgements were dropped: their messages will be published again")
            }
            Event::LameDuckMode | Event::Draining => tracing::info!(%event, "nats"),
        }
    }
}

pub async fn connect(nats: &Nats, name: &str) -> anyhow::Result<(Client, Arc<BrokerLink>)> {
    let link = Arc::new(BrokerLink::new(nats, name));
    let updated = Arc::clone(&link);
    let options = nats
        .options(name)?
        .subscription_capacity(ACKNOWLEDGEMENTS_MAX)
        .skip_subject_validation(true)
        .event_callback(move |event| {
            let link = Arc::clone(&updated);
            async move { link.update(event).await }
        });
    let client = options.connect(nats.addresses()).await?;
    Ok((client, link))
}

/// JetStream's error code for a message above the stream's `max_msg_size`.
const MESSAGE_TOO_LARGE: u32 = 10_054;
/// Status of a message without a subscriber: no stream has its subject.
const NO_RESPONDERS: u16 = 503;

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum PublishReply<'a> {
    /// The message is in the stream; `duplicate`: it was before.
    Stored {
        duplicate: bool,
        /// Of the message in the stream.
        sequence: u64,
    },
    NoStream,
    /// Stored by another stream or domain than the one that central reads; that one's reply may follow.
    Foreign {
        text: Cow<'a, str>,
    },
    /// Refused for now; worth a retry.
    Refused {
        text: Cow<'a, str>,
    },
    /// Rejected for its content; a retry is useless. Behind a leaf node only above the known limit of the centre's stream: an error names no domain,
    /// and the centre may have taken the message.
    Rejected {
        text: Cow<'a, str>,
    },
}

#[derive(Deserialize)]
struct RawReply<'a> {
    #[serde(default)]
    duplicate: bool,
    #[serde(default)]
    seq: u64,
    #[serde(borrow, default)]
    stream: Option<Cow<'a, str>>,
    /// Of the server that stored it; none if it has no domain.
    #[serde(borrow, default)]
    domain: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    error: Option<RawError<'a>>,
}

#[derive(Deserialize)]
struct RawError<'a> {
    #[serde(default)]
    err_code: u32,
    #[serde(borrow, default)]
    description: Cow<'a, str>,
}

impl<'a> RawError<'a> {
    /// The broker's error text, with the remedy where one is known.
    fn with_remedy(self) -> Cow<'a, str> {
        let remedy = match self.err_code {
            10_023 | 10_047 => "the broker's storage is full: free it, or raise jetstream max_file_store",
            10_002 => "the storage of the account is full: raise its limit at the broker",
            10_039 | 10_076 => "JetStream is off: enable it in the broker's configuration",
            MESSAGE_TOO_LARGE => {
                "the stream, or that of a leaf node, limits the size of messages: run `marketprism-central init --apply` for the centre's, and delete that \
                 of the leaf node"
            }
            10_077 => "the stream is full and refuses new messages: run `marketprism-central init --apply`",
            _ => return self.description,
        };
        Cow::Owned(format!("{}; {remedy}", self.description))
    }
}

impl<'a> PublishReply<'a> {
    /// An unreadable reply counts as refused, so that the message is published again, and so does one without a sequence: a leader that changed may
    /// know the id of a message that it never stored. A leaf node with a stream of these subjects answers too, and before the centre. `is_taken`: the
    /// centre's stream is not known to have a smaller limit than the message's size.
    fn of(
        reply: serde_json::Result<RawReply<'a>>,
        status: Option<u16>,
        (wanted, is_taken): (&str, bool),
        domain: Option<&str>,
    ) -> Self {
        if status == Some(NO_RESPONDERS) {
            return Self::NoStream;
        }
        match reply {
            Ok(RawReply { domain: Some(found), stream: Some(stream), .. })
                if domain.is_some_and(|domain| found != domain) =>
            {
                let domain = domain.unwrap_or_default();
                let text = format!(
                    "stored by stream {stream} of the JetStream domain {found}, wanted {domain}: delete the stream in {found}"
                );
                Self::Foreign { text: text.into() }
            }
            Ok(RawReply { error: Some(error), .. })
                if error.err_code == MESSAGE_TOO_LARGE && (domain.is_none() || !is_taken) =>
            {
                Self::Rejected { text: error.description }
            }
            Ok(RawReply { error: Some(error), .. }) => Self::Refused { text: error.with_remedy() },
            Ok(RawReply { stream: Some(stream), .. }) if stream != wanted => {
                let text = format!(
                    "stored by stream {stream}, wanted {wanted}: take the subject from it, then run `marketprism-central init`"
                );
                Self::Foreign { text: text.into() }
            }
            Ok(RawReply { seq: 0, stream: Some(_), .. }) => {
                Self::Refused { text: "the message id is known, the message is not stored".into() }
            }
            Ok(RawReply { stream: Some(_), duplicate, seq, error: None, .. }) => {
                Self::Stored { duplicate, sequence: seq }
            }
            Ok(RawReply { stream: None, error: None, .. }) => {
                Self::Refused { text: Cow::Borrowed("reply without a stream") }
            }
            Err(error) => Self::Refused { text: Cow::Owned(format!("unreadable reply: {error}")) },
        }
    }

    fn into_owned(self) -> PublishReply<'static> {
        match self {
            Self::Stored { duplicate, sequence } => PublishReply::Stored { duplicate, sequence },
            Self::NoStream => PublishReply::NoStream,
            Self::Foreign { text } => PublishReply::Foreign { text: text.into_owned().into() },
            Self::Refused { text } => PublishReply::Refused { text: text.into_owned().into() },
            Self::Rejected { text } => PublishReply::Rejected { text: text.into_owned().into() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse<'a>(
        payload: &'a [u8],
        status: Option<u16>,
        wanted: &str,
        domain: Option<&str>,
    ) -> PublishReply<'a> {
        PublishReply::of(serde_json::from_slice(payload), status, (wanted, true), domain)
    }

    #[test]
    fn only_a_reply_that_names_the_stream_counts_as_stored() {
        let stored = br#"{"stream":"MARKET_DATA","seq":7}"#;
        let parse = |payload, status| parse(payload, status, "MARKET_DATA", None);
        assert_eq!(parse(stored, None), PublishReply::Stored { duplicate: false, sequence: 7 });
        let copy = br#"{"stream":"MARKET_DATA","domain":"x","seq":7,"duplicate":true}"#;
        assert_eq!(parse(copy, None), PublishReply::Stored { duplicate: true, sequence: 7 });
        assert_eq!(parse(b"", Some(503)), PublishReply::NoStream);
        let full = br#"{"error":{"code":503,"err_code":10077,"description":"maximum messages exceeded"},"stream":"S","seq":0}"#;
        assert_eq!(
            parse(full, None),
            PublishReply::Refused {
                text: "maximum messages exceeded; the stream is full and refuses new messages: run `marketprism-central \
                       init --apply`"
                    .into()
            }
        );
        let large = br#"{"error":{"code":400,"err_code":10054,"description":"message size exceeds maximum allowed"},"seq":0}"#;
        let text = "message size exceeds maximum allowed".into();
        assert_eq!(parse(large, None), PublishReply::Rejected { text });
        let foreign = br#"{"stream":"OTHERS","seq":7}"#;
        assert!(matches!(parse(foreign, None), PublishReply::Foreign { .. }));
        let unstored = br#"{"stream":"MARKET_DATA","seq":0,"duplicate":true}"#;
        for odd in [&b""[..], b"{}", b"+OK", b"{\"seq\":1}", unstored] {
            assert!(matches!(parse(odd, None), PublishReply::Refused { .. }));
        }
    }

    /// It counted as stored: the centre never had the event, and its confirmed sequences freed it from the journal.
    #[test]
    fn a_reply_of_another_domain_than_the_configured_one_does_not_count_as_stored() {
        let parse = |payload| parse(payload, None, "MARKET_DATA", Some("hub"));
        let stored = PublishReply::Stored { duplicate: false, sequence: 7 };
        assert_eq!(parse(br#"{"stream":"MARKET_DATA","domain":"hub","seq":7}"#), stored);
        assert_eq!(parse(br#"{"stream":"MARKET_DATA","seq":7}"#), stored, "a server without a domain");
        let PublishReply::Foreign { text } = parse(br#"{"stream":"MARKET_DATA","domain":"leaf","seq":7}"#)
        else {
            panic!("a leaf node has stored it");
        };
        assert!(text.contains("domain leaf, wanted hub: delete"), "{text}");
    }

    /// Audits and events ended as lost, which the centre would have stored.
    #[test]
    fn behind_a_leaf_node_a_message_that_is_too_large_for_some_stream_is_refused_and_not_rejected() {
        let large = br#"{"error":{"code":400,"err_code":10054,"description":"message size exceeds maximum allowed"},"seq":0}"#;
        let reply = parse(large, None, "AUDIT", Some("hub"));
        let PublishReply::Refused { text } = &reply else { panic!("{reply:?}") };
        assert!(text.starts_with("message size exceeds maximum allowed; "), "{text}");
        // Held until the limit was raised, those of several events too, of which each one fits.
        let reply =
            PublishReply::of(serde_json::from_slice(large), None, ("MARKET_DATA", false), Some("hub"));
        assert!(matches!(reply, PublishReply::Rejected { .. }), "the centre's own limit: {reply:?}");
    }
}
