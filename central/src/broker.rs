//! The connection to NATS.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use async_nats::connection::State;
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::account::Account;
use async_nats::jetstream::consumer::Info as ConsumerInfo;
use async_nats::jetstream::context::{
    AccountErrorKind, ContextBuilder, CreateStreamError, CreateStreamErrorKind, GetStreamError,
    GetStreamErrorKind,
};
use async_nats::jetstream::kv::{Config, Store};
use async_nats::jetstream::object_store::{self, ObjectStore};
use async_nats::{Client, Request, jetstream};
use marketprism_config::{Nats, NatsProblems};
use marketprism_schema::{CENTRAL_CONNECTION, domain_subject};
use serde::Deserialize;
use tokio::time::{Instant, sleep, timeout};

use crate::limits;
use crate::time::Time;

/// A connection that reconnects by itself, and its JetStream.
#[derive(Debug, Clone)]
pub struct Broker {
    pub client: Client,
    /// With a timeout on every request.
    pub jetstream: jetstream::Context,
    problems: Arc<NatsProblems>,
    domain: Option<String>,
}

impl Broker {
    /// Starts to connect; returns before the connection is established.
    pub async fn start(nats: &Nats) -> anyhow::Result<Self> {
        let problems = Arc::new(NatsProblems::new(nats, CENTRAL_CONNECTION));
        let noted = Arc::clone(&problems);
        let client = nats
            .options(CENTRAL_CONNECTION)?
            .event_callback(move |event| {
                let problems = Arc::clone(&noted);
                async move { problems.note(&event).await }
            })
            .connect(nats.addresses())
            .await
            .with_context(|| format!("cannot connect to nats at {}", nats.shown_urls()))?;
        let context = ContextBuilder::new().timeout(limits::BROKER_TIMEOUT);
        let jetstream = match &nats.jetstream_domain {
            Some(domain) => context.domain(domain).build(client.clone()),
            None => context.build(client.clone()),
        };
        Ok(Self { client, jetstream, problems, domain: nats.jetstream_domain.clone() })
    }

    /// The subject of a request to JetStream within `nats.jetstream_domain`.
    pub fn jetstream_subject(&self, subject: &str) -> String {
        self.domain.as_ref().map_or_else(|| subject.to_owned(), |domain| domain_subject(domain, subject))
    }

    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// Waits for the connection; not for one that is refused for good.
    pub async fn connected(&self, nats: &Nats, wait: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + wait;
        while !self.is_connected() {
            let problem = self.problems.current().filter(|_| !self.is_connected());
            match problem {
                Some(problem) if self.problems.is_refused_for_good() || Instant::now() >= deadline => {
                    bail!(problem)
                }
                None if Instant::now() >= deadline => {
                    bail!("no nats server at {} accepted a connection within {wait:?}", nats.shown_urls());
                }
                _ => sleep(limits::BACKOFF_FIRST / 4).await,
            }
        }
        Ok(())
    }

    /// The server was reached and refuses the login.
    pub fn is_refused(&self) -> bool {
        self.problems.is_refused_for_good()
    }

