//! Handles one request, from its head to the head of its response.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io::Read;
use std::pin::Pin;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::http::uri::PathAndQuery;
use hyper::{Method, Request, Response, StatusCode};

use marketprism_service::HostRule;

use super::body;
use super::compression::{Encoder, decoder};
use super::cors;
use super::execute::{self, PreparedStatement};
use super::head::{CheckedHead, CheckedHeads};
use super::native_rewriter::{NativeRewriter, REVISION_WITH_SERIALIZATION};
use super::places::ConnectionPlace;
use super::refusals::{Refusal, RefusalCounts, RefusalReason};
use super::request::QueryRequest;
use super::response::{self, Body, ResponseHead, plain};
use super::spool::{Spool, SpoolSpace};
use crate::access::{Credentials, Password, foreign_page};
use crate::engine::{Code, EngineError, Job, Lane, Pool, Statement};
use crate::limits::QUERY_BYTES;
use crate::sql::{Parsed, parse};

const PLAIN_TEXT: &str = "text/plain; charset=UTF-8";

pub struct EngineInfo {
    pub version: String,
    pub timezone: String,
    /// Content type by lower-case format name.
    pub content_types: HashMap<String, String>,
}

pub struct ServiceOptions {
    pub pool: Arc<Pool>,
    /// Storage for inserts.
    pub spool: Arc<SpoolSpace>,
    pub engine: EngineInfo,
    pub hosts: HostRule,
    /// Of pages that may read answers.
    pub origins: Vec<String>,
    pub refusals: RefusalCounts,
    pub password: Password,
}

#[derive(Clone)]
pub struct Service {
    options: Arc<ServiceOptions>,
}

pub struct ConnectionService {
    service: Service,
    place: Arc<ConnectionPlace>,
    heads: CheckedHeads,
}

/// A received statement, before its descriptors are known.
struct Statements {
    text: Vec<u8>,
    parsed: Parsed,
    spool: Option<Spool>,
}

impl Service {
    pub fn new(options: ServiceOptions) -> Service {
        Service { options: Arc::new(options) }
    }

    pub fn at(&self, place: Arc<ConnectionPlace>, heads: CheckedHeads) -> ConnectionService {
        ConnectionService { service: self.clone(), place, heads }
    }

    pub fn count(&self, reason: RefusalReason) {
        self.options.refusals.add(reason);
    }

    fn head(&self) -> ResponseHead {
        let EngineInfo { timezone, version, .. } = &self.options.engine;
        ResponseHead { timezone: timezone.clone(), version: version.clone(), ..ResponseHead::default() }
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        head: CheckedHead,
        place: &ConnectionPlace,
    ) -> Response<Body> {
        let long = match head {
            CheckedHead::Refused(refusal) => return self.refused(&refusal),
            CheckedHead::LongTarget(target) => Some(target),
            CheckedHead::Whole => None,
        };
        let origin = match foreign_page(request.headers(), &self.options.hosts, &self.options.origins) {
            Ok(origin) => origin,
            Err(reason) => {
                let refusal =
                    Refusal::new(RefusalReason::Page, StatusCode::FORBIDDEN, Code::ACCESS_DENIED, reason);
                return self.refused(&refusal);
            }
        };
        let target = long
            .unwrap_or_else(|| request.uri().path_and_query().map_or("/", PathAndQuery::as_str).to_owned());
        let mut response = if *request.method() == Method::OPTIONS {
            cors::options(origin.as_ref())
        } else {
            self.route(request, &target, place).await
        };
        if let Some(origin) = origin {
            cors::open_to(origin, &mut response);
        }
        response
    }

    fn refused(&self, refusal: &Refusal) -> Response<Body> {
        self.count(refusal.reason);
        self.head().failed_with(refusal.status, &refusal.error)
    }

