//! Running a prepared statement and turning what it gives into a response.

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
use super::insert::{Spool, SpoolSpace};
use super::native::Restamp;
use super::response::{Body, Head, Source, Streaming, lost, unreadable};
use crate::engine::{CancelGuard, Counts, EngineError, Job, Outcome, Pool, Statement, codes};
use crate::limits::RESPONSE_BUFFER;

/// Where the engine writes rows.
pub enum Output {
    /// Nowhere: the statement gives none, or few.
    None,
    /// Into a pipe that is read while it runs.
    Pipe(pipe::Receiver),
    /// Into a pipe whose bytes are held back until it has ended, in a file when there are many.
    Held(pipe::Receiver, Arc<SpoolSpace>),
}

/// A statement with everything it needs.
pub struct Ready {
    job: Job,
    output: Output,
    encoder: Encoder,
    restamp: Option<Restamp>,
}

impl Ready {
    /// A statement without rows.
    pub fn plain(statement: Statement, encoder: Encoder) -> Ready {
        let job = Job { statement, descriptors: Vec::new(), hold: None };
        Ready { job, output: Output::None, encoder, restamp: None }
    }

    /// An insert that reads its rows from the descriptor.
    pub fn insert(statement: Statement, descriptor: OwnedFd, spool: Spool, encoder: Encoder) -> Ready {
        let job = Job { statement, descriptors: vec![descriptor], hold: Some(Box::new(spool)) };
        Ready { job, output: Output::None, encoder, restamp: None }
    }

    /// A statement that writes its rows to `target`, from where `output` reads them.
    pub fn result(
        statement: Statement,
        target: OwnedFd,
        output: Output,
        encoder: Encoder,
        restamp: Option<Restamp>,
    ) -> Ready {
        let job = Job { statement, descriptors: vec![target], hold: None };
        Ready { job, output, encoder, restamp }
    }
}

/// The number under which the engine, being in this process, can open the descriptor.
pub fn number(descriptor: &OwnedFd) -> i32 {
    descriptor.as_raw_fd()
}

/// A pipe: rows flow while the query runs, and the query waits when they are not read. (A regular file would
/// not do: the engine writes those under another name first.) Its rows are held in `space` until the query
/// has ended, if given.
pub fn into_pipe(space: Option<&Arc<SpoolSpace>>) -> Result<(OwnedFd, Output), EngineError> {
    let (reader, writer) = std::io::pipe().map_err(|e| unreadable(&e))?;
    // Fewer changes between the two sides. Refused when the user's pipes have used up their share: the usual
    // size does.
    let _ = rustix::pipe::fcntl_setpipe_size(&writer, RESPONSE_BUFFER);
    let reader = pipe::Receiver::from_owned_fd(OwnedFd::from(reader)).map_err(|e| unreadable(&e))?;
    let output = match space {
        Some(space) => Output::Held(reader, Arc::clone(space)),
        None => Output::Pipe(reader),
    };
    Ok((OwnedFd::from(writer), output))
}

fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// An id for a query whose client gave none, in the form of a UUID.
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

/// Runs the statement. The response comes when the query has ended, or when more of its result is there than
/// is held back.
pub async fn run(pool: &Pool, ready: Ready, head: &Head) -> Result<Response<Body>, EngineError> {
    let Ready { job, output, encoder, restamp } = ready;
    let (outcome, guard) = pool.submit(job).map_err(|full| {
        let text = format!("Too many simultaneous queries: {full}");
        EngineError::new(codes::TOO_MANY_SIMULTANEOUS_QUERIES, "TOO_MANY_SIMULTANEOUS_QUERIES", text)
    })?;
    let rows = Rows { encoder, restamp, outcome, guard };
    match output {
        Output::None => {
            let Outcome { result, bytes } = rows.outcome.await.map_err(|_| lost())?;
            Ok(head.whole(bytes, &result?))
        }
        Output::Pipe(pipe) => rows.while_running(Source::Pipe(pipe), head).await,
        Output::Held(pipe, space) => rows.when_ended(Source::Pipe(pipe), &space, head).await,
    }
}

struct Rows {
    encoder: Encoder,
    restamp: Option<Restamp>,
    outcome: oneshot::Receiver<Outcome>,
    guard: CancelGuard,
}

impl Rows {
    async fn while_running(self, mut source: Source, head: &Head) -> Result<Response<Body>, EngineError> {
        let (first, ended) = gather(&mut source).await?;
        if !ended {
            return Ok(self.stream(first, source, head, None));
        }
        let counts = self.outcome.await.map_err(|_| lost())?.result?;
        whole(first, self.encoder, self.restamp, head, &counts)
    }

    async fn when_ended(
        mut self,
        mut source: Source,
        space: &SpoolSpace,
        head: &Head,
    ) -> Result<Response<Body>, EngineError> {
        let (first, ended) = gather(&mut source).await?;
        if ended {
            let counts = self.outcome.await.map_err(|_| lost())?.result?;
            return whole(first, self.encoder, self.restamp, head, &counts);
        }
        let file = hold(&mut source, space).await.map_err(|e| unreadable(&e))?;
        let counts = (&mut self.outcome).await.map_err(|_| lost())?.result?;
        Ok(self.stream(first, Source::File(file), head, Some(&counts)))
    }

    fn stream(
        self,
        first: Vec<Bytes>,
        source: Source,
        head: &Head,
        counts: Option<&Counts>,
    ) -> Response<Body> {
        let tag = fresh_tag();
        let streaming = Streaming {
            first,
            source,
            encoder: self.encoder,
            restamp: self.restamp,
            outcome: counts.is_none().then_some(self.outcome),
            guard: self.guard,
            version: head.version.clone(),
            tag: tag.clone(),
        };
        head.streamed(streaming.into_body(), &tag, counts)
    }
}

/// Writes the rest of the source to a file and gives it, rewound.
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

/// Reads until the source ends, or as much as is held back.
async fn gather(source: &mut Source) -> Result<(Vec<Bytes>, bool), EngineError> {
    let (mut pieces, mut length) = (Vec::new(), 0);
    while length < RESPONSE_BUFFER {
        let bytes = source.next().await.map_err(|e| unreadable(&e))?;
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
    restamp: Option<Restamp>,
    head: &Head,
    counts: &Counts,
) -> Result<Response<Body>, EngineError> {
    let mut body = BytesMut::new();
    for piece in pieces {
        body.extend_from_slice(&piece);
    }
    let mut plain = body.freeze();
    if let Some(mut restamp) = restamp {
        let mut rewritten = restamp.push(&plain)?.to_vec();
        rewritten.extend_from_slice(&restamp.finish()?);
        plain = Bytes::from(rewritten);
    }
    let failed = |e: std::io::Error| unreadable(&e);
    let mut encoded = BytesMut::from(encoder.piece(plain).map_err(failed)?);
    encoded.extend_from_slice(&encoder.finish().map_err(failed)?);
    Ok(head.whole(encoded, counts))
}
