//! Batches of frames for the adapter, bounded in frames and bytes.

use thiserror::Error;

use crate::contract::Frames;
use crate::index::{FrameIndex, SourceIndex};

/// Frames in a batch: 16 already give nearly all the gain, and a fault repeats the whole batch.
pub const MAX_BATCH_FRAMES: usize = 64;

/// Bytes in a batch of several frames.
pub const MAX_BATCH_BYTES: usize = 1 << 20;

/// Bytes of a single frame. A frame larger than [`MAX_BATCH_BYTES`] makes a batch of its own.
pub const MAX_FRAME_BYTES: usize = 16 << 20;

/// Buffers larger than this are freed when a batch is cleared.
const KEPT_BYTES: usize = 2 * MAX_BATCH_BYTES;

/// Frames in one shared buffer, the contract's form, copied once into the sandbox.
#[derive(Debug)]
pub struct FrameBatch {
    frames: Frames,
}

/// One frame of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Payload.
    pub bytes: &'a [u8],
    /// Connection, poll or resync that it came from.
    pub source: SourceIndex,
    /// Receive time, nanoseconds since 1970 UTC.
    pub received_at_ns: i64,
}

/// Rejection of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PushError {
    /// Process the batch first.
    #[error("batch is full")]
    Full,
    /// Larger than any batch.
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
    /// An empty batch. Reuse it: [`FrameBatch::clear`] keeps its buffers.
    pub fn new() -> Self {
        let frames =
            Frames { data: Vec::new(), ends: Vec::new(), sources: Vec::new(), received_at_ns: Vec::new() };
        FrameBatch { frames }
    }

    /// Adds a copy of a frame.
    ///
    /// # Errors
    /// [`PushError::Full`]: process the batch first. [`PushError::TooLarge`]: no batch holds the frame.
    pub fn push(
        &mut self,
        bytes: &[u8],
        source: impl Into<SourceIndex>,
        received_at_ns: i64,
    ) -> Result<(), PushError> {
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
        self.frames.sources.push(source.into().into());
        self.frames.received_at_ns.push(received_at_ns);
        Ok(())
    }

    /// Number of frames.
    pub fn len(&self) -> usize {
        self.frames.ends.len()
    }

    /// True without frames.
    pub fn is_empty(&self) -> bool {
        self.frames.ends.is_empty()
    }

    /// Bytes of all frames.
    pub fn bytes(&self) -> usize {
        self.frames.data.len()
    }

    /// One frame.
    pub fn frame(&self, index: FrameIndex) -> Option<Frame<'_>> {
        let index = index.position();
        let start = match index.checked_sub(1) {
            Some(before) => *self.frames.ends.get(before)?,
            None => 0,
        };
        let end = *self.frames.ends.get(index)?;
        Some(Frame {
            bytes: self.frames.data.get(start as usize..end as usize)?,
            source: (*self.frames.sources.get(index)?).into(),
            received_at_ns: *self.frames.received_at_ns.get(index)?,
        })
    }

    /// The frames in order.
    pub fn iter(&self) -> impl Iterator<Item = Frame<'_>> {
        (0..self.len()).filter_map(|index| self.frame(FrameIndex::at(index)))
    }

    /// Removes the frames.
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

    #[test]
    fn batches_are_bounded() {
        let mut batch = FrameBatch::new();
        for i in 0..MAX_BATCH_FRAMES {
            batch.push(&vec![b'x'; i], i as u32, i as i64).unwrap();
        }
        assert_eq!(batch.push(b"x", 0, 0), Err(PushError::Full));
        assert_eq!(batch.frame(3.into()), Some(Frame { bytes: b"xxx", source: 3.into(), received_at_ns: 3 }));
        assert_eq!(batch.iter().map(|frame| frame.bytes.len()).sum::<usize>(), batch.bytes());
        assert_eq!(batch.frame(FrameIndex::at(MAX_BATCH_FRAMES)), None);
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
