//! A request body as a blocking reader, for the thread that decodes it.

use std::io::{Error, ErrorKind, Read, Result};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::mpsc;
use tokio::time::timeout;

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
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
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
