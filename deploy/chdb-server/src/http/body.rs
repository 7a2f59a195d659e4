//! Request bodies: a blocking reader for the thread that decodes them, and the fields of `multipart/form-data` bodies, in which
//! clients send long queries and their parameters.
//!
//! The form is parsed here, because the body is already a bounded buffer on a blocking thread; `multer` reads async streams.

use std::io::{self, Error, ErrorKind, Read};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use memchr::memmem::find;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::engine::{Code, EngineError};
use crate::limits::BODY_CHUNKS;

enum BodyChunk {
    Data(Bytes),
    End,
    Failed(Error),
}

pub struct BodyReader {
    chunks: mpsc::Receiver<BodyChunk>,
    current: Bytes,
    ended: bool,
}

/// Feeds the reader; runs while a blocking thread reads.
pub struct BodyFeed {
    body: Incoming,
    chunks: mpsc::Sender<BodyChunk>,
    wait: Duration,
}

/// Splits a body into its two sides. A slow reader slows the client down; a client that sends nothing for
/// `wait` fails the read.
pub fn channel(body: Incoming, wait: Duration) -> (BodyFeed, BodyReader) {
    let (sender, chunks) = mpsc::channel(BODY_CHUNKS);
    (BodyFeed { body, chunks: sender, wait }, BodyReader { chunks, current: Bytes::new(), ended: false })
}

impl BodyFeed {
    /// Forwards the body until it ends, fails or pauses too long, or the reader is dropped.
    pub async fn run(mut self) {
        loop {
            let chunk = match timeout(self.wait, self.body.frame()).await {
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => BodyChunk::Data(data),
                    Err(_trailers) => continue,
                },
                Ok(Some(Err(error))) => BodyChunk::Failed(Error::new(ErrorKind::ConnectionAborted, error)),
                Ok(None) => BodyChunk::End,
                Err(_elapsed) => {
                    let text = format!("the client sent nothing for {} s", self.wait.as_secs_f64());
                    BodyChunk::Failed(Error::new(ErrorKind::TimedOut, text))
                }
            };
            let over = !matches!(chunk, BodyChunk::Data(_));
            if self.chunks.send(chunk).await.is_err() || over {
                return;
            }
        }
    }
}

impl Read for BodyReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while !self.current.has_remaining() {
            if self.ended {
                return Ok(0);
            }
            match self.chunks.blocking_recv() {
                Some(BodyChunk::Data(data)) => self.current = data,
                Some(BodyChunk::End) => self.ended = true,
                Some(BodyChunk::Failed(error)) => return Err(error),
                // The request was dropped: a partial body must not look complete.
                None => return Err(ErrorKind::ConnectionAborted.into()),
            }
        }
        let length = self.current.remaining().min(buffer.len());
        if let Some(space) = buffer.get_mut(..length) {
            self.current.copy_to_slice(space);
        }
        Ok(length)
    }
}

fn bad(text: impl std::fmt::Display) -> EngineError {
    EngineError::new(Code::BAD_ARGUMENTS, format!("multipart body: {text}"))
}

/// The boundary, if the content type is `multipart/form-data`.
pub fn boundary(content_type: &str) -> Option<String> {
    let (kind, parameters) = content_type.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    parameters.split(';').find_map(|p| {
        let (name, value) = p.trim().split_once('=')?;
        name.eq_ignore_ascii_case("boundary").then(|| value.trim_matches('"').to_owned())
    })
}

/// The fields of a body, in order. Fails for malformed bodies and for file fields: external tables are not
/// supported.
pub fn fields(body: &[u8], boundary: &str) -> Result<Vec<(String, String)>, EngineError> {
    let delimiter = format!("--{boundary}");
    let mut rest = body;
    let start = find(rest, delimiter.as_bytes()).ok_or_else(|| bad("the boundary does not occur in it"))?;
    rest = rest.get(start + delimiter.len()..).unwrap_or_default();
    let closing = format!("\r\n{delimiter}");
    let mut fields = Vec::new();
    while let Some(part) = rest.strip_prefix(b"\r\n") {
        let length = find(part, closing.as_bytes()).ok_or_else(|| bad("it ends in the middle of a field"))?;
        let (field, after) = part.split_at_checked(length).unwrap_or((part, &[]));
        fields.push(one(field)?);
        rest = after.get(closing.len()..).unwrap_or_default();
    }
    if rest.starts_with(b"--") { Ok(fields) } else { Err(bad("it ends without its closing boundary")) }
}

fn one(field: &[u8]) -> Result<(String, String), EngineError> {
    let split =
        find(field, b"\r\n\r\n").ok_or_else(|| bad("a field has no empty line behind its headers"))?;
    let headers = String::from_utf8_lossy(field.get(..split).unwrap_or_default());
    let value = field.get(split + 4..).unwrap_or_default();
    let disposition = headers
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-disposition"))
        .map(|(_, value)| value)
        .ok_or_else(|| bad("a field has no content-disposition"))?;
    let parameter = |name: &str| {
        let parameters = disposition.split(';').filter_map(|p| p.trim().split_once('='));
        parameters
            .filter(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.trim_matches('"').to_owned())
            .next()
    };
    let name = parameter("name").ok_or_else(|| bad("a field has no name"))?;
    if parameter("filename").is_some() {
        let text = format!("external table {name:?}: external tables are not supported by this server");
        return Err(EngineError::new(Code::NOT_IMPLEMENTED, text));
    }
    let value = String::from_utf8(value.to_vec()).map_err(|_| bad(format!("field {name:?} is not UTF-8")))?;
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use super::{boundary, fields};

    #[test]
    fn fields_are_read_and_files_rejected() {
        let b = boundary("multipart/form-data; boundary=\"xx\"").unwrap();
        let body = "--xx\r\nContent-Disposition: form-data; name=\"query\"\r\n\r\nSELECT\r\n1\r\n\
                    --xx\r\nContent-Disposition: form-data; name=\"param_a\"\r\n\r\n\r\n--xx--\r\n";
        let read = fields(body.as_bytes(), &b).unwrap();
        assert_eq!(read, [("query".into(), "SELECT\r\n1".into()), ("param_a".into(), String::new())]);
        let file = body.replace("name=\"param_a\"", "name=\"t\"; filename=\"t\"");
        assert_eq!(fields(file.as_bytes(), &b).unwrap_err().code, 48);
        assert!(fields(&body.as_bytes()[..40], &b).is_err());
    }
}
