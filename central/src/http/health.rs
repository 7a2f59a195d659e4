//! What `/health` and `/ready` answer.

use std::time::Duration;

use axum::http::StatusCode;
use serde_json::{Value, json};

/// `/health`: healthy when nothing is wrong, and in the first seconds after the start whatever is wrong, which the answer then says.
pub fn health(reasons: &[String], age: Duration, grace: Duration) -> (StatusCode, Value) {
    if reasons.is_empty() {
        return (StatusCode::OK, json!({ "status": "healthy" }));
    }
    if age < grace {
        return (StatusCode::OK, json!({ "status": "healthy", "grace": true, "reasons": reasons }));
    }
    (StatusCode::SERVICE_UNAVAILABLE, json!({ "status": "unhealthy", "reasons": reasons }))
}

/// `/ready`: messages are taken and stored at this moment.
pub fn ready(reasons: &[String]) -> (StatusCode, Value) {
    if reasons.is_empty() {
        return (StatusCode::OK, json!({ "status": "ready" }));
    }
    (StatusCode::SERVICE_UNAVAILABLE, json!({ "status": "not ready", "reasons": reasons }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: trouble counts against health only after the grace, against readiness at once, and is always named.
    #[test]
    fn grace_covers_health_and_not_readiness() {
        let (none, some) = ([], ["clickhouse: away".to_owned()]);
        let [second, grace] = [1, 120].map(Duration::from_secs);
        assert_eq!(health(&none, second, grace).0, StatusCode::OK);
        let (status, body) = health(&some, second, grace);
        assert_eq!(
            (status, &body["grace"], &body["reasons"][0]),
            (StatusCode::OK, &json!(true), &json!(some[0]))
        );
        assert_eq!(health(&some, grace, grace).0, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(ready(&some).0, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(ready(&none).0, StatusCode::OK);
    }
}
