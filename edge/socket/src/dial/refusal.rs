//! The reason why a proxy gives no connection.

use std::time::Duration;

#[derive(Debug)]
pub(super) struct ProxyRefusal {
    pub(super) reason: String,
    /// Asked again, it refuses again.
    pub(super) lasting: bool,
}

impl ProxyRefusal {
    pub(super) fn passing(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), lasting: false }
    }

    pub(super) fn lasting(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), lasting: true }
    }

    pub(super) fn no_answer(limit: Duration) -> Self {
        Self::passing(format!("the proxy gave no answer within {} ms", limit.as_millis()))
    }
}
