//! One request from budget to body.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use marketprism_adapter_host::contract::{Charge, Method, Request};
use marketprism_service::{error_text, mask};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use url::Url;

use super::{apply_refusal, charges_or_origin, retry_after};
use crate::budgets::Budgets;
use crate::counters::{Counters, SocketCounter, SocketCounters};
use crate::error::{BudgetError, RequestFailure, SocketError};
use crate::limits::{ANSWER_HEADERS_MAX, LARGE_MESSAGE_BYTES, LARGE_MESSAGES_AT_ONCE, SNIPPET_BYTES};
use crate::options::SocketOptions;
use crate::tls;

/// Changes the URL of a try just before it is sent.
pub(crate) type StampUrl<'a> = &'a mut (dyn FnMut(&mut Url) + Send);

/// Held as long as the answer is in memory.
#[derive(Debug)]
pub(crate) struct RequestSlot<'t> {
    /// One of the concurrent requests.
    _turn: Option<SemaphorePermit<'t>>,
    /// One of the large answers.
    _large: LargeSlot,
}

/// Taken once an answer is large.
type LargeSlot = Option<OwnedSemaphorePermit>;

#[derive(Debug, Clone)]
pub struct RestClient {
    client: reqwest::Client,
    options: Arc<SocketOptions>,
    counters: Arc<Counters>,
    /// Decompressed.
    body_bytes_max: usize,
    large_answers: Arc<Semaphore>,
}

pub fn http_client(options: &SocketOptions) -> Result<RestClient, SocketError> {
    RestClient::new(Arc::new(options.clone()), Arc::new(Counters::default()), options.body_max_bytes)
}

impl RestClient {
    pub(crate) fn new(
        options: Arc<SocketOptions>,
        counters: Arc<Counters>,
        body_bytes_max: usize,
    ) -> Result<Self, SocketError> {
        let large_answers = Arc::new(Semaphore::new(LARGE_MESSAGES_AT_ONCE));
        let tls = tls::client_config(&options.ca_files, &["h2", "http/1.1"])?;
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .user_agent(options.user_agent.as_str())
            .connect_timeout(options.connect_timeout + options.tls_timeout)
            // A redirect would use a host outside the charged budgets.
            .redirect(reqwest::redirect::Policy::none())
            .http1_max_headers(ANSWER_HEADERS_MAX)
            .build()
            .map_err(|error| SocketError::HttpClient(error_text(&error)))?;
        Ok(Self { client, options, counters, body_bytes_max, large_answers })
    }

    pub fn counters(&self) -> SocketCounters {
        self.counters.read()
    }

    /// Waits for the budgets and retries transient failures up to the options' number of tries. Answers
    /// 429, 418 and 403, and 5xx with `Retry-After`, block every charged budget.
    pub async fn fetch(&self, budgets: &Budgets, request: &Request) -> Result<Bytes, RequestFailure> {
        let turns = Semaphore::new(1);
        Ok(self.fetch_in_turn(budgets, request, &turns, &mut |_| {}).await?.0)
    }