    /// The failure with its cause, where the connection or a permission is one.
    pub fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        match self.problems.current() {
            Some(problem) => error.context(problem),
            None => error,
        }
    }

    /// Usage and limits of the user's account.
    pub async fn account(&self) -> anyhow::Result<Account> {
        let queried = self.jetstream.query_account().await;
        queried.map_err(|error| match error.kind() {
            AccountErrorKind::JetStreamUnavailable => anyhow!(
                "JetStream is off at the nats server; start it with a `jetstream` block in its configuration, or -js"
            ),
            AccountErrorKind::JetStream(answer)
                if [ErrorCode::JETSTREAM_NOT_ENABLED, ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT]
                    .contains(&answer.error_code()) =>
            {
                anyhow!(
                    "JetStream is off for this user's account at the nats server; add `jetstream: enabled` to the account ({answer})"
                )
            }
            _ => anyhow::Error::new(error).context("cannot query the jetstream account"),
        })
    }

    /// Opens a KV bucket that keeps one value per key, creating it if needed.
    pub async fn bucket(&self, name: &str, description: &str, replicas: usize) -> anyhow::Result<OpenBucket> {
        let stream = format!("KV_{name}");
        let found = within("open the bucket", self.jetstream.get_stream(&stream)).await?;
        match found {
            Ok(_) => {}
            Err(error) if is_missing(&error) => {
                let config = Config {
                    bucket: name.to_owned(),
                    description: description.to_owned(),
                    history: 1,
                    num_replicas: replicas,
                    ..Config::default()
                };
                within("create the bucket", self.jetstream.create_key_value(config))
                    .await?
                    .with_context(|| format!("cannot create bucket {name}"))?;
            }
            Err(error) => return Err(error).with_context(|| format!("cannot open bucket {name}")),
        }
        let store = within("open the bucket", self.jetstream.get_key_value(name))
            .await?
            .with_context(|| format!("cannot open bucket {name}"))?;
        let created_ns = store.stream.cached_info().created.unix_timestamp_nanos();
        Ok(OpenBucket { store, created_ns })
    }

    /// Opens an Object Store bucket. A missing one is created with this limit: the server refuses what does not fit, and reserves the room.
    pub async fn object_bucket(
        &self,
        name: &str,
        description: &str,
        (replicas, max_bytes): (usize, i64),
    ) -> anyhow::Result<ObjectBucket> {
        let found = within("open the bucket", self.jetstream.get_stream(format!("OBJ_{name}"))).await?;
        match found {
            Err(error) if is_missing(&error) => {
                let config = object_store::Config {
                    bucket: name.to_owned(),
                    description: Some(description.to_owned()),
                    num_replicas: replicas,
                    max_bytes,
                    ..object_store::Config::default()
                };
                let store = within("create the bucket", self.jetstream.create_object_store(config))
                    .await?
                    .with_context(|| format!("cannot create bucket {name} with max_bytes {max_bytes}"))?;
                Ok(ObjectBucket { store, max_bytes, is_new: true })
            }
            Err(error) => Err(error).with_context(|| format!("cannot open bucket {name}")),
            Ok(stream) => {
                let store = within("open the bucket", self.jetstream.get_object_store(name))
                    .await?
                    .with_context(|| format!("cannot open bucket {name}"))?;
                Ok(ObjectBucket { store, max_bytes: stream.cached_info().config.max_bytes, is_new: false })
            }
        }
    }

    /// Subjects of a stream that fit a filter, and the broker's time. `None`: there is no such stream.
    pub async fn subjects(&self, stream: &str, filter: &str) -> anyhow::Result<Option<StreamSubjects>> {
        let filter = serde_json::json!({ "subjects_filter": filter }).to_string();
        let subject = self.jetstream_subject(&format!("$JS.API.STREAM.INFO.{stream}"));
        // On an inbox of its own: the client would keep a request without an answer for ever.
        let request = Request::new().payload(filter.into()).inbox(self.client.new_inbox());
        let request = self.client.send_request(subject, request);
        let answer = within(format!("list the subjects of stream {stream}"), request).await??;
        let place = || format!("subjects of stream {stream}");
        let RawSubjects { error, state, ts } = serde_json::from_slice(&answer.payload).with_context(place)?;
        match error {
            Some(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND => return Ok(None),
            Some(error) => return Err(anyhow!(error)).with_context(place),
            None => {}
        }
        let now = ts.as_deref().and_then(Time::parse);
        let now = now.with_context(|| format!("{}: the broker's time is {ts:?}", place()))?;
        let RawState { bytes, subjects } = state;
        Ok(Some(StreamSubjects { now_ns: now.0.saturating_mul(1_000_000), bytes, subjects }))
    }
}

/// An Object Store bucket as the server has it.
pub struct ObjectBucket {
    pub store: ObjectStore,
    /// 0 or less: none.
    pub max_bytes: i64,
    pub is_new: bool,
}

/// The server or the account has no room for a stream or bucket.
pub fn is_no_room(error: &anyhow::Error) -> bool {
    const CODES: [ErrorCode; 4] = [
        ErrorCode::STORAGE_RESOURCES_EXCEEDED,
        ErrorCode::INSUFFICIENT_RESOURCES,
        ErrorCode::ACCOUNT_RESOURCES_EXCEEDED,
        ErrorCode::CLUSTER_NO_PEERS,
    ];
    let refusals = error.chain().filter_map(|cause| cause.downcast_ref::<CreateStreamError>());
    refusals.map(CreateStreamError::kind).any(|kind| {
        matches!(kind, CreateStreamErrorKind::JetStream(answer) if CODES.contains(&answer.error_code()))
    })
}

/// A KV bucket, and the creation time by which a recreated one is recognized.
#[derive(Debug, Clone)]
pub struct OpenBucket {
    pub store: Store,
    pub created_ns: i128,
}

/// Subjects of a stream with the number of their messages.
#[derive(Debug, Clone, Default)]
pub struct StreamSubjects {
    /// At the broker.
    pub now_ns: i64,
    /// Of the whole stream.
    pub bytes: u64,
    pub subjects: BTreeMap<String, u64>,
}

/// Answer to a request for a stream's information: only what a list of subjects needs.
#[derive(Debug, Deserialize)]
struct RawSubjects {
    error: Option<jetstream::Error>,
    #[serde(default)]
    state: RawState,
    ts: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct RawState {
    #[serde(default)]
    bytes: u64,
    #[serde(default)]
    subjects: BTreeMap<String, u64>,
}

/// The stream does not exist.
pub fn is_missing(error: &GetStreamError) -> bool {
    matches!(error.kind(), GetStreamErrorKind::JetStream(answer) if answer.error_code() == ErrorCode::STREAM_NOT_FOUND)
}

/// Messages wait for a consumer and pull requests for messages, and no limit holds it back.
pub fn is_to_deliver(consumer: &ConsumerInfo) -> bool {
    let most = usize::try_from(consumer.config.max_ack_pending).ok().filter(|most| *most > 0);
    consumer.num_pending > 0
        && consumer.num_waiting > 0
        && !consumer.paused
        && most.is_none_or(|most| consumer.num_ack_pending < most)
}

/// Limits the wait for the broker; `what` completes "cannot ...".
pub async fn within<T>(what: impl Display, answer: impl Future<Output = T>) -> anyhow::Result<T> {
    let limit = limits::BROKER_TIMEOUT;
    timeout(limit, answer)
        .await
        .map_err(|_| anyhow!("cannot {what}: the broker did not answer within {} s", limit.as_secs()))
}
