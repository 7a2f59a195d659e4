//! Segments that an earlier run left in the folder, and the torn tail of its last write.

use std::fs::OpenOptions;
use std::io;

use marketprism_service::FileLock;

use super::super::reader::{RawSegment, all_segments};
use super::super::segment::blocks;
use super::{KeptSegment, RawWriter};

impl RawWriter {
    /// Takes the folder, and finds what an earlier run left in it.
    pub(super) fn prepare(&mut self) {
        if self.lock.is_none() {
            match FileLock::try_take(&self.shared.folder.join("lock")) {
                Ok(Ok(lock)) => self.lock = Some(lock),
                Ok(Err(holder)) => {
                    self.note(Err(io::Error::other(format!("the folder is used by process {holder}"))))
                }
                Err(error) => self.note(Err(error)),
            }
        }
        if self.lock.is_some() && !self.is_recovered {
            match self.recover() {
                Ok(()) => self.is_recovered = true,
                Err(error) => self.note(Err(error)),
            }
        }
    }

    fn recover(&mut self) -> io::Result<()> {
        let found = all_segments(&self.shared.folder)?;
        self.last_number = found.last().map_or(0, |segment| segment.number);
        let ends: Vec<i64> = found.iter().skip(1).map(|next| next.first_ns).collect();
        let newest = found.last().map(|newest| self.cut(newest)).transpose()?;
        self.segments = found
            .into_iter()
            .zip(ends.into_iter().map(Some).chain([None]))
            .map(|(RawSegment { path, first_ns, bytes, .. }, end)| KeptSegment {
                path,
                first_ns,
                last_ns: end.unwrap_or(first_ns),
                bytes,
            })
            .collect();
        if let (Some(segment), Some((bytes, last_ns))) = (self.segments.back_mut(), newest) {
            (segment.bytes, segment.last_ns) = (bytes, last_ns);
        }
        let start_ns = self.started.0;
        self.segments.iter_mut().for_each(|segment| segment.last_ns = segment.last_ns.min(start_ns));
        Ok(())
    }

    /// Cuts the torn tail of the newest segment: no other was written to when the process ended. Gives its bytes and its last time.
    fn cut(&self, segment: &RawSegment) -> io::Result<(u64, i64)> {
        let bytes = std::fs::read(&segment.path)?;
        let mut scanner = blocks(&bytes);
        let last_ns = scanner.by_ref().map(|block| block.entry.last_ns).max().unwrap_or(segment.first_ns);
        let (damage, whole) = (scanner.damage(), u64::try_from(scanner.position()).unwrap_or(u64::MAX));
        let (exchange, path) = (&self.shared.exchange, &segment.path);
        if let Some(form) = scanner.other_magic() {
            self.shared.lock().status.damaged += 1;
            let form = form.escape_ascii().to_string();
            tracing::error!(
                exchange,
                ?path,
                form,
                "raw segment of another version: not readable here, left as it is until raw.max_age_seconds or raw.max_bytes"
            );
            return Ok((segment.bytes, last_ns));
        }
        let mut state = self.shared.lock();
        state.status.damaged += damage.places;
        state.status.torn_tails += u64::from(damage.torn_bytes > 0);
        drop(state);
        if damage.places > 0 {
            let places = damage.places;
            tracing::error!(
                exchange,
                ?path,
                places,
                "damaged blocks in the raw frames: their frames are lost"
            );
        }
        if damage.torn_bytes > 0 {
            OpenOptions::new().write(true).open(path)?.set_len(whole)?;
            let torn_bytes = damage.torn_bytes;
            tracing::warn!(
                exchange,
                ?path,
                torn_bytes,
                "torn tail of a raw segment cut: its last write did not end"
            );
        }
        Ok((whole, last_ns))
    }
}
