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

use super::compression::Encoder;
use super::native_rewriter::NativeRewriter;
use super::response::{Body, ResponseHead, Source, Streaming, io_error, next_bytes, query_lost};
use super::spool::SpoolSpace;
use crate::engine::{Code, Counts, EngineError, Job, Pool};
use crate::limits::RESPONSE_BUFFER;

/// A statement ready to run.
pub struct PreparedStatement {
    pub job: Job,
    /// Pipe into which the engine writes the rows; `None` for statements without rows.
    pub rows: Option<pipe::Receiver>,
    /// Where rows are held until the query has ended, if the client asks for that.
    pub hold: Option<Arc<SpoolSpace>>,
    pub encoder: Encoder,
    pub rewriter: Option<NativeRewriter>,
}

/// The engine runs in this process and opens the descriptor by this number.
pub fn number(descriptor: &OwnedFd) -> i32 {
    descriptor.as_raw_fd()
}

/// A pipe: rows flow while the query runs, and a full pipe pauses the query. (A regular file does not work:
/// the engine writes it under another name first.)
pub fn row_pipe() -> Result<(OwnedFd, pipe::Receiver), EngineError> {
    let (reader, writer) = std::io::pipe().map_err(|e| io_error(&e))?;
    // Fewer context switches. Fails if the user's pipes have used up their quota; the default size works too.
    let _ = rustix::pipe::fcntl_setpipe_size(&writer, RESPONSE_BUFFER);
    let reader = pipe::Receiver::from_owned_fd(OwnedFd::from(reader)).map_err(|e| io_error(&e))?;
    Ok((OwnedFd::from(writer), reader))
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
    prepared: PreparedStatement,
    head: &ResponseHead,
) -> Result<Response<Body>, EngineError> {
    let PreparedStatement { job, rows, hold, encoder, rewriter } = prepared;
    let (query_result, guard) = pool.submit(job).map_err(|full| {
        let text = format!("Too many simultaneous queries: {full}");
        EngineError::new(Code::TOO_MANY_SIMULTANEOUS_QUERIES, text)
    })?;
    let Some(rows) = rows else {
        let (counts, bytes) = query_result.await.map_err(|_| query_lost())??;
        return Ok(head.whole(bytes, &counts));
    };
    let mut source: Source = Box::new(rows);
    let (first, ended) = gather(&mut source).await?;
    if ended {
        let (counts, _) = query_result.await.map_err(|_| query_lost())??;
        return whole(first, encoder, rewriter, head, &counts);
    }
    let (mut pending, mut counts) = (Some(query_result), None);
    if let Some(space) = hold {
        source = Box::new(write_rest(&mut source, &space).await.map_err(|e| io_error(&e))?);
        if let Some(query_result) = pending.take() {
            counts = Some(query_result.await.map_err(|_| query_lost())??.0);
        }
    }
    let (tag, version) = (fresh_tag(), head.version.clone());
    let query_result = pending;
    let streaming =
        Streaming { first, source, encoder, rewriter, query_result, guard, version, tag: tag.clone() };
    Ok(head.streamed(streaming.into_body(), &tag, counts.as_ref()))
}

/// Writes the rest of the source to a file; returns it rewound.
async fn write_rest(source: &mut Source, space: &SpoolSpace) -> std::io::Result<File> {
    let mut file = File::from_std(space.nameless_file()?);
    loop {
        let bytes = next_bytes(source).await?;
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
        let bytes = next_bytes(source).await.map_err(|e| io_error(&e))?;
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
