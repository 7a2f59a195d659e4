//! The span of an operation that takes its time: begun now, ended later, with steps.

use std::fmt::Display;
use std::sync::{Mutex, PoisonError};

use marketprism_service::clock;
use opentelemetry_proto::tonic::common::v1::KeyValue;

use crate::span::{SpanContext, SpanKind, SpanRecord, attribute, numeric};
use crate::tracer::Tracer;

/// Most steps of one operation.
const STEPS_MAX: usize = 64;

/// Without a collector it holds nothing. Dropped without an end, the operation was given up.
#[derive(Debug, Default)]
pub struct OperationSpan(Option<Box<OpenSpan>>);

#[derive(Debug)]
struct OpenSpan {
    tracer: &'static Tracer,
    name: &'static str,
    context: SpanContext,
    started_ns: i64,
    state: Mutex<OpenState>,
}

#[derive(Debug, Default)]
struct OpenState {
    attributes: Vec<KeyValue>,
    /// With its start.
    step: Option<(String, i64)>,
    steps: usize,
}

impl OperationSpan {
    pub(crate) fn start(tracer: &'static Tracer, name: &'static str) -> Self {
        Self(tracer.is_on().then(|| {
            Box::new(OpenSpan {
                tracer,
                name,
                context: SpanContext::random(),
                started_ns: clock::now_ns(),
                state: Mutex::default(),
            })
        }))
    }

    pub fn text(&self, key: &str, value: &str) -> &Self {
        self.add(|| attribute(key, value))
    }

    pub fn number(&self, key: &str, value: impl TryInto<i64>) -> &Self {
        self.add(|| numeric(key, value))
    }

    fn add(&self, attribute: impl FnOnce() -> KeyValue) -> &Self {
        if let Some(open) = &self.0 {
            open.state.lock().unwrap_or_else(PoisonError::into_inner).attributes.push(attribute());
        }
        self
    }

    /// The next step begins, and the one before ends; the one that runs goes on.
    pub fn step(&self, name: &str) {
        if let Some(open) = &self.0 {
            open.next_step(Some(name));
        }
    }

    pub fn end<T, E: Display>(mut self, result: &Result<T, E>) {
        if let Some(open) = self.0.take() {
            (*open).end(result.as_ref().err().map(|error| format!("{error:#}")));
        }
    }
}

impl Drop for OperationSpan {
    fn drop(&mut self) {
        if let Some(open) = self.0.take() {
            (*open).end(Some("given up".to_owned()));
        }
    }
}

impl OpenSpan {
    fn next_step(&self, name: Option<&str>) {
        let now_ns = clock::now_ns();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.step.as_ref().map(|(running, _)| running.as_str()) == name {
            return;
        }
        let next = name.filter(|_| state.steps < STEPS_MAX).map(|name| (name.to_owned(), now_ns));
        state.steps += usize::from(next.is_some());
        if let Some((name, from_ns)) = std::mem::replace(&mut state.step, next) {
            let context = self.context.child();
            self.tracer.send(SpanRecord::new(name, SpanKind::Internal, context, (from_ns, now_ns)));
        }
    }

    fn end(self, error: Option<String>) {
        self.next_step(None);
        let Self { tracer, name, context, started_ns, state } = self;
        let attributes = state.into_inner().unwrap_or_else(PoisonError::into_inner).attributes;
        let span = SpanRecord::new(name, SpanKind::Internal, context, (started_ns, clock::now_ns()));
        let span = attributes.into_iter().fold(span, SpanRecord::with);
        tracer.send(match error {
            Some(error) => span.error(&error),
            None => span,
        });
    }
}
