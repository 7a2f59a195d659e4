//! Runs a prepared statement and builds the response.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use hyper::Response;
use tokio::fs::File;
use tokio::io::{AsyncSeekExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::sync::oneshot;

use super::compression::Encoder;
use super::native_rewriter::NativeRewriter;
use super::response::{Body, ResponseHead, Source, Streaming, io_error, query_lost};
use super::spool::{Spool, SpoolSpace};
use crate::engine::{CancelGuard, Code, Counts, EngineError, Job, Pool, QueryResult, Statement};
use crate::limits::RESPONSE_BUFFER;

/// Destination of the rows.
pub enum Output {
    /// The statement returns no rows, or few.
    None,
    /// A pipe that is read while the query runs.
    Pipe(pipe::Receiver),
    /// A pipe whose bytes are held back until the query has ended, in a file when there are many.
    Held(pipe::Receiver, Arc<SpoolSpace>),
}

/// A statement ready to run.
pub struct PreparedStatement {
    job: Job,
    output: Output,
    encoder: Encoder,
    rewriter: Option<NativeRewriter>,
}

impl PreparedStatement {
    /// A statement without rows.
    pub fn plain(statement: Statement, encoder: Encoder) -> PreparedStatement {
        let job = Job { statement, descriptors: Vec::new(), hold: None };
        PreparedStatement { job, output: Output::None, encoder, rewriter: None }
    }

    /// An insert that reads its rows from the descriptor.
    pub fn insert(
        statement: Statement,
        descriptor: OwnedFd,
        spool: Spool,
        encoder: Encoder,
    ) -> PreparedStatement {
        let job = Job { statement, descriptors: vec![descriptor], hold: Some(Box::new(spool)) };
        PreparedStatement { job, output: Output::None, encoder, rewriter: None }
    }

    /// A statement that writes its rows to `target`; `output` reads them.
    pub fn result(
        statement: Statement,
        target: OwnedFd,
        output: Output,
        encoder: Encoder,
        rewriter: Option<NativeRewriter>,
    ) -> PreparedStatement {
        let job = Job { statement, descriptors: vec![target], hold: None };
        PreparedStatement { job, output, encoder, rewriter }
    }
}

/// The engine runs in this process and opens the descriptor by this number.
pub fn number(descriptor: &OwnedFd) -> i32 {
    descriptor.as_raw_fd()
}

/// A pipe: rows flow while the query runs, and a full pipe pauses the query. (A regular file does not work:
/// the engine writes it under another name first.) With `space`, rows are held until the query has ended.
pub fn into_pipe(space: Option<&Arc<SpoolSpace>>) -> Result<(OwnedFd, Output), EngineError> {
    let (reader, writer) = std::io::pipe().map_err(|e| io_error(&e))?;
    // Fewer context switches. Fails if the user's pipes have used up their quota; the default size works too.
    let _ = rustix::pipe::fcntl_setpipe_size(&writer, RESPONSE_BUFFER);
    let reader = pipe::Receiver::from_owned_fd(OwnedFd::from(reader)).map_err(|e| io_error(&e))?;
    let output = match space {
        Some(space) => Output::Held(reader, Arc::clone(space)),
        None => Output::Pipe(reader),
    };
    Ok((OwnedFd::from(writer), output))
}

fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// A UUID for a query without an id.
pub fn fresh_id() -> String {
    let (high, low) = (random(), random());
    let (a, b, c) = (high >> 32, (high >> 16) & 0xffff, high & 0xfff);
    format!("{a:08x}-{b:04x}-4{c:03x}-{:04x}-{:012x}", 0x8000 | (low >> 50), low & 0xffff_ffff_ffff)
}

/// Sixteen letters that no result contains by chance.
fn fresh_tag() -> String {
    let bits = (u128::from(random()) << 64) | u128::from(random());
    (0..16).map(|n| char::from(b'a' + u8::try_from((bits >> (n * 5)) % 26).unwrap_or(0))).collect()
}

/// Runs the statement. Responds when the query has ended, or when more than the held-back part of its
/// result is available.
pub async fn execute(
    pool: &Pool,
    ready: PreparedStatement,
    head: &ResponseHead,
) -> Result<Response<Body>, EngineError> {
    let PreparedStatement { job, output, encoder, rewriter } = ready;
    let (query_result, guard) = pool.submit(job).map_err(|full| {
        let text = format!("Too many simultaneous queries: {full}");
        EngineError::new(Code::TOO_MANY_SIMULTANEOUS_QUERIES, text)
    })?;
    let rows = RunningQuery { encoder, rewriter, query_result, guard };
    match output {
        Output::None => {
            let QueryResult { result, bytes } = rows.query_result.await.map_err(|_| query_lost())?;
            Ok(head.whole(bytes, &result?))
        }
        Output::Pipe(pipe) => rows.while_running(Source::Pipe(pipe), head).await,
        Output::Held(pipe, space) => rows.when_ended(Source::Pipe(pipe), &space, head).await,
    }
}

struct RunningQuery {
    encoder: Encoder,
    rewriter: Option<NativeRewriter>,
    query_result: oneshot::Receiver<QueryResult>,
    guard: CancelGuard,
}

impl RunningQuery {
    async fn while_running(
        self,
        mut source: Source,
        head: &ResponseHead,
    ) -> Result<Response<Body>, EngineError> {
        let (first, ended) = gather(&mut source).await?;
        if !ended {
            return Ok(self.stream(first, source, head, None));
        }
        let counts = self.query_result.await.map_err(|_| query_lost())?.result?;
        whole(first, self.encoder, self.rewriter, head, &counts)
    }

    async fn when_ended(
        mut self,
        mut source: Source,
        space: &SpoolSpace,
        head: &ResponseHead,
    ) -> Result<Response<Body>, EngineError> {
        let (first, ended) = gather(&mut source).await?;
        if ended {
            let counts = self.query_result.await.map_err(|_| query_lost())?.result?;
            return whole(first, self.encoder, self.rewriter, head, &counts);
        }
        let file = hold(&mut source, space).await.map_err(|e| io_error(&e))?;
        let counts = (&mut self.query_result).await.map_err(|_| query_lost())?.result?;
        Ok(self.stream(first, Source::File(file), head, Some(&counts)))
    }

    fn stream(
        self,
        first: Vec<Bytes>,
        source: Source,
        head: &ResponseHead,
        counts: Option<&Counts>,
    ) -> Response<Body> {
        let tag = fresh_tag();
        let streaming = Streaming {
            first,
            source,
            encoder: self.encoder,
            rewriter: self.rewriter,
            query_result: counts.is_none().then_some(self.query_result),
            guard: self.guard,
            version: head.version.clone(),
            tag: tag.clone(),
        };
        head.streamed(streaming.into_body(), &tag, counts)
    }
}

/// Writes the rest of the source to a file; returns it rewound.
async fn hold(source: &mut Source, space: &SpoolSpace) -> std::io::Result<File> {
    let mut file = File::from_std(space.nameless_file()?);
    loop {
        let bytes = source.next().await?;
        if bytes.is_empty() {
            file.flush().await?;
            file.rewind().await?;
            return Ok(file);
        }
        file.write_all(&bytes).await?;
    }
}

/// Reads until the source ends or the held-back part is full.
async fn gather(source: &mut Source) -> Result<(Vec<Bytes>, bool), EngineError> {
    let (mut pieces, mut length) = (Vec::new(), 0);
    while length < RESPONSE_BUFFER {
        let bytes = source.next().await.map_err(|e| io_error(&e))?;
        if bytes.is_empty() {
            return Ok((pieces, true));
        }
        length += bytes.len();
        pieces.push(bytes);
    }
    Ok((pieces, false))
}

fn whole(
    pieces: Vec<Bytes>,
    mut encoder: Encoder,
    rewriter: Option<NativeRewriter>,
    head: &ResponseHead,
    counts: &Counts,
) -> Result<Response<Body>, EngineError> {
    let mut body = BytesMut::new();
    for piece in pieces {
        body.extend_from_slice(&piece);
    }
    let mut plain = body.freeze();
    if let Some(mut rewriter) = rewriter {
        let mut rewritten = rewriter.push(&plain)?.to_vec();
        rewritten.extend_from_slice(&rewriter.finish()?);
        plain = Bytes::from(rewritten);
    }
    let failed = |e: std::io::Error| io_error(&e);
    let mut encoded = BytesMut::from(encoder.piece(plain).map_err(failed)?);
    encoded.extend_from_slice(&encoder.finish().map_err(failed)?);
    Ok(head.whole(encoded, counts))
}