    async fn route(
        &self,
        request: Request<Incoming>,
        target: &str,
        place: &ConnectionPlace,
    ) -> Response<Body> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        match path {
            "/ping" | "/replicas_status" if reads => plain(StatusCode::OK, "Ok.\n"),
            "/metrics" if reads => plain(StatusCode::OK, &self.options.refusals.exposed()),
            "/" | "/query" if reads && !query.contains("query=") => plain(StatusCode::OK, "Ok.\n"),
            "/" | "/query" if reads || *request.method() == Method::POST => {
                let response = self.query(request, query, reads, place).await;
                let code =
                    response.headers().get(response::EXCEPTION_CODE).and_then(|code| code.to_str().ok());
                if let Some(code) = code.and_then(|code| code.parse().ok()) {
                    self.count(RefusalReason::of_code(code));
                }
                response
            }
            "/" | "/query" | "/ping" | "/replicas_status" | "/metrics" => {
                let text = format!(
                    "method {}: allowed are GET, HEAD and OPTIONS, and POST for queries",
                    request.method()
                );
                let status = StatusCode::METHOD_NOT_ALLOWED;
                self.refused(&Refusal::new(RefusalReason::Method, status, Code::UNSUPPORTED_METHOD, text))
            }
            path => {
                let path: String = path.chars().take(100).collect();
                let text =
                    format!("There is no handle {path}: use /?query=, /ping, /replicas_status or /metrics");
                self.refused(&Refusal::new(
                    RefusalReason::Path,
                    StatusCode::NOT_FOUND,
                    Code::BAD_ARGUMENTS,
                    text,
                ))
            }
        }
    }

    async fn query(
        &self,
        request: Request<Incoming>,
        query: &str,
        read_only: bool,
        place: &ConnectionPlace,
    ) -> Response<Body> {
        let options = &self.options;
        let mut head = self.head();
        let (parts, incoming) = request.into_parts();
        // Before the body is read.
        let admitted =
            Credentials::read(query, &parts.headers).and_then(|given| given.require(&options.password));
        if let Err(error) = admitted {
            return head.failed(&error);
        }
        place.logged_in();
        let mut request = match QueryRequest::read(query, &parts.headers) {
            Ok(request) => request,
            Err(error) => return head.failed(&error),
        };
        let boundary = parts.headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).and_then(body::boundary);
        let statements = self.receive(&mut request, incoming, boundary).await;
        if request.query_id.is_empty() {
            request.query_id = execute::fresh_id();
        }
        head.query_id.clone_from(&request.query_id);
        let prepared = statements.and_then(|statements| {
            check_session(&request, &statements.parsed)?;
            self.prepare(&request, statements, read_only, &mut head)
        });
        let answer = match prepared {
            Ok(ready) => execute::execute(&options.pool, ready, &head).await,
            Err(error) => Err(error),
        };
        answer.unwrap_or_else(|error| {
            tracing::debug!(query_id = %head.query_id, %error, "query rejected or failed");
            head.failed(&error)
        })
    }

    /// Reads the body: a query text, the data of an insert, both, or form fields.
    async fn receive(
        &self,
        request: &mut QueryRequest,
        incoming: Incoming,
        boundary: Option<String>,
    ) -> Result<Statements, EngineError> {
        let (feed, reader) = body::channel(incoming, request.body_wait());
        let space = Arc::clone(&self.options.spool);
        let mut updated = request.clone();
        let reading = tokio::task::spawn_blocking(move || {
            let statements = read_statements(&mut updated, reader, boundary.as_deref(), &space)?;
            Ok::<_, EngineError>((updated, statements))
        });
        let (read, ()) = tokio::join!(reading, feed.run());
        let (updated, statements) = read.map_err(|_| response::query_lost())??;
        *request = updated;
        Ok(statements)
    }

    /// Builds the engine's statement, with the descriptors that it names.
    fn prepare(
        &self,
        request: &QueryRequest,
        statements: Statements,
        read_only: bool,
        head: &mut ResponseHead,
    ) -> Result<PreparedStatement, EngineError> {
        let Statements { text, parsed, spool } = statements;
        let statement = |text| Statement {
            preparation: Vec::new(),
            text,
            format: "TabSeparated".to_owned(),
            database: request.database.clone(),
            settings: request.settings.clone(),
            parameters: request.parameters.clone(),
            query_id: request.query_id.clone(),
            read_only,
        };
        let without_rows = |job| {
            let encoder = Encoder::new(None, false, request.level).map_err(|e| response::io_error(&e))?;
            Ok(PreparedStatement { job, rows: None, hold: None, encoder, rewriter: None })
        };
        head.content_type = PLAIN_TEXT.to_owned();
        match parsed {
            Parsed::Result(result) if read_only && result.is_kill => Err(EngineError::new(
                Code::READONLY,
                "default: Cannot execute KILL with the method GET: use POST",
            )),
            Parsed::Empty => Err(EngineError::new(Code::SYNTAX_ERROR, "Empty query")),
            Parsed::Plain { end, .. } => {
                let statement = statement(text.get(..end).unwrap_or_default().to_vec());
                without_rows(Job { lane: Lane::General, statement, descriptors: Vec::new(), hold: None })
            }
            Parsed::Insert(insert) => {
                let spool = spool.ok_or_else(response::query_lost)?;
                let descriptor = spool.descriptor().map_err(|e| response::io_error(&e))?;
                let number = execute::number(&descriptor);
                let statement = Statement {
                    preparation: insert.preparation(&text, number),
                    ..statement(insert.from_descriptor(&text, number))
                };
                let (descriptors, hold) = (vec![descriptor], Some(Box::new(spool) as Box<dyn Send>));
                without_rows(Job { lane: Lane::Insert, statement, descriptors, hold })
            }
            Parsed::Result(result) => {
                let format = result.format.clone().or_else(|| request.format.clone());
                let format = format.unwrap_or_else(|| "TabSeparated".to_owned());
                if let Some(known) = self.options.engine.content_types.get(&format.to_ascii_lowercase()) {
                    head.content_type.clone_from(known);
                }
                head.coding =
                    request.accept.filter(|_| !request.framed_response).map(super::compression::Coding::name);
                let is_rewritten =
                    request.revision >= REVISION_WITH_SERIALIZATION && format.eq_ignore_ascii_case("native");
                let (target, rows) = execute::row_pipe()?;
                let mut text = result.into_descriptor(&text, execute::number(&target));
                if result.format.is_none() {
                    text.extend_from_slice(b" FORMAT ");
                    text.extend_from_slice(format_word(&format)?.as_bytes());
                }
                head.format = Some(format);
                let encoder = Encoder::new(request.accept, request.framed_response, request.level)
                    .map_err(|e| response::io_error(&e))?;
                let lane = if result.is_control { Lane::Control } else { Lane::General };
                Ok(PreparedStatement {
                    job: Job { lane, statement: statement(text), descriptors: vec![target], hold: None },
                    rows: Some(rows),
                    hold: request.wait_end.then(|| Arc::clone(&self.options.spool)),
                    encoder,
                    rewriter: is_rewritten.then(NativeRewriter::default),
                })
            }
        }
    }
}

