//! One request from budget to body.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use marketprism_adapter_host::contract::{Charge, Method, Request};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use url::Url;

use super::retry_after;
use crate::backoff::Backoff;
use crate::budgets::Budgets;
use crate::counters::{Counted, Counters, SocketCounters};
use crate::error::{RequestFailure, SocketError, chain};
use crate::limits::{BAN_DEFAULT, FORBIDDEN_DEFAULT, RATE_LIMITED_DEFAULT, SNIPPET_BYTES};
use crate::options::SocketOptions;
use crate::tls;

/// Sends requests when their budgets have room. Clones share connections and counters.
#[derive(Debug, Clone)]
pub struct RestClient {
    client: reqwest::Client,
    options: Arc<SocketOptions>,
    counters: Arc<Counters>,
}

/// A REST client with these limits and these trusted authorities.
///
/// # Errors
/// A CA file that cannot be used, or a configuration that the TLS or HTTP library refuses.
pub fn http_client(options: &SocketOptions) -> Result<RestClient, SocketError> {
    RestClient::new(Arc::new(options.clone()), Arc::new(Counters::default()))
}

impl RestClient {
    pub(crate) fn new(options: Arc<SocketOptions>, counters: Arc<Counters>) -> Result<Self, SocketError> {
        let tls = tls::client_config(&options.ca_files, &["h2", "http/1.1"])?;
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .user_agent(options.user_agent.as_str())
            .connect_timeout(options.connect_timeout + options.tls_timeout)
            // A redirect would leave the budgets that the plan charges.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| SocketError::HttpClient(chain(&error)))?;
        Ok(Self { client, options, counters })
    }

    /// What this client's requests came to.
    pub fn counters(&self) -> SocketCounters {
        self.counters.read()
    }

    /// Sends a request when its budgets have room, and again after failures that may pass, up to the options'
    /// number of tries. Answers 429, 418 and 403 keep everything that draws on the same budgets away for the
    /// time the venue names.
    ///
    /// # Errors
    /// The failure of the last try.
    pub async fn fetch(&self, budgets: &Budgets, request: &Request) -> Result<Bytes, RequestFailure> {
        let prepared = self.prepare(request)?;
        let mut backoff = Backoff::new(self.options.backoff);
        let mut tries = 1;
        loop {
            let failure = match self.attempt(budgets, &prepared, tries).await {
                Ok(body) => return Ok(body),
                Err(failure) => failure,
            };
            if !failure.is_transient() || tries >= self.options.request_tries {
                return Err(failure);
            }
            // The wait for a blocked budget happens in the budget itself.
            let wait = backoff.failed().max(venue_wait(&failure));
            tracing::debug!(url = %prepared.label, tries, ?wait, %failure, "request failed, trying again");
            self.counters.count(Counted::RequestRetries);
            tokio::time::sleep(wait).await;
            tries += 1;
        }
    }

    fn prepare(&self, request: &Request) -> Result<Prepared, RequestFailure> {
        let invalid = |what: String| RequestFailure::Invalid(what);
        let url =
            Url::parse(&request.url).map_err(|error| invalid(format!("url `{}`: {error}", request.url)))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(invalid(format!("url `{}`, allowed: http or https with a host", request.url)));
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
        Ok(Prepared { method, url, headers, body, timeout, charges, label })
    }

    async fn attempt(
        &self,
        budgets: &Budgets,
        request: &Prepared,
        tries: u32,
    ) -> Result<Bytes, RequestFailure> {
        let mut permit = budgets.reserve(&request.charges, self.options.budget_wait_max).await?;
        permit.begin_use();
        self.counters.count(Counted::RequestTries);
        let answer = tokio::time::timeout(request.timeout, self.exchange(request)).await;
        let failure = match answer {
            Ok(Ok(body)) => return Ok(body),
            Ok(Err(failure)) => failure,
            Err(_) => RequestFailure::Timeout(request.timeout),
        };
        match &failure {
            RequestFailure::Status { status, retry_after, .. } => {
                learn(budgets, &request.charges, &self.counters, *status, *retry_after, tries);
            }
            RequestFailure::TooLarge { .. } => self.counters.count(Counted::DiscardedAnswerTooLarge),
            _ => {}
        }
        Err(failure)
    }

