//! Heads of requests, checked before the HTTP library reads them: what it would refuse without a word becomes a request that the
//! service answers, and a target that is longer than it takes is kept outside it. Bodies pass as they are.

use std::collections::VecDeque;
use std::io::{IoSlice, Result};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use hyper::{StatusCode, Uri};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::framing::{BodyFraming, BodyLength};
use super::refusals::{Refusal, RefusalReason};
use crate::engine::Code;
use crate::limits::{ADDRESS_BYTES, DROPPED_BYTES, HEADER_BYTES, HEADERS, LIBRARY_ADDRESS_BYTES, READ_BYTES};

/// Part of a request that the library does not see.
#[derive(Debug)]
pub enum CheckedHead {
    Whole,
    /// The target; the library sees `/`.
    LongTarget(String),
    Refused(Refusal),
}

/// Of one connection, in the order of its requests.
#[derive(Debug, Clone, Default)]
pub struct CheckedHeads(Arc<Mutex<VecDeque<CheckedHead>>>);

impl CheckedHeads {
    /// Of the next request of the library.
    pub fn take(&self) -> CheckedHead {
        self.lock().pop_front().unwrap_or(CheckedHead::Whole)
    }

    // Every change is a single push or pop.
    fn lock(&self) -> MutexGuard<'_, VecDeque<CheckedHead>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// In place of a refused head; the connection ends after its answer.
const REFUSED: &[u8] = b"GET /refused HTTP/1.1\r\nconnection: close\r\n\r\n";

pub struct HeadReader<S> {
    inner: S,
    heads: CheckedHeads,
    state: ReadState,
    /// Received, not checked yet.
    received: BytesMut,
    /// Bytes of `received` in which no end of a head begins.
    searched: usize,
    /// Checked, for the library.
    ready: BytesMut,
}

enum ReadState {
    Head,
    Body(BodyFraming),
    /// A head that is too long is read to its end before it is answered: a client that still sends would not read the answer.
    TooLong {
        refusal: Refusal,
        dropped: usize,
    },
    /// Nothing more is read.
    Refused,
}

impl<S> HeadReader<S> {
    pub fn new(inner: S, heads: CheckedHeads) -> Self {
        let (received, ready) = (BytesMut::new(), BytesMut::new());
        Self { inner, heads, state: ReadState::Head, received, searched: 0, ready }
    }

    /// Moves what is received and complete to `ready`.
    fn check(&mut self) {
        loop {
            self.state = match std::mem::replace(&mut self.state, ReadState::Head) {
                ReadState::Refused => {
                    self.received.clear();
                    self.state = ReadState::Refused;
                    return;
                }
                ReadState::TooLong { refusal, dropped } => match self.dropped(dropped) {
                    None => self.refused(refusal),
                    Some(dropped) => {
                        self.state = ReadState::TooLong { refusal, dropped };
                        return;
                    }
                },
                ReadState::Body(mut framing) => {
                    let taken = framing.take(&self.received);
                    self.ready.unsplit(self.received.split_to(taken));
                    if !framing.is_over() {
                        self.state = ReadState::Body(framing);
                        return;
                    }
                    ReadState::Head
                }
                ReadState::Head => {
                    // Empty lines before a request are allowed.
                    let blank = self.received.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
                    self.received.advance(blank);
                    let end = self.end_of_head();
                    match self.next_head(end) {
                        Ok(None) => return,
                        Ok(Some(framing)) => ReadState::Body(framing),
                        Err(refusal) if end.is_none() => ReadState::TooLong { refusal, dropped: 0 },
                        Err(refusal) => self.refused(refusal),
                    }
                }
            }
        }
    }

    fn refused(&mut self, refusal: Refusal) -> ReadState {
        self.heads.lock().push_back(CheckedHead::Refused(refusal));
        self.ready.extend_from_slice(REFUSED);
        ReadState::Refused
    }

