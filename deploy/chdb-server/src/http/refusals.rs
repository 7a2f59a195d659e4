//! Refused requests: status, ClickHouse's code and text, and their number by reason.

use std::fmt::Write as _;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use enum_map::{Enum, EnumMap};
use hyper::StatusCode;

use crate::engine::{Code, EngineError};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub enum RefusalReason {
    /// Not HTTP/1, or of unclear length.
    Request,
    Address,
    Headers,
    /// No whole head in time.
    HeadTimeout,
    /// Host or origin.
    Page,
    Path,
    Method,
    Login,
    /// All places are taken.
    Full,
    /// The statement was rejected or failed.
    Statement,
}

impl RefusalReason {
    const fn label(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Address => "address",
            Self::Headers => "headers",
            Self::HeadTimeout => "head_timeout",
            Self::Page => "page",
            Self::Path => "path",
            Self::Method => "method",
            Self::Login => "login",
            Self::Full => "full",
            Self::Statement => "statement",
        }
    }

    /// Of an error of the engine, or of a query that did not reach it.
    pub fn of_code(code: i32) -> Self {
        match code {
            code if code == Code::AUTHENTICATION_FAILED as i32 => Self::Login,
            code if code == Code::TOO_MANY_SIMULTANEOUS_QUERIES as i32 => Self::Full,
            _ => Self::Statement,
        }
    }
}

#[derive(Debug)]
pub struct Refusal {
    pub reason: RefusalReason,
    pub status: StatusCode,
    pub error: EngineError,
}

impl Refusal {
    pub fn new(reason: RefusalReason, status: StatusCode, code: Code, text: impl std::fmt::Display) -> Self {
        Self { reason, status, error: EngineError::new(code, text) }
    }
}

#[derive(Debug, Default)]
pub struct RefusalCounts(EnumMap<RefusalReason, AtomicU64>);

impl RefusalCounts {
    pub fn add(&self, reason: RefusalReason) {
        self.0[reason].fetch_add(1, Relaxed);
    }

    /// In the text form of Prometheus.
    pub fn exposed(&self) -> String {
        const NAME: &str = "marketprism_clickhouse_refused_requests_total";
        let mut text = format!("# HELP {NAME} Refused requests, by reason.\n# TYPE {NAME} counter\n");
        for (reason, count) in &self.0 {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{NAME}{{reason=\"{}\"}} {}", reason.label(), count.load(Relaxed));
        }
        text
    }
}
