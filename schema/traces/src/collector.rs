//! Requests to the collector: OTLP over HTTP with protobuf.

use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use marketprism_service::{error_text, tls_client, tls_problem};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message as _;
use tokio::time::timeout;

use crate::settings::TraceSettings;

/// Largest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Longest pause that the collector's `Retry-After` asks for. The queue of spans is full long before.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);

/// End of a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ExportResult {
    /// The number of spans that it refused, with its reason.
    Taken { refused: u64, reason: String },
    /// It will never take these spans.
    Refused(String),
    /// It may take them later; not before the time that it names.
    Unreachable { reason: String, retry_after: Option<Duration> },
}

pub(crate) struct Collector {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    endpoint: Uri,
    authorization: Option<HeaderValue>,
    timeout: Duration,
}

impl Collector {
    pub(crate) fn new(settings: &TraceSettings, endpoint: &str) -> anyhow::Result<Self> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        let tls = tls_client(settings.ca_file.as_deref(), None).context("TLS to the collector of traces")?;
        let builder = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
        let header = |secret: &marketprism_config::Secret| {
            let mut value = HeaderValue::from_str(secret.reveal()).context("traces.authorization_file")?;
            value.set_sensitive(true);
            anyhow::Ok(value)
        };
        Ok(Self {
            // Without a timer idle connections stay open.
            client: Client::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .build(builder.enable_http1().wrap_connector(tcp)),
            endpoint: endpoint.parse().context("traces.endpoint")?,
            authorization: settings.authorization.as_ref().map(header).transpose()?,
            timeout: settings.timeout,
        })
    }

    /// Sends encoded spans, within the timeout.
    pub(crate) async fn send(&self, body: Bytes) -> ExportResult {
        match timeout(self.timeout, self.exchange(body)).await {
            Ok(result) => result,
            Err(_elapsed) => unreachable(format!("no answer within {:?}", self.timeout)),
        }
    }

    async fn exchange(&self, body: Bytes) -> ExportResult {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.endpoint.clone();
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        if let Some(authorization) = &self.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        let answer = match self.client.request(request).await {
            Ok(answer) => answer,
            Err(error) => {
                return unreachable(tls_problem(&error).unwrap_or_else(|| error_text(&error)));
            }
        };
        let (status, retry_after) = (answer.status(), retry_after(answer.headers(), SystemTime::now()));
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        match status {
            status if status.is_success() => taken(&body),
            // The statuses that the protocol lets be tried again.
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => {
                ExportResult::Unreachable { reason: format!("it answers {status}"), retry_after }
            }
            status => ExportResult::Refused(format!("it answers {status}")),
        }
    }
}

const fn unreachable(reason: String) -> ExportResult {
    ExportResult::Unreachable { reason, retry_after: None }
}

/// Seconds or a date.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(text).ok()?.duration_since(now).unwrap_or_default(),
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

fn taken(body: &[u8]) -> ExportResult {
    // Some collectors answer with another body: the status counts.
    let answer = ExportTraceServiceResponse::decode(body).unwrap_or_default();
    let part = answer.partial_success.unwrap_or_default();
    let refused = u64::try_from(part.rejected_spans).unwrap_or_default();
    ExportResult::Taken { refused, reason: part.error_message }
}
