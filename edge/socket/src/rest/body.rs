//! The body of an answer, unpacked while it comes and bounded.

use std::io::{Error, Result, Write};

use bytes::Bytes;
use flate2::write::MultiGzDecoder;

/// Packed bytes that are unpacked in a row. At most a thousand times as many come out.
const PACKED_STEP: usize = 1024;

pub(super) enum AnswerBody {
    Plain(BoundedBuffer),
    Gzip(Box<MultiGzDecoder<BoundedBuffer>>),
}

/// Refuses what exceeds its limit.
pub(super) struct BoundedBuffer {
    bytes: Vec<u8>,
    limit: usize,
    overflowed: bool,
}

impl Write for BoundedBuffer {
    fn write(&mut self, part: &[u8]) -> Result<usize> {
        if part.len() > self.limit - self.bytes.len() {
            self.overflowed = true;
            return Err(Error::other("too large"));
        }
        self.bytes.extend_from_slice(part);
        Ok(part.len())
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

impl AnswerBody {
    pub(super) fn new(is_packed: bool, limit: usize) -> Self {
        let buffer = BoundedBuffer { bytes: Vec::new(), limit, overflowed: false };
        match is_packed {
            true => Self::Gzip(Box::new(MultiGzDecoder::new(buffer))),
            false => Self::Plain(buffer),
        }
    }

    /// Takes a piece off the front of a part.
    pub(super) fn add(&mut self, part: &mut Bytes) -> Result<()> {
        match self {
            Self::Plain(buffer) => buffer.write_all(&part.split_off(0)),
            Self::Gzip(decoder) => decoder.write_all(&part.split_to(PACKED_STEP.min(part.len()))),
        }
    }

    fn buffer(&self) -> &BoundedBuffer {
        match self {
            Self::Plain(buffer) => buffer,
            Self::Gzip(decoder) => decoder.get_ref(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.buffer().bytes.len()
    }

    pub(super) fn overflowed(&self) -> bool {
        self.buffer().overflowed
    }

    /// The part that was unpacked so far.
    pub(super) fn so_far(&self) -> &[u8] {
        &self.buffer().bytes
    }

    /// Hands out the whole; a packed one must be complete.
    pub(super) fn finish(&mut self) -> Result<Bytes> {
        let buffer = match self {
            Self::Plain(buffer) => buffer,
            Self::Gzip(decoder) => {
                decoder.try_finish()?;
                decoder.get_mut()
            }
        };
        Ok(std::mem::take(&mut buffer.bytes).into())
    }
}