    /// Like [`Self::fetch`], with a slot per try once its budgets are granted.
    pub(crate) async fn fetch_in_turn<'t>(
        &self,
        budgets: &Budgets,
        request: &Request,
        turns: &'t Semaphore,
        stamp: StampUrl<'_>,
    ) -> Result<(Bytes, RequestSlot<'t>), RequestFailure> {
        let prepared = self.prepare(request)?;
        let mut backoff = self.options.backoff.start();
        let mut tries = 1;
        loop {
            let failure = match self.attempt(budgets, &prepared, turns, stamp).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            // No retries while the venue blocks us for longer than the longest wait.
            let blocked = matches!(failure, RequestFailure::Budget(BudgetError::Blocked { .. }));
            if blocked || !failure.is_transient() || tries >= self.options.request_tries {
                return Err(failure);
            }
            // A blocked budget waits by itself, before the next try.
            let wait = backoff.pause();
            tracing::debug!(url = %prepared.label, tries, ?wait, %failure, "request failed, trying again");
            self.counters.count(retry_of(&failure));
            self.counters
                .add(SocketCounter::BackoffMicroseconds, u64::try_from(wait.as_micros()).unwrap_or(u64::MAX));
            tokio::time::sleep(wait).await;
            tries += 1;
        }
    }

    fn prepare(&self, request: &Request) -> Result<PreparedRequest, RequestFailure> {
        let (invalid, shown) = (RequestFailure::Invalid, mask(&request.url));
        let url = Url::parse(&request.url).map_err(|error| invalid(format!("url `{shown}`: {error}")))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(invalid(format!("url `{shown}`, allowed: http:// or https:// with a host")));
        }
        let mut headers = HeaderMap::new();
        for (name, value) in &request.headers {
            let bad = || RequestFailure::Invalid(format!("header `{name}: {value}`"));
            let parsed = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad())?;
            headers.append(parsed, HeaderValue::from_str(value).map_err(|_| bad())?);
        }
        let timeout = match request.timeout_ms {
            0 => self.options.request_timeout,
            given => Duration::from_millis(u64::from(given)),
        };
        let label = format!("{}{}", url.host_str().unwrap_or_default(), url.path());
        let body = request.body.clone().map(Bytes::from);
        let method = request.method;
        let charges = charges_or_origin(&request.charges, &url);
        Ok(PreparedRequest { method, url, headers, body, timeout, charges, label })
    }

    async fn attempt<'t>(
        &self,
        budgets: &Budgets,
        request: &PreparedRequest,
        turns: &'t Semaphore,
        stamp: StampUrl<'_>,
    ) -> Result<(Bytes, RequestSlot<'t>), RequestFailure> {
        let mut permit = budgets.reserve(&request.charges, self.options.budget_wait_max).await?;
        // After the budgets: a wait for one venue's budget must not hold a slot that others need.
        let turn = turns.acquire().await.ok();
        permit.begin_use();
        self.counters.count(SocketCounter::RequestTries);
        let mut url = request.url.clone();
        stamp(&mut url);
        let answer = tokio::time::timeout(request.timeout, self.exchange(request, url)).await;
        let failure = match answer {
            Ok(Ok((body, large))) => {
                budgets.served(&request.charges);
                return Ok((body, RequestSlot { _turn: turn, _large: large }));
            }
            Ok(Err(failure)) => failure,
            Err(_) => RequestFailure::Timeout(request.timeout),
        };
        match &failure {
            RequestFailure::Status { status, retry_after, .. } => {
                apply_refusal(budgets, &request.charges, &self.counters, *status, *retry_after);
            }
            RequestFailure::TooLarge { .. } => self.counters.count(SocketCounter::DiscardedAnswerTooLarge),
            _ => {}
        }
        Err(failure)
    }

    async fn exchange(
        &self,
        request: &PreparedRequest,
        url: Url,
    ) -> Result<(Bytes, LargeSlot), RequestFailure> {
        let method = match request.method {
            Method::Get => reqwest::Method::GET,
            Method::Post => reqwest::Method::POST,
        };
        let mut builder = self.client.request(method, url).headers(request.headers.clone());
        if let Some(body) = &request.body {
            builder = builder.body(body.clone());
        }
        let mut answer = builder.send().await.map_err(transport)?;
        let status = answer.status();
        if !status.is_success() {
            let retry_after = retry_after(answer.headers(), SystemTime::now());
            // An unreadable body must not hide the status.
            let snippet = read_snippet(&mut answer).await.unwrap_or_default();
            let snippet = String::from_utf8_lossy(&snippet).into_owned();
            return Err(RequestFailure::Status { status: status.as_u16(), snippet, retry_after });
        }
        self.read_body(&mut answer).await
    }

    async fn read_body(&self, answer: &mut reqwest::Response) -> Result<(Bytes, LargeSlot), RequestFailure> {
        let limit = self.body_bytes_max;
        if answer.content_length().is_some_and(|length| length > limit as u64) {
            return Err(RequestFailure::TooLarge { limit });
        }
        let (mut body, mut large) = (BytesMut::new(), None);
        while let Some(part) = answer.chunk().await.map_err(transport)? {
            if part.len() > limit - body.len() {
                return Err(RequestFailure::TooLarge { limit });
            }
            if large.is_none() && body.len() + part.len() > LARGE_MESSAGE_BYTES {
                large = Arc::clone(&self.large_answers).acquire_owned().await.ok();
            }
            body.extend_from_slice(&part);
        }
        Ok((body.freeze(), large))
    }
}

struct PreparedRequest {
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Option<Bytes>,
    timeout: Duration,
    charges: Vec<Charge>,
    label: String,
}

/// Begin of the body of a refusal.
async fn read_snippet(answer: &mut reqwest::Response) -> reqwest::Result<Vec<u8>> {
    let mut snippet = Vec::new();
    while snippet.len() < SNIPPET_BYTES
        && let Some(part) = answer.chunk().await?
    {
        snippet.extend_from_slice(
            part.get(..(SNIPPET_BYTES - snippet.len()).min(part.len())).unwrap_or_default(),
        );
    }
    Ok(snippet)
}

fn transport(error: reqwest::Error) -> RequestFailure {
    let (connect, timeout) = (error.is_connect(), error.is_timeout());
    // The URL can be long, and the caller knows it.
    let text = error_text(&error.without_url());
    match (connect, timeout) {
        (true, _) => RequestFailure::Connect(text),
        (false, true) => RequestFailure::Transport(format!("timeout: {text}")),
        (false, false) => RequestFailure::Transport(text),
    }
}

fn retry_of(failure: &RequestFailure) -> SocketCounter {
    match failure {
        RequestFailure::Status { status: 429, .. } => SocketCounter::RetriesRateLimited,
        RequestFailure::Status { status: 418, .. } => SocketCounter::RetriesBanned,
        RequestFailure::Status { status: 500..=599, .. } => SocketCounter::RetriesVenueError,
        RequestFailure::Timeout(_) => SocketCounter::RetriesTimeout,
        RequestFailure::Connect(_) => SocketCounter::RetriesConnect,
        RequestFailure::Transport(_) => SocketCounter::RetriesTransport,
        RequestFailure::Budget(_) => SocketCounter::RetriesBudget,
        RequestFailure::Status { .. } | RequestFailure::Invalid(_) | RequestFailure::TooLarge { .. } => {
            SocketCounter::RetriesStatus
        }
    }
}
