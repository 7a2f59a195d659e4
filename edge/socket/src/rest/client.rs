//! One request from budget to body.

use std::error::Error;
use std::fmt::Write as _;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Incoming};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Request as Message, StatusCode, Uri};
use hyper_util::client::legacy::{Client, Error as HttpError};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use marketprism_adapter_host::contract::{Charge, Method, Request};
use marketprism_config::MaskedUrl;
use marketprism_service::{error_text, mask};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use url::Url;

use super::body::AnswerBody;
use super::connector::RequestConnector;
use super::{apply_refusal, charges_or_origin, refusal_text, retry_after};
use crate::budgets::Budgets;
use crate::counters::{Counters, SocketCounter, SocketCounters};
use crate::dial::{Dialer, late, login_refused};
use crate::error::{BudgetError, DialError, RequestFailure, SocketError};
use crate::limits::{
    ANSWER_HEADERS_MAX, IDLE_REQUESTS, LARGE_MESSAGE_BYTES, LARGE_MESSAGES_AT_ONCE, SNIPPET_BYTES,
};
use crate::options::SocketOptions;
use crate::proxy::{Proxy, basic_login};
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
    client: Client<RequestConnector, Full<Bytes>>,
    dialer: Arc<Dialer>,
    options: Arc<SocketOptions>,
    counters: Arc<Counters>,
    /// Decompressed.
    body_bytes_max: usize,
    large_answers: Arc<Semaphore>,
}

pub fn http_client(options: &SocketOptions) -> Result<RestClient, SocketError> {
    let dialer = Dialer::new(options, Arc::new(tls::client_config(&options.ca_files)?));
    let (options, counters) = (Arc::new(options.clone()), Arc::new(Counters::default()));
    let body_bytes_max = options.body_max_bytes;
    Ok(RestClient::new(Arc::new(dialer), options, counters, body_bytes_max))
}

