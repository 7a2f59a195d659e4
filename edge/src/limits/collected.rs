//! Instruments of feeds, the venues' lists, and changes while feeds run.

use std::time::Duration;

/// Instruments of a feed, and symbols that it names. More: refused, by `check` or when the venue's lists are read.
pub const INSTRUMENTS_MAX: usize = 5_000;

/// Patterns of a feed, and its exclusions. More: the configuration is refused.
pub const PATTERNS_MAX: usize = 64;

/// Default of `feed.listing_interval_ms`.
pub const LISTING_INTERVAL: Duration = Duration::from_secs(600);

/// Longest time until the lists are read again while the venue's ranking cannot be read.
pub const RANKING_RETRY: Duration = Duration::from_secs(60);

/// Longest time until the lists are read again after a collected instrument has stopped trading, and the time after its stop for which that is done.
pub const HALT_LISTING: Duration = Duration::from_secs(60);
pub const HALT_WATCHED: Duration = Duration::from_secs(2 * 3600);

/// Lists in a row that lack a collected instrument, until its streams end.
pub const LISTS_WITHOUT: u32 = 2;

/// Lists in a row that lack more than half of what is collected, until the streams end: an hour at the default interval.
pub const IMPLAUSIBLE_LISTS: u32 = 6;

/// Parts of a feed that collect what the venue listed later. Full: the newest part starts again with what comes.
pub const ADDED_PARTS_MAX: usize = 4;

/// Interval at which the configuration file is looked at. A change is applied once two looks in a row find the same content, so that a file
/// that is being written is not read half.
pub const CONFIG_WATCH_EVERY: Duration = Duration::from_secs(2);

/// Requests for a reload that wait for the one that runs. More: refused with 503.
pub const RELOADS_WAITING_MAX: usize = 4;

/// Reload: time for the venues to list what changed feeds select. Passed: the change is refused, the running feeds stay.
pub const RELOAD_LISTING: Duration = Duration::from_secs(60);

/// New connections that take the place of others: time to open and to bring something, besides their paced subscriptions and the settle time of an
/// overlap, before the others are closed. Passed: the others are closed first, the answer says so, and it is counted.
pub const OVERLAP_WAIT: Duration = Duration::from_secs(5);

/// Inputs that such connections have until the others are closed, of [`super::FEED_INPUT_BYTES_MAX`] too. Full: they stop reading.
pub const OVERLAP_INPUTS_MAX: usize = 131_072;

/// Interval at which they are looked at meanwhile.
pub const OVERLAP_LOOK: Duration = Duration::from_millis(50);

/// Reload: time for a pipeline to end streams in the order of its frames. Passed: they end at once in the audits.
pub const STREAMS_END: Duration = Duration::from_secs(5);
