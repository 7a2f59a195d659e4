//! Frames on their way into an adapter.

use thiserror::Error;

use crate::contract::Frames;

/// Frames in a batch: more gain nothing (16 give nearly all), and a fault costs a repeat of them.
pub const MAX_BATCH_FRAMES: usize = 64;

/// Bytes in a batch of several frames.
pub const MAX_BATCH_BYTES: usize = 1 << 20;

/// Bytes of a single frame. A frame larger than [`MAX_BATCH_BYTES`] makes a batch of its own.
pub const MAX_FRAME_BYTES: usize = 16 << 20;

/// Buffers larger than this are given back when a batch is cleared.
const KEPT_BYTES: usize = 2 * MAX_BATCH_BYTES;

/// Frames in the form in which the contract takes them: one shared buffer, copied once into the sandbox.
#[derive(Debug)]
pub struct FrameBatch {
    frames: Frames,
}

/// One frame of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Its bytes.
    pub bytes: &'a [u8],
    /// Where it came from, as the plan numbers sources.
    pub source: u32,
    /// When, in nanoseconds since 1970 UTC.
    pub received_at_ns: i64,
}

/// Why a frame was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PushError {
    /// Process the batch first.
    #[error("batch is full")]
    Full,
    /// No batch takes it.
    #[error("frame has {bytes} bytes, allowed are {MAX_FRAME_BYTES}")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
}

impl Default for FrameBatch {
    fn default() -> Self {
        Self::new()
    }
}

impl FrameBatch {
    /// An empty batch. It is meant to be used again: [`FrameBatch::clear`] keeps its buffers.
    #[must_use]
    pub fn new() -> Self {
        let frames =
            Frames { data: Vec::new(), ends: Vec::new(), sources: Vec::new(), received_at_ns: Vec::new() };
        FrameBatch { frames }
    }

    /// Adds a copy of a frame.
    ///
    /// # Errors
    /// [`PushError::Full`] when the batch must be processed first, [`PushError::TooLarge`] when no batch
    /// takes the frame.
    pub fn push(&mut self, bytes: &[u8], source: u32, received_at_ns: i64) -> Result<(), PushError> {
        if bytes.len() > MAX_FRAME_BYTES {
            return Err(PushError::TooLarge { bytes: bytes.len() });
        }
        let total = self.frames.data.len() + bytes.len();
        if self.len() >= MAX_BATCH_FRAMES || (total > MAX_BATCH_BYTES && !self.is_empty()) {
            return Err(PushError::Full);
        }
        let end = u32::try_from(total).map_err(|_| PushError::TooLarge { bytes: bytes.len() })?;
        self.frames.data.extend_from_slice(bytes);
        self.frames.ends.push(end);
        self.frames.sources.push(source);
        self.frames.received_at_ns.push(received_at_ns);
        Ok(())
    }

    /// Number of frames.
    #[must_use]
    pub fn len(&self) -> usize {
        self.frames.ends.len()
    }

    /// True without frames.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.frames.ends.is_empty()
    }

    /// Bytes of all frames.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.frames.data.len()
    }

    /// One frame.
    #[must_use]
    pub fn frame(&self, index: usize) -> Option<Frame<'_>> {
        let start = match index.checked_sub(1) {
            Some(before) => *self.frames.ends.get(before)?,
            None => 0,
        };
        let end = *self.frames.ends.get(index)?;
        Some(Frame {
            bytes: self.frames.data.get(start as usize..end as usize)?,
            source: *self.frames.sources.get(index)?,
            received_at_ns: *self.frames.received_at_ns.get(index)?,
        })
    }

    /// The frames in order.
    pub fn iter(&self) -> impl Iterator<Item = Frame<'_>> {
        (0..self.len()).filter_map(|index| self.frame(index))
    }

    /// Forgets the frames.
    pub fn clear(&mut self) {
        if self.frames.data.capacity() > KEPT_BYTES {
            self.frames.data = Vec::new();
        }
        self.frames.data.clear();
        self.frames.ends.clear();
        self.frames.sources.clear();
        self.frames.received_at_ns.clear();
    }

    pub(crate) fn lowered(&self) -> &Frames {
        &self.frames
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: frames come out as they went in, and the bounds hold, also for a frame larger than a batch.
    // Method: fill by count, by bytes, and with one large frame.
    #[test]
    fn batches_are_bounded() {
        let mut batch = FrameBatch::new();
        for i in 0..MAX_BATCH_FRAMES {
            batch.push(&vec![b'x'; i], i as u32, i as i64).unwrap();
        }
        assert_eq!(batch.push(b"x", 0, 0), Err(PushError::Full));
        assert_eq!(batch.frame(3), Some(Frame { bytes: b"xxx", source: 3, received_at_ns: 3 }));
        assert_eq!(batch.iter().map(|frame| frame.bytes.len()).sum::<usize>(), batch.bytes());
        assert_eq!(batch.frame(MAX_BATCH_FRAMES), None);
        batch.clear();
        batch.push(b"x", 0, 0).unwrap();
        assert_eq!(batch.push(&vec![0; MAX_BATCH_BYTES], 0, 0), Err(PushError::Full));
        batch.clear();
        batch.push(&vec![0; MAX_FRAME_BYTES], 0, 0).unwrap();
        assert_eq!(batch.push(b"x", 0, 0), Err(PushError::Full));
        batch.clear();
        let bytes = MAX_FRAME_BYTES + 1;
        assert_eq!(batch.push(&vec![0; bytes], 0, 0), Err(PushError::TooLarge { bytes }));
    }
}