impl RestClient {
    pub(crate) fn new(
        dialer: Arc<Dialer>,
        options: Arc<SocketOptions>,
        counters: Arc<Counters>,
        body_bytes_max: usize,
    ) -> Self {
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_REQUESTS)
            .http1_max_headers(ANSWER_HEADERS_MAX)
            // As HTTP/1 always wrote them: some proxies look for `Proxy-Authorization` letter by letter.
            .http1_title_case_headers(true)
            .build(RequestConnector(Arc::clone(&dialer)));
        let large_answers = Arc::new(Semaphore::new(LARGE_MESSAGES_AT_ONCE));
        Self { client, dialer, options, counters, body_bytes_max, large_answers }
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
        let mut reported: Option<RequestFailure> = None;
        loop {
            let failure = match self.attempt(budgets, &prepared, turns, stamp).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            // No retries while the venue blocks us for longer than the longest wait.
            let blocked = matches!(failure, RequestFailure::Budget(BudgetError::Blocked { .. }));
            if blocked || !failure.is_transient() {
                return Err(failure);
            }
            if tries >= self.options.request_tries {
                let earlier = reported.filter(|reported| reported.specificity() > failure.specificity());
                return Err(earlier.unwrap_or(failure));
            }
            // A blocked budget waits by itself, before the next try.
            let wait = backoff.pause();
            tracing::debug!(url = %prepared.label, tries, ?wait, %failure, "request failed, trying again");
            self.counters.count(retry_of(&failure));
            self.counters
                .add(SocketCounter::BackoffMicroseconds, u64::try_from(wait.as_micros()).unwrap_or(u64::MAX));
            if reported.as_ref().is_none_or(|reported| reported.specificity() <= failure.specificity()) {
                reported = Some(failure);
            }
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
        let exchange = pin!(self.exchange(request, &url));
        let failure = match tokio::time::timeout(request.timeout, exchange).await {
            Ok(Ok((body, large))) => {
                budgets.served(&request.charges);
                return Ok((body, RequestSlot { _turn: turn, _large: large }));
            }
            Ok(Err(failure)) => failure,
            Err(_) => self.timeout_failure(request, &url),
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

    /// A dial that takes too long has a cause to report.
    fn timeout_failure(&self, request: &PreparedRequest, url: &Url) -> RequestFailure {
        let limit = request.timeout;
        let dial = self.dialer.step(url);
        dial.map_or(RequestFailure::Timeout(limit), |step| step.because(late(limit)).into())
    }

    async fn exchange(
        &self,
        request: &PreparedRequest,
        url: &Url,
    ) -> Result<(Bytes, LargeSlot), RequestFailure> {
        let forwarder = self.dialer.forwarder(url);
        let answer = self.client.request(self.message(request, url, forwarder)?).await.map_err(transport)?;
        let (head, body) = answer.into_parts();
        let (status, headers) = (head.status, head.headers);
        if status == StatusCode::PROXY_AUTHENTICATION_REQUIRED
            && let Some(proxy) = forwarder
        {
            return Err(login_failure(proxy, url, &headers).into());
        }
        if !status.is_success() {
            let retry_after = retry_after(&headers, SystemTime::now());
            // An unreadable body must not hide the status.
            let mut snippet = refusal_text(status, &headers, &read_snippet(&headers, body).await);
            if let Some(proxy) = forwarder {
                let _ = write!(snippet, " (through proxy {proxy})");
            }
            return Err(RequestFailure::Status { status: status.as_u16(), snippet, retry_after });
        }
        self.read_body(&headers, body).await
    }

    fn message(
        &self,
        request: &PreparedRequest,
        url: &Url,
        forwarder: Option<&Proxy>,
    ) -> Result<Message<Full<Bytes>>, RequestFailure> {
        let invalid =
            |error: String| RequestFailure::Invalid(format!("url `{}`: {error}", mask(url.as_str())));
        let mut bare = url.clone();
        // They belong in a header; a URL with a host has room for none.
        let _ = (bare.set_username(""), bare.set_password(None));
        let uri: Uri = bare.as_str().parse().map_err(|error| invalid(format!("{error}")))?;
        let mut message = Message::new(Full::new(request.body.clone().unwrap_or_default()));
        *message.uri_mut() = uri;
        *message.method_mut() = match request.method {
            Method::Get => hyper::Method::GET,
            Method::Post => hyper::Method::POST,
        };
        let headers = message.headers_mut();
        let secret = |text: String| {
            let mut value = HeaderValue::try_from(text).map_err(|error| invalid(error.to_string()))?;
            value.set_sensitive(true);
            Ok::<_, RequestFailure>(value)
        };
        headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        let agent = HeaderValue::from_str(&self.options.user_agent);
        headers.insert(header::USER_AGENT, agent.map_err(|error| invalid(error.to_string()))?);
        if let Some((user, password)) = MaskedUrl::from(url.as_str()).take_user_info() {
            headers.insert(header::AUTHORIZATION, secret(basic_login(&user, &password))?);
        }
        if let Some(login) = forwarder.and_then(|proxy| proxy.login.as_ref()) {
            headers.insert(header::PROXY_AUTHORIZATION, secret(login.basic())?);
        }
        for name in request.headers.keys() {
            headers.remove(name);
        }
        headers.extend(request.headers.clone());
        Ok(message)
    }

    async fn read_body(
        &self,
        headers: &HeaderMap,
        mut body: Incoming,
    ) -> Result<(Bytes, LargeSlot), RequestFailure> {
        let (limit, is_packed) = (self.body_bytes_max, is_packed(headers)?);
        if !is_packed && body.size_hint().exact().is_some_and(|length| length > limit as u64) {
            return Err(RequestFailure::TooLarge { limit });
        }
        let (mut answer, mut large) = (AnswerBody::new(is_packed, limit), None);
        while let Some(frame) = body.frame().await {
            let Ok(mut part) = frame.map_err(|error| broken(&error))?.into_data() else { continue };
            while !part.is_empty() {
                let added = answer.add(&mut part);
                if answer.overflowed() {
                    return Err(RequestFailure::TooLarge { limit });
                }
                added.map_err(|error| broken(&error))?;
                if large.is_none() && answer.len() > LARGE_MESSAGE_BYTES {
                    large = Arc::clone(&self.large_answers).acquire_owned().await.ok();
                }
            }
        }
        let whole = answer.finish();
        if answer.overflowed() {
            return Err(RequestFailure::TooLarge { limit });
        }
        Ok((whole.map_err(|error| broken(&error))?, large))
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

/// Begin of the body of a refusal, as far as it can be read.
async fn read_snippet(headers: &HeaderMap, mut body: Incoming) -> Vec<u8> {
    let mut answer = AnswerBody::new(is_packed(headers).unwrap_or(false), LARGE_MESSAGE_BYTES);
    while answer.len() < SNIPPET_BYTES
        && let Some(Ok(frame)) = body.frame().await
        && let Ok(mut part) = frame.into_data()
    {
        while !part.is_empty() && answer.len() < SNIPPET_BYTES && answer.add(&mut part).is_ok() {}
    }
    let whole = answer.so_far();
    whole.get(..SNIPPET_BYTES).unwrap_or(whole).to_vec()
}

fn is_packed(headers: &HeaderMap) -> Result<bool, RequestFailure> {
    let coding = headers.get(header::CONTENT_ENCODING).map(HeaderValue::as_bytes).unwrap_or_default();
    let coding = coding.trim_ascii().to_ascii_lowercase();
    match coding.as_slice() {
        b"" | b"identity" => Ok(false),
        b"gzip" | b"x-gzip" => Ok(true),
        other => {
            let other = String::from_utf8_lossy(other);
            Err(RequestFailure::Transport(format!("content-encoding {other:?}, asked for: gzip")))
        }
    }
}

fn login_failure(proxy: &Proxy, url: &Url, headers: &HeaderMap) -> DialError {
    let offered = headers.get_all(header::PROXY_AUTHENTICATE);
    let offered: Vec<&str> = offered.iter().filter_map(|challenge| challenge.to_str().ok()).collect();
    let (host, port) = (url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or_default());
    DialError::Proxy {
        target: format!("{host}:{port}"),
        proxy: proxy.to_string(),
        reason: login_refused(proxy.login.is_some(), &offered),
        lasting: true,
    }
}

fn broken(error: &(dyn Error + 'static)) -> RequestFailure {
    RequestFailure::Transport(error_text(error))
}

fn transport(error: HttpError) -> RequestFailure {
    let mut cause = error.source();
    while let Some(found) = cause {
        if let Some(dial) = found.downcast_ref::<DialError>() {
            return dial.clone().into();
        }
        cause = found.source();
    }
    broken(&error)
}

fn retry_of(failure: &RequestFailure) -> SocketCounter {
    match failure {
        RequestFailure::Status { status: 429, .. } => SocketCounter::RetriesRateLimited,
        RequestFailure::Status { status: 418, .. } => SocketCounter::RetriesBanned,
        RequestFailure::Status { status: 500..=599, .. } => SocketCounter::RetriesVenueError,
        RequestFailure::Timeout(_) => SocketCounter::RetriesTimeout,
        RequestFailure::Dial(DialError::Proxy { .. }) => SocketCounter::RetriesProxy,
        RequestFailure::Dial(_) => SocketCounter::RetriesConnect,
        RequestFailure::Transport(_) => SocketCounter::RetriesTransport,
        RequestFailure::Budget(_) => SocketCounter::RetriesBudget,
        RequestFailure::Status { .. } | RequestFailure::Invalid(_) | RequestFailure::TooLarge { .. } => {
            SocketCounter::RetriesStatus
        }
    }
}