    /// `None` at the end of the head, or when enough was dropped.
    fn dropped(&mut self, before: usize) -> Option<usize> {
        let dropped = before + self.received.len();
        if self.end_of_head().is_some() || dropped > DROPPED_BYTES {
            return None;
        }
        let kept = self.received.len().saturating_sub(3);
        self.received.advance(kept);
        self.searched = 0;
        Some(dropped)
    }

    /// `None`: the head is not complete.
    fn next_head(&mut self, end: Option<usize>) -> std::result::Result<Option<BodyFraming>, Refusal> {
        let Some(end) = end else {
            check_size(&self.received)?;
            self.searched = self.received.len().saturating_sub(3);
            return Ok(None);
        };
        self.searched = 0;
        check_size(self.received.get(..end).unwrap_or_default())?;
        let head = self.received.split_to(end);
        let mut headers = [httparse::EMPTY_HEADER; HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        match request.parse(&head) {
            Ok(httparse::Status::Complete(_)) => {}
            Ok(httparse::Status::Partial) => return Err(bad("the head is not complete")),
            Err(httparse::Error::TooManyHeaders) => return Err(too_many_headers()),
            Err(error) => return Err(bad(error)),
        }
        let framing = BodyFraming::of(BodyLength::read(request.headers).map_err(bad)?);
        let target = request.path.unwrap_or_default();
        let checked = if target.len() <= LIBRARY_ADDRESS_BYTES {
            target.parse::<Uri>().map_err(bad)?;
            self.ready.extend_from_slice(&head);
            CheckedHead::Whole
        } else {
            check_target(target)?;
            let start = memchr::memchr(b' ', &head).unwrap_or_default() + 1;
            self.ready.extend_from_slice(head.get(..start).unwrap_or_default());
            self.ready.extend_from_slice(b"/");
            self.ready.extend_from_slice(head.get(start + target.len()..).unwrap_or_default());
            CheckedHead::LongTarget(target.to_owned())
        };
        self.heads.lock().push_back(checked);
        Ok(Some(framing))
    }

    /// Behind the empty line. Lines may end without a carriage return, as for the library.
    fn end_of_head(&self) -> Option<usize> {
        let from = self.received.get(self.searched..)?;
        let ends = memchr::memchr_iter(b'\n', from).find_map(|at| match from.get(at + 1..)? {
            [b'\n', ..] => Some(at + 2),
            [b'\r', b'\n', ..] => Some(at + 3),
            _ => None,
        });
        ends.map(|end| self.searched + end)
    }
}

/// A target that the library does not see.
fn check_target(target: &str) -> std::result::Result<(), Refusal> {
    if target.len() > ADDRESS_BYTES {
        return Err(long_address());
    }
    match target.starts_with('/') && target.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(()),
        false => Err(bad("a long address must begin with / and be escaped")),
    }
}

fn long_address() -> Refusal {
    let text =
        format!("the address has more than {ADDRESS_BYTES} bytes; send the query in the body of a POST");
    Refusal::new(RefusalReason::Address, StatusCode::URI_TOO_LONG, Code::POCO_EXCEPTION, text)
}

/// The first line holds the address.
fn check_size(head: &[u8]) -> std::result::Result<(), Refusal> {
    let line = memchr::memchr(b'\n', head).unwrap_or(head.len());
    if line > ADDRESS_BYTES + READ_BYTES {
        return Err(long_address());
    }
    match head.len() - line > HEADER_BYTES {
        true => Err(headers_refused(format!("the headers have more than {HEADER_BYTES} bytes"))),
        false => Ok(()),
    }
}

fn too_many_headers() -> Refusal {
    headers_refused(format!("there are more than {HEADERS} headers"))
}

fn headers_refused(text: String) -> Refusal {
    let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
    Refusal::new(RefusalReason::Headers, status, Code::POCO_EXCEPTION, text)
}

fn bad(error: impl std::fmt::Display) -> Refusal {
    let text = format!("not an HTTP/1 request: {error}");
    Refusal::new(RefusalReason::Request, StatusCode::BAD_REQUEST, Code::POCO_EXCEPTION, text)
}

impl<S: AsyncRead + Unpin> AsyncRead for HeadReader<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        let this = &mut *self;
        while this.ready.is_empty() {
            let mut space = [0; READ_BYTES];
            let mut read = ReadBuf::new(&mut space);
            ready!(Pin::new(&mut this.inner).poll_read(cx, &mut read))?;
            if read.filled().is_empty() {
                // The library sees the end, also that of an incomplete head.
                return Poll::Ready(Ok(()));
            }
            this.received.extend_from_slice(read.filled());
            this.check();
        }
        let length = this.ready.len().min(buffer.remaining());
        buffer.put_slice(&this.ready.split_to(length));
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for HeadReader<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(bytes: &[u8], step: usize) -> (String, Vec<String>) {
        let heads = CheckedHeads::default();
        let mut reader = HeadReader::new(tokio::io::empty(), heads.clone());
        for part in bytes.chunks(step) {
            reader.received.extend_from_slice(part);
            reader.check();
        }
        let shown = |head| match head {
            CheckedHead::Whole => "whole".to_owned(),
            CheckedHead::LongTarget(target) => format!("long {}", target.len()),
            CheckedHead::Refused(refusal) => format!("{} {}", refusal.status.as_u16(), refusal.error.message),
        };
        let seen = heads.lock().drain(..).map(shown).collect();
        (String::from_utf8_lossy(&reader.ready).into_owned(), seen)
    }

