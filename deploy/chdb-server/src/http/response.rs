//! Heads and bodies of responses, and the HTTP status of errors.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, SizeHint};
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue, VARY, WWW_AUTHENTICATE};
use hyper::{Response, StatusCode};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::oneshot;

use super::compression::Encoder;
use super::native_rewriter::NativeRewriter;
use crate::engine::{CancelGuard, Code, Counts, EngineError, QueryResult};
use crate::limits::RESPONSE_CHUNK;

pub type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Header with the tag of an error inside the body.
pub const EXCEPTION_TAG: HeaderName = HeaderName::from_static("x-clickhouse-exception-tag");
pub const EXCEPTION_CODE: HeaderName = HeaderName::from_static("x-clickhouse-exception-code");
const QUERY_ID: HeaderName = HeaderName::from_static("x-clickhouse-query-id");
const FORMAT: HeaderName = HeaderName::from_static("x-clickhouse-format");
const TIMEZONE: HeaderName = HeaderName::from_static("x-clickhouse-timezone");
const SUMMARY: HeaderName = HeaderName::from_static("x-clickhouse-summary");
const SERVER: HeaderName = HeaderName::from_static("x-clickhouse-server-display-name");

pub const SERVER_NAME: &str = "marketprism-clickhouse";

pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A body that keeps something until it is dropped.
struct HoldingBody<T> {
    body: Body,
    _held: T,
}