impl hyper::service::Service<Request<Incoming>> for ConnectionService {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let (service, place, head) = (self.service.clone(), Arc::clone(&self.place), self.heads.take());
        // Until the last byte of the response is given to the connection.
        let busy = place.begin();
        Box::pin(async move {
            let head_only = request.method() == Method::HEAD;
            let mut response = service.answer(request, head, &place).await;
            if head_only {
                *response.body_mut() = response::full("");
            }
            Ok(response.map(|body| response::holding(body, busy)))
        })
    }
}

/// Format names are inserted into the query text: only a plain word is accepted.
fn format_word(format: &str) -> Result<&str, EngineError> {
    if !format.is_empty() && format.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return Ok(format);
    }
    Err(EngineError::new(Code::UNKNOWN_FORMAT, format!("Unknown format {format:?}")))
}

/// Session ids are accepted but no session is kept: rejects requests that need one.
fn check_session(request: &QueryRequest, parsed: &Parsed) -> Result<(), EngineError> {
    if request.session_check {
        let text = "Session not found: this server keeps no sessions between requests";
        return Err(EngineError::new(Code::SESSION_NOT_FOUND, text));
    }
    if request.session && matches!(parsed, Parsed::Plain { session_only: true, .. }) {
        let text = "SET, USE and CREATE TEMPORARY in a session: this server keeps no sessions between \
                    requests; send settings and database with each query";
        return Err(EngineError::new(Code::NOT_IMPLEMENTED, text));
    }
    Ok(())
}

/// Runs on a blocking thread: decodes the body and separates query text from data.
fn read_statements(
    request: &mut QueryRequest,
    reader: body::BodyReader,
    boundary: Option<&str>,
    space: &Arc<SpoolSpace>,
) -> Result<Statements, EngineError> {
    let broken = |e: std::io::Error| body_error(&e);
    let mut body = decoder(Box::new(reader), request.coding, request.framed_body).map_err(broken)?;
    let limit = u64::try_from(QUERY_BYTES).unwrap_or(u64::MAX);
    let mut text = Vec::new();
    if let Some(boundary) = boundary {
        let mut form = Vec::new();
        body.by_ref().take(limit + 1).read_to_end(&mut form).map_err(broken)?;
        check_length(form.len())?;
        for (name, value) in body::fields(&form, boundary)? {
            request.parameter(&name, value)?;
        }
        text.extend_from_slice(request.query.as_bytes());
    } else {
        text.extend_from_slice(request.query.as_bytes());
        if !text.is_empty() {
            text.push(b'\n');
        }
        body.by_ref().take(limit).read_to_end(&mut text).map_err(broken)?;
    }
    let parsed = parse(&text)?;
    if let Parsed::Insert(insert) = &parsed {
        let data = text.get(insert.data..).unwrap_or_default();
        let spool = Spool::fill(space, data, body).map_err(broken)?;
        return Ok(Statements { text, parsed, spool: Some(spool) });
    }
    let more = body.take(1).read_to_end(&mut Vec::new()).map_err(broken)?;
    check_length(text.len() + more)?;
    Ok(Statements { text, parsed, spool: None })
}

fn check_length(length: usize) -> Result<(), EngineError> {
    if length <= QUERY_BYTES {
        return Ok(());
    }
    let text = format!("Query is too large: more than {QUERY_BYTES} bytes of text");
    Err(EngineError::new(Code::QUERY_IS_TOO_LARGE, text))
}

fn body_error(error: &std::io::Error) -> EngineError {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::TimedOut => {
            let text = format!("Timeout exceeded while receiving the body: {error}");
            EngineError::new(Code::SOCKET_TIMEOUT, text)
        }
        ErrorKind::FileTooLarge => EngineError::new(Code::QUERY_IS_TOO_LARGE, error),
        ErrorKind::StorageFull => {
            EngineError::new(Code::NOT_ENOUGH_SPACE, format!("cannot hold the insert: {error}"))
        }
        _ => EngineError::new(Code::INCORRECT_DATA, format!("cannot read the body: {error}")),
    }
}
