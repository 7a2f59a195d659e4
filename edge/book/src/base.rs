//! The levels of a book together with where it stands.

use crate::ladder::Ladder;
use crate::sequence::Position;
use crate::settings::BookSettings;
use crate::update::{BookUpdate, UpdateError};

/// A snapshot and what was applied to it.
#[derive(Clone, Debug)]
pub(crate) struct Base {
    pub(crate) ladder: Ladder,
    pub(crate) last_id: i64,
    pub(crate) time_us: Option<i64>,
    pub(crate) received_at_ns: i64,
}

impl Base {
    pub(crate) fn from_snapshot(update: &BookUpdate<'_>, settings: &BookSettings) -> Self {
        Base {
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
        self.ladder.apply(update, settings.levels_kept())?;
        self.last_id = update.last_id;
        self.time_us = update.time_us;
        self.received_at_ns = update.received_at_ns;
        Ok(())
    }

    pub(crate) fn position(&self) -> Position {
        Position { last_id: self.last_id, time_us: self.time_us }
    }
}
