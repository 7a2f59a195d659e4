//! An OpenTelemetry collector that takes traces over OTLP/HTTP and keeps them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::broker::free_port;

#[derive(Debug, Clone)]
pub struct CollectedSpan {
    /// `service.name` and `service.instance.id`.
    pub service: String,
    pub instance: String,
    pub trace: Vec<u8>,
    pub id: Vec<u8>,
    /// Empty: a root.
    pub parent: Vec<u8>,
    pub name: String,
    pub times: (u64, u64),
    pub attributes: BTreeMap<String, String>,
    pub error: Option<String>,
}

/// Answer to one request.
#[derive(Debug, Clone, Copy)]
pub enum CollectorAnswer {
    Status(u16),
    /// 429, with `Retry-After` in seconds.
    Busy(u32),
    /// Taken, but for so many spans.
    Rejected(i64),
    Never,
}

#[derive(Debug, Default)]
struct Collected {
    spans: Vec<CollectedSpan>,
    authorizations: Vec<String>,
    arrivals: Vec<Instant>,
    answers: VecDeque<CollectorAnswer>,
}

#[derive(Debug)]
pub struct TraceCollector {
    port: u16,
    collected: Arc<Mutex<Collected>>,
    task: Option<JoinHandle<()>>,
}

impl TraceCollector {
    /// With a port, where nothing listens yet.
    pub fn prepared() -> Self {
        Self { port: free_port(), collected: Arc::default(), task: None }
    }

    pub async fn start() -> Self {
        let mut collector = Self::prepared();
        collector.listen().await;
        collector
    }

    pub async fn listen(&mut self) {
        let listener = TcpListener::bind(("127.0.0.1", self.port)).await.unwrap();
        let app = Router::new().route("/v1/traces", post(take)).with_state(Arc::clone(&self.collected));
        self.task = Some(tokio::spawn(async move { axum::serve(listener, app).await.unwrap() }));
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}/v1/traces", self.port)
    }

    /// Answers of the next requests; then all are taken.
    pub fn answer_next(&self, answers: &[CollectorAnswer]) {
        self.collected.lock().unwrap().answers.extend(answers);
    }

    pub fn spans(&self) -> Vec<CollectedSpan> {
        self.collected.lock().unwrap().spans.clone()
    }

    /// Spans of a name of a service.
    pub fn named(&self, service: &str, name: &str) -> Vec<CollectedSpan> {
        let mut spans = self.spans();
        spans.retain(|span| span.service == service && span.name == name);
        spans
    }

    /// Spans below this one.
    pub fn children(&self, of: &CollectedSpan) -> Vec<CollectedSpan> {
        let mut spans = self.spans();
        spans.retain(|span| span.trace == of.trace && span.parent == of.id);
        spans
    }

    /// Headers `Authorization` of the requests.
    pub fn authorizations(&self) -> Vec<String> {
        self.collected.lock().unwrap().authorizations.clone()
    }

    /// Times of the requests.
    pub fn arrivals(&self) -> Vec<Instant> {
        self.collected.lock().unwrap().arrivals.clone()
    }
}

impl Drop for TraceCollector {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

type Answer = (StatusCode, [(HeaderName, String); 1], Vec<u8>);

async fn take(State(collected): State<Arc<Mutex<Collected>>>, headers: HeaderMap, body: Bytes) -> Answer {
    match answer(&collected, &headers, body) {
        Some(answer) => answer,
        None => std::future::pending().await,
    }
}

fn answer(collected: &Mutex<Collected>, headers: &HeaderMap, body: Bytes) -> Option<Answer> {
    let mut collected = collected.lock().unwrap();
    let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    assert_eq!(header("content-type").as_deref(), Some("application/x-protobuf"));
    collected.authorizations.extend(header("authorization"));
    collected.arrivals.push(Instant::now());
    let form = [(CONTENT_TYPE, "application/x-protobuf".to_owned())];
    let answer = collected.answers.pop_front().unwrap_or(CollectorAnswer::Rejected(0));
    let rejected_spans = match answer {
        CollectorAnswer::Status(status) => {
            return Some((StatusCode::from_u16(status).unwrap(), form, Vec::new()));
        }
        CollectorAnswer::Busy(seconds) => {
            let wait = [(RETRY_AFTER, seconds.to_string())];
            return Some((StatusCode::TOO_MANY_REQUESTS, wait, Vec::new()));
        }
        CollectorAnswer::Rejected(spans) => spans,
        CollectorAnswer::Never => return None,
    };
    for of_resource in ExportTraceServiceRequest::decode(body).unwrap().resource_spans {
        let resource = attributes(&of_resource.resource.unwrap().attributes);
        for span in of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            collected.spans.push(collected_span(&resource, span));
        }
    }
    let partial_success =
        Some(ExportTracePartialSuccess { rejected_spans, error_message: "too many".to_owned() });
    Some((StatusCode::OK, form, ExportTraceServiceResponse { partial_success }.encode_to_vec()))
}

fn collected_span(resource: &BTreeMap<String, String>, span: Span) -> CollectedSpan {
    assert_eq!((span.trace_id.len(), span.span_id.len()), (16, 8));
    CollectedSpan {
        service: resource["service.name"].clone(),
        instance: resource["service.instance.id"].clone(),
        attributes: attributes(&span.attributes),
        trace: span.trace_id,
        id: span.span_id,
        parent: span.parent_span_id,
        name: span.name,
        times: (span.start_time_unix_nano, span.end_time_unix_nano),
        error: span.status.map(|status| status.message),
    }
}

fn attributes(pairs: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |pair: &KeyValue| match pair.value.clone().unwrap().value.unwrap() {
        Value::StringValue(text) => text,
        Value::IntValue(number) => number.to_string(),
        Value::BoolValue(flag) => flag.to_string(),
        other => panic!("{other:?}"),
    };
    pairs.iter().map(|pair| (pair.key.clone(), text(pair))).collect()
}