    async fn exchange(&self, request: &Prepared) -> Result<Bytes, RequestFailure> {
        let method = match request.method {
            Method::Get => reqwest::Method::GET,
            Method::Post => reqwest::Method::POST,
        };
        let mut builder = self.client.request(method, request.url.clone()).headers(request.headers.clone());
        if let Some(body) = &request.body {
            builder = builder.body(body.clone());
        }
        let mut answer = builder.send().await.map_err(transport)?;
        let status = answer.status();
        if !status.is_success() {
            let retry_after = retry_after(answer.headers(), SystemTime::now());
            // The status is what counts: a body that cannot be read must not hide it.
            let snippet = read_body(&mut answer, SNIPPET_BYTES, true).await.unwrap_or_default();
            let snippet = String::from_utf8_lossy(&snippet).into_owned();
            return Err(RequestFailure::Status { status: status.as_u16(), snippet, retry_after });
        }
        read_body(&mut answer, self.options.body_max_bytes, false).await
    }
}

/// A request whose parts were checked.
struct Prepared {
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Option<Bytes>,
    timeout: Duration,
    charges: Vec<Charge>,
    /// Host and path, for logs.
    label: String,
}

/// What a request draws on. One that draws on nothing is still kept away from a host that told us to stay
/// away.
fn charges_or_origin(charges: &[Charge], url: &Url) -> Vec<Charge> {
    if charges.is_empty() {
        return vec![Charge { budget: url.origin().ascii_serialization(), units: 0 }];
    }
    charges.to_vec()
}

/// Reads at most `limit` bytes of a body: the rest is an error, or left unread when `cut`.
async fn read_body(answer: &mut reqwest::Response, limit: usize, cut: bool) -> Result<Bytes, RequestFailure> {
    if !cut && answer.content_length().is_some_and(|length| length > limit as u64) {
        return Err(RequestFailure::TooLarge { limit });
    }
    let mut body = BytesMut::new();
    while let Some(part) = answer.chunk().await.map_err(transport)? {
        let room = limit - body.len();
        if part.len() > room && !cut {
            return Err(RequestFailure::TooLarge { limit });
        }
        body.extend_from_slice(part.get(..room.min(part.len())).unwrap_or_default());
        if cut && body.len() == limit {
            break;
        }
    }
    Ok(body.freeze())
}

fn transport(error: reqwest::Error) -> RequestFailure {
    let (connect, timeout) = (error.is_connect(), error.is_timeout());
    // The URL can be long and the caller knows it.
    let text = chain(&error.without_url());
    match (connect, timeout) {
        (true, _) => RequestFailure::Connect(text),
        (false, true) => RequestFailure::Transport(format!("timeout: {text}")),
        (false, false) => RequestFailure::Transport(text),
    }
}

/// The venue's own wish for a single request (503 with `Retry-After`); blocks are kept by the budgets.
fn venue_wait(failure: &RequestFailure) -> Duration {
    match failure {
        RequestFailure::Status { status: 500..=599, retry_after: Some(wait), .. } => (*wait).min(BAN_DEFAULT),
        _ => Duration::ZERO,
    }
}

/// Counts an error status and keeps the whole budget group away as the venue wants. `tries` counts from 1.
pub(crate) fn learn(
    budgets: &Budgets,
    charges: &[Charge],
    counters: &Counters,
    status: u16,
    retry_after: Option<Duration>,
    tries: u32,
) {
    let (counted, default) = match status {
        429 => {
            let factor = 2u32.saturating_pow(tries.saturating_sub(1).min(16));
            (Counted::RateLimited, RATE_LIMITED_DEFAULT.saturating_mul(factor))
        }
        418 => (Counted::Banned, BAN_DEFAULT),
        403 => (Counted::Forbidden, FORBIDDEN_DEFAULT),
        500..=599 => {
            counters.count(Counted::VenueErrors);
            return;
        }
        _ => return,
    };
    counters.count(counted);
    let time = retry_after.unwrap_or(default);
    for charge in charges {
        tracing::warn!(budget = %charge.budget, status, ?time, "the venue told us to stay away");
        budgets.block(&charge.budget, time);
    }
}