    #[test]
    fn requests_pass_unchanged_however_they_are_cut() {
        let text = "\r\nPOST /a HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\n\r\n\nGET /b HTTP/1.1\n\n\
                    POST /c HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3\r\n\r\n\r\r\n0\r\n\r\nGET /d HTTP/1.1\r\n\r\n";
        for step in 1..text.len() {
            let (passed, seen) = checked(text.as_bytes(), step);
            assert_eq!((passed.as_str(), seen.len()), (text.trim_start(), 4), "{step}");
            assert!(seen.iter().all(|head| head == "whole"), "{seen:?}");
        }
    }

    #[test]
    fn a_long_address_is_kept_beside_and_one_too_long_is_refused() {
        let request = |letters: usize| format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(letters));
        let (passed, seen) = checked(request(ADDRESS_BYTES - 1).as_bytes(), 4_000);
        assert_eq!(
            (passed.as_str(), seen),
            ("GET / HTTP/1.1\r\nhost: x\r\n\r\n", vec![format!("long {ADDRESS_BYTES}")])
        );
        for letters in [ADDRESS_BYTES, 3 * ADDRESS_BYTES] {
            let (passed, seen) = checked(request(letters).as_bytes(), 4_000);
            assert!(
                passed.as_bytes() == REFUSED && seen.len() == 1 && seen[0].starts_with("414 "),
                "{passed}: {seen:?}"
            );
        }
    }

    #[test]
    fn what_the_library_would_refuse_is_answered_by_the_service() {
        let many: String = (0..=HEADERS).map(|number| format!("h{number}: x\r\n")).collect();
        let large = format!("h: {}\r\n", "x".repeat(HEADER_BYTES));
        for (request, status) in [
            (format!("GET / HTTP/1.1\r\n{many}\r\n"), "431"),
            (format!("GET / HTTP/1.1\r\n{large}\r\n"), "431"),
            ("GET / HTTP/3.7\r\n\r\n".to_owned(), "400"),
            ("hello\r\n\r\n".to_owned(), "400"),
            ("GET /a b HTTP/1.1\r\n\r\n".to_owned(), "400"),
            ("POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxy".to_owned(), "400"),
        ] {
            let (passed, seen) = checked(request.as_bytes(), 1_000);
            assert_eq!(passed.as_bytes(), REFUSED, "{status}");
            assert!(seen[0].starts_with(status), "{seen:?}");
        }
    }
}
