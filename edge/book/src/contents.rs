//! Levels of a book with the sequence position they belong to.

use crate::checksum;
use crate::ladder::Ladder;
use crate::sequence::BookPosition;
use crate::settings::{BookSettings, Checksum};
use crate::update::{BookUpdate, UpdateError};

#[derive(Clone, Debug)]
pub(crate) struct BookContents {
    pub(crate) ladder: Ladder,
    pub(crate) last_id: i64,
    pub(crate) time_us: Option<i64>,
    pub(crate) received_at_ns: i64,
}

impl BookContents {
    pub(crate) fn from_snapshot(update: &BookUpdate<'_>, settings: &BookSettings) -> Self {
        BookContents {
            ladder: Ladder::from_snapshot(update, settings),
            last_id: update.last_id,
            time_us: update.time_us,
            received_at_ns: update.received_at_ns,
        }
    }

    pub(crate) fn apply(
        &mut self,
        update: &BookUpdate<'_>,
        settings: &BookSettings,
    ) -> Result<(), UpdateError> {
        self.ladder.apply(update, settings)?;
        self.last_id = update.last_id;
        self.time_us = update.time_us;
        self.received_at_ns = update.received_at_ns;
        Ok(())
    }

    /// The venue's checksum and the book's, if they differ. `update` was just applied.
    pub(crate) fn checksum_mismatch(
        &self,
        update: &BookUpdate<'_>,
        settings: &BookSettings,
    ) -> Option<(i64, i64)> {
        let (Checksum::Crc32Digits10 { price_scale, quantity_scale }, Some(theirs)) =
            (settings.checksum, update.checksum)
        else {
            return None;
        };
        let ours = i64::from(checksum::crc32_digits(&self.ladder, price_scale, quantity_scale));
        (ours != theirs).then_some((theirs, ours))
    }

    pub(crate) fn position(&self) -> BookPosition {
        BookPosition { last_id: self.last_id, time_us: self.time_us }
    }
}
