//! Every queue and history of this crate with its bound and what happens when it is full.

use std::time::Duration;

/// Commands waiting for one connection. Full: the command is refused and the caller knows.
pub(crate) const CONNECTION_COMMANDS_MAX: usize = 256;

/// Texts handed from a connection's supervisor to one generation. Full: the text is dropped and counted.
pub(crate) const SESSION_COMMANDS_MAX: usize = 1024;

/// Texts waiting for the message limit of one generation, opening messages aside. Full: the text is dropped
/// and counted.
pub(crate) const OUTBOX_MAX: usize = 4096;

/// State changes of generations waiting for their supervisor. Full: the generation waits.
pub(crate) const SESSION_EVENTS_MAX: usize = 16;

/// Messages read in a row before timers and texts to send get their turn.
pub(crate) const READS_IN_A_ROW: usize = 64;

/// Charges remembered for a budget that no plan has defined yet. Full: the oldest is forgotten.
pub(crate) const UNDEFINED_CHARGES_MAX: usize = 4096;

/// How long such a charge is remembered.
pub(crate) const UNDEFINED_CHARGE_AGE: Duration = Duration::from_secs(600);

/// Longest stay-away that is taken from a venue's `Retry-After`: bans are known to last up to three days.
pub(crate) const RETRY_AFTER_MAX: Duration = Duration::from_secs(3 * 24 * 3600);

/// Stay-away after 418 without `Retry-After`; it doubles with each further one.
pub(crate) const BAN_DEFAULT: Duration = Duration::from_secs(120);

/// Longest stay-away after 418 without `Retry-After`.
pub(crate) const BAN_MAX: Duration = Duration::from_secs(3600);

/// Least stay-away after 429 without `Retry-After`; it doubles with each further one.
pub(crate) const RATE_LIMITED_DEFAULT: Duration = Duration::from_secs(1);

/// Longest stay-away after 429 without `Retry-After`.
pub(crate) const RATE_LIMITED_MAX: Duration = Duration::from_secs(120);

/// Stay-away after 403 without `Retry-After`; it doubles with each further one.
pub(crate) const FORBIDDEN_DEFAULT: Duration = Duration::from_secs(10);

/// Longest stay-away after 403 without `Retry-After`.
pub(crate) const FORBIDDEN_MAX: Duration = Duration::from_secs(600);

/// Longest stay-away that is taken from a 5xx: one server of many may be wrong about the whole venue.
pub(crate) const UNAVAILABLE_MAX: Duration = Duration::from_secs(600);

/// Pages that the answers of one poll may ask for in one round, waiting ones included. Full: the page is
/// refused and counted.
pub(crate) const PAGES_PER_ROUND_MAX: u32 = 100;

/// How long after an answer a poll's next round waits for a page that the answer asks for; a quarter of the
/// period where that is shorter.
pub(crate) const PAGE_GRACE: Duration = Duration::from_millis(250);

/// Every poll of a feed is asked for the first time within this time, as far as the budgets have room.
pub(crate) const POLL_FIRST_MAX: Duration = Duration::from_secs(10);

/// How late by chance a round may be at most; a twentieth of the period where that is shorter.
pub(crate) const POLL_JITTER_MAX: Duration = Duration::from_secs(3);

/// Longest wait of a poll that failed: one with a longer period does not wait for its next time.
pub(crate) const POLL_RETRY_MAX: Duration = Duration::from_secs(60);

/// Planned renewals of a feed's connections are at least about this far apart, if their age allows it.
pub(crate) const RENEWAL_SPACING: Duration = Duration::from_secs(600);

/// Reconnects of one connection because streams fell silent, in [`SILENCE_RETRY_MAX`]. Full: the stream
/// waits, and that is counted.
pub(crate) const SILENCE_RECONNECTS_MAX: usize = 3;

/// Bytes of an error answer kept for the message.
pub(crate) const SNIPPET_BYTES: usize = 200;

/// Longest time between the reconnects of a stream that stays silent, and between the resubscriptions of one
/// that falls silent again and again, unless its expected silence is longer.
pub(crate) const SILENCE_RETRY_MAX: Duration = Duration::from_secs(900);
