//! Headers by which a browser lets a page of an allowed origin read answers.

use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ALLOW, HeaderName, HeaderValue, VARY,
};
use hyper::{Response, StatusCode};

use super::response::{Body, plain};

const METHODS: &str = "GET, HEAD, POST, OPTIONS";
/// Request headers that ClickHouse's clients in pages send.
const HEADERS: &str = "authorization, content-type, content-encoding, x-requested-with, x-clickhouse-user, \
                       x-clickhouse-key, x-clickhouse-database, x-clickhouse-format";
const EXPOSED: &str = "x-clickhouse-exception-code, x-clickhouse-exception-tag, x-clickhouse-format, \
                       x-clickhouse-query-id, x-clickhouse-server-display-name, x-clickhouse-summary, x-clickhouse-timezone";
const DAY_SECONDS: &str = "86400";
/// A page of the public network asks for an address of a private one.
const ALLOW_PRIVATE: HeaderName = HeaderName::from_static("access-control-allow-private-network");

/// Answer to OPTIONS: to a preflight if a page of an allowed origin sent it.
pub fn options(origin: Option<&HeaderValue>) -> Response<Body> {
    let mut response = plain(StatusCode::NO_CONTENT, "");
    let headers = response.headers_mut();
    headers.insert(ALLOW, HeaderValue::from_static(METHODS));
    if origin.is_some() {
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(METHODS));
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(HEADERS));
        headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(DAY_SECONDS));
        headers.insert(ALLOW_PRIVATE, HeaderValue::from_static("true"));
    }
    response
}

/// Lets pages of the origin read the response.
pub fn open_to(origin: HeaderValue, response: &mut Response<Body>) {
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
    headers.append(VARY, HeaderValue::from_static("origin"));
}