impl<T: Unpin> hyper::body::Body for HoldingBody<T> {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

pub fn holding(body: Body, held: impl Send + Unpin + 'static) -> Body {
    HoldingBody { body, _held: held }.boxed_unsync()
}

pub fn plain(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = Response::new(full(text.to_owned()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=UTF-8"));
    name_server(&mut response);
    response
}

fn name_server(response: &mut Response<Body>) {
    response.headers_mut().insert(SERVER, HeaderValue::from_static(SERVER_NAME));
}

/// Sets a header; an invalid value (a query id with a line break) is left out.
fn set(response: &mut Response<Body>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// Values for the head of a response.
#[derive(Debug, Clone, Default)]
pub struct ResponseHead {
    pub query_id: String,
    /// `None` for statements without rows.
    pub format: Option<String>,
    pub content_type: String,
    pub coding: Option<&'static str>,
    pub timezone: String,
    pub version: String,
}

impl ResponseHead {
    fn apply(&self, response: &mut Response<Body>, counts: Option<&Counts>) {
        name_server(response);
        set(response, QUERY_ID, &self.query_id);
        set(response, TIMEZONE, &self.timezone);
        if let Some(format) = &self.format {
            set(response, FORMAT, format);
        }
        if let Some(counts) = counts {
            set(response, SUMMARY, &summary(counts));
        }
    }

    /// A response with a complete, already encoded body.
    pub fn whole(&self, body: impl Into<Bytes>, counts: &Counts) -> Response<Body> {
        let mut response = Response::new(full(body));
        self.apply(&mut response, Some(counts));
        self.describe_body(&mut response);
        response
    }

    /// A response whose body is still being produced. `tag` marks an error in it; `counts` are known when
    /// the query has ended.
    pub fn streamed(&self, body: Body, tag: &str, counts: Option<&Counts>) -> Response<Body> {
        let mut response = Response::new(body);
        self.apply(&mut response, counts);
        self.describe_body(&mut response);
        set(&mut response, EXCEPTION_TAG, tag);
        response
    }

    fn describe_body(&self, response: &mut Response<Body>) {
        set(response, CONTENT_TYPE, &self.content_type);
        if let Some(coding) = self.coding {
            set(response, CONTENT_ENCODING, coding);
            set(response, VARY, "accept-encoding");
        }
    }

    pub fn failed(&self, error: &EngineError) -> Response<Body> {
        self.failed_with(error_status(error.code), error)
    }

    /// An error response with a status of its own.
    pub fn failed_with(&self, status: StatusCode, error: &EngineError) -> Response<Body> {
        let mut response = Response::new(full(error_text(error, &self.version)));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=UTF-8"));
        ResponseHead { format: None, ..self.clone() }.apply(&mut response, None);
        set(&mut response, EXCEPTION_CODE, &error.code.to_string());
        if response.status() == StatusCode::UNAUTHORIZED {
            set(&mut response, WWW_AUTHENTICATE, "Basic realm=\"ClickHouse server HTTP API\"");
        }
        response
    }
}

/// The counts in ClickHouse's form: a JSON object of strings.
fn summary(c: &Counts) -> String {
    // An insert's rows count as its result, as in a server.
    let (rows, bytes) =
        if c.written_rows > 0 { (c.written_rows, c.written_bytes) } else { (c.result_rows, c.result_bytes) };
    format!(
        "{{\"read_rows\":\"{}\",\"read_bytes\":\"{}\",\"written_rows\":\"{}\",\"written_bytes\":\"{}\",\
         \"total_rows_to_read\":\"0\",\"result_rows\":\"{rows}\",\"result_bytes\":\"{bytes}\",\
         \"elapsed_ns\":\"{}\"}}",
        c.read_rows.max(c.written_rows),
        c.read_bytes.max(c.written_bytes),
        c.written_rows,
        c.written_bytes,
        c.elapsed.as_nanos()
    )
}

/// An error after the start of the body, in the form that clients look for since ClickHouse 25.11.
fn exception_block(error: &EngineError, version: &str, tag: &str) -> Bytes {
    let text = error_text(error, version);
    let length = text.len();
    Bytes::from(format!("\r\n__exception__\r\n{tag}\r\n{text}{length} {tag}\r\n__exception__\r\n"))
}

/// Result bytes: a pipe while the engine writes them, a file after that.
pub type Source = Box<dyn AsyncRead + Send + Unpin>;

/// The next bytes; empty at the end.
pub async fn next_bytes(source: &mut Source) -> io::Result<Bytes> {
    let mut buffer = BytesMut::with_capacity(RESPONSE_CHUNK);
    source.read_buf(&mut buffer).await?;
    Ok(buffer.freeze())
}

/// A body produced while it is sent. Dropping it cancels the query.
pub struct Streaming {
    pub first: Vec<Bytes>,
    pub source: Source,
    pub encoder: Encoder,
    /// Rewrites `Native` blocks for clients that ask for a revision.
    pub rewriter: Option<NativeRewriter>,
    /// Result of the query, available when the source has ended; `None` if it is known to have succeeded.
    pub query_result: Option<oneshot::Receiver<QueryResult>>,
    /// Cancels the query when dropped.
    pub guard: CancelGuard,
    pub version: String,
    pub tag: String,
}

enum BodyState {
    Sending(Box<Streaming>),
    Breaking(CancelGuard),
    Over,
}

impl Streaming {
    pub fn into_body(mut self) -> Body {
        self.first.reverse();
        let pieces = stream::unfold(BodyState::Sending(Box::new(self)), |state| async move {
            match state {
                BodyState::Sending(streaming) => streaming.step().await,
                BodyState::Breaking(_guard) => {
                    // Sends the error text before closing the connection; the close shows an incomplete body to
                    // clients that do not look for the text.
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                    Some((
                        Err(io::Error::other("query failed after its first bytes were sent")),
                        BodyState::Over,
                    ))
                }
                BodyState::Over => None,
            }
        });
        StreamBody::new(pieces).boxed_unsync()
    }

    async fn step(mut self: Box<Self>) -> Option<(io::Result<Frame<Bytes>>, BodyState)> {
        loop {
            let piece = match self.first.pop() {
                Some(bytes) => Ok(bytes),
                None => next_bytes(&mut self.source).await,
            };
            let piece = match piece {
                Ok(bytes) if bytes.is_empty() => return self.end().await,
                Ok(bytes) => self.encode(bytes),
                Err(error) => Err(io_error(&error)),
            };
            match piece {
                Ok(bytes) if bytes.is_empty() => {}
                Ok(bytes) => return Some((Ok(Frame::data(bytes)), BodyState::Sending(self))),
                Err(error) => return self.fail(&error),
            }
        }
    }

    fn encode(&mut self, bytes: Bytes) -> Result<Bytes, EngineError> {
        let bytes = match &mut self.rewriter {
            Some(rewriter) => rewriter.push(&bytes)?,
            None => bytes,
        };
        self.encoder.piece(bytes).map_err(|e| io_error(&e))
    }

    async fn end(mut self: Box<Self>) -> Option<(io::Result<Frame<Bytes>>, BodyState)> {
        if let Some(query_result) = self.query_result.take() {
            let result = query_result.await.unwrap_or_else(|_| Err(query_lost()));
            if let Err(error) = result {
                return self.fail(&error);
            }
        }
        if let Some(rewriter) = self.rewriter.take() {
            let last = rewriter.finish().and_then(|bytes| self.encode(bytes));
            match last {
                Ok(bytes) if bytes.is_empty() => {}
                // The next read of the source reports its end again.
                Ok(bytes) => return Some((Ok(Frame::data(bytes)), BodyState::Sending(self))),
                Err(error) => return self.fail(&error),
            }
        }
        match self.encoder.finish() {
            Ok(bytes) if bytes.is_empty() => None,
            Ok(bytes) => Some((Ok(Frame::data(bytes)), BodyState::Over)),
            Err(error) => Some((Err(error), BodyState::Over)),
        }
    }

    fn fail(mut self: Box<Self>, error: &EngineError) -> Option<(io::Result<Frame<Bytes>>, BodyState)> {
        tracing::warn!(%error, "query failed after its first bytes were sent");
        let block = exception_block(error, &self.version, &self.tag);
        match self.encoder.piece(block) {
            Ok(bytes) => Some((Ok(Frame::data(bytes)), BodyState::Breaking(self.guard))),
            Err(error) => Some((Err(error), BodyState::Over)),
        }
    }
}

/// The query's thread ended without a result.
pub fn query_lost() -> EngineError {
    EngineError::new(Code::QUERY_WAS_CANCELLED, "the server is stopping")
}

/// The result could not be read from the engine.
pub fn io_error(error: &io::Error) -> EngineError {
    EngineError::new(Code::UNKNOWN_EXCEPTION, format!("cannot read the result: {error}"))
}

/// BAD_ARGUMENTS, CANNOT_PARSE_TEXT, _ESCAPE_SEQUENCE, _QUOTED_STRING, _INPUT_ASSERTION_FAILED, _DATE,
/// _DATETIME, _NUMBER, _UUID, _DOMAIN_VALUE_FROM_STRING, _IPV4, _IPV6, CANNOT_COMPILE_REGEXP,
/// THERE_IS_NO_COLUMN, DUPLICATE_COLUMN, ILLEGAL_COLUMN, UNKNOWN_ELEMENT_IN_AST, TYPE_MISMATCH, SYNTAX_ERROR,
/// INCORRECT_DATA, UNKNOWN_TYPE_OF_AST_NODE, TOO_DEEP_AST, TOO_BIG_AST, UNEXPECTED_AST_STRUCTURE,
/// VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE.
const BAD_REQUEST: [i32; 25] = [
    36, 6, 25, 26, 27, 38, 41, 72, 376, 441, 675, 676, 427, 8, 15, 44, 37, 53, 62, 117, 123, 167, 168, 223,
    321,
];

/// UNKNOWN_FUNCTION, _IDENTIFIER, _TYPE, _STORAGE, _TABLE, _AGGREGATE_FUNCTION, _FORMAT, _TYPE_OF_QUERY,
/// _DATABASE, _SETTING, _DIRECTION_OF_SORTING, _DATABASE_ENGINE, _ROLE; and SESSION_NOT_FOUND.
const NOT_FOUND: [i32; 14] =
    [46, 47, 50, 56, 60, 63, 73, 78, 81, 115, 152, 336, 511, Code::SESSION_NOT_FOUND as i32];

/// UNKNOWN_USER, WRONG_PASSWORD, ACCESS_DENIED, SET_NON_GRANTED_ROLE.
const FORBIDDEN: [i32; 4] = [192, 193, Code::ACCESS_DENIED as i32, 512];

/// REQUIRED_PASSWORD, AUTHENTICATION_FAILED: clients and browsers then ask for the password.
const UNAUTHORIZED: [i32; 2] = [194, Code::AUTHENTICATION_FAILED as i32];

/// CANNOT_OPEN_FILE, SOCKET_TIMEOUT, CANNOT_SCHEDULE_TASK; and a full queue, so that clients retry.
const UNAVAILABLE: [i32; 4] =
    [76, Code::SOCKET_TIMEOUT as i32, 439, Code::TOO_MANY_SIMULTANEOUS_QUERIES as i32];

/// ClickHouse's status for an error code (its `exceptionCodeToHTTPStatus`); a few codes get a status that
/// is more specific for clients than its 500.
fn error_status(code: i32) -> StatusCode {
    const TIMEOUT_EXCEEDED: i32 = 159;
    match code {
        c if BAD_REQUEST.contains(&c) => StatusCode::BAD_REQUEST,
        c if NOT_FOUND.contains(&c) => StatusCode::NOT_FOUND,
        c if FORBIDDEN.contains(&c) => StatusCode::FORBIDDEN,
        c if UNAVAILABLE.contains(&c) => StatusCode::SERVICE_UNAVAILABLE,
        c if UNAUTHORIZED.contains(&c) => StatusCode::UNAUTHORIZED,
        c if c == Code::QUERY_IS_TOO_LARGE as i32 => StatusCode::PAYLOAD_TOO_LARGE,
        c if c == Code::NOT_IMPLEMENTED as i32 => StatusCode::NOT_IMPLEMENTED,
        c if c == Code::UNKNOWN_COMPRESSION_METHOD as i32 => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        TIMEOUT_EXCEEDED => StatusCode::REQUEST_TIMEOUT,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn error_text(error: &EngineError, version: &str) -> String {
    format!("{error} (version {version})\n")
}
