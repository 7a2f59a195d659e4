//! A request body as a blocking reader, for the thread that decodes it.

use std::io::{Error, ErrorKind, Read, Result};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::limits::BODY_CHUNKS;

enum Piece {
    Data(Bytes),
    End,
    Failed(Error),
}

/// The reading side.
pub struct BodyReader {
    pieces: mpsc::Receiver<Piece>,
    current: Bytes,
    ended: bool,
}

/// The feeding side, to be run while a blocking thread reads.
pub struct BodyFeed {
    body: Incoming,
    pieces: mpsc::Sender<Piece>,
    wait: Duration,
}

/// Splits a body into the two sides. The client is slowed down when the reader falls behind, and given up when it sends nothing for
/// `wait`.
pub fn channel(body: Incoming, wait: Duration) -> (BodyFeed, BodyReader) {
    let (sender, pieces) = mpsc::channel(BODY_CHUNKS);
    (BodyFeed { body, pieces: sender, wait }, BodyReader { pieces, current: Bytes::new(), ended: false })
}

impl BodyFeed {
    /// Passes the body on until it ends, fails, pauses too long, or the reader has gone.
    pub async fn run(mut self) {
        loop {
            let piece = match timeout(self.wait, self.body.frame()).await {
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => Piece::Data(data),
                    Err(_trailers) => continue,
                },
                Ok(Some(Err(error))) => Piece::Failed(Error::new(ErrorKind::ConnectionAborted, error)),
                Ok(None) => Piece::End,
                Err(_elapsed) => {
                    let text = format!("the client sent nothing for {} s", self.wait.as_secs_f64());
                    Piece::Failed(Error::new(ErrorKind::TimedOut, text))
                }
            };
            let over = !matches!(piece, Piece::Data(_));
            if self.pieces.send(piece).await.is_err() || over {
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
            match self.pieces.blocking_recv() {
                Some(Piece::Data(data)) => self.current = data,
                Some(Piece::End) => self.ended = true,
                Some(Piece::Failed(error)) => return Err(error),
                // The request was dropped: half a body must never look like a whole one.
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
