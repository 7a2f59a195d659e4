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

/// Stay-away after 418 without `Retry-After`.
pub(crate) const BAN_DEFAULT: Duration = Duration::from_secs(120);

/// Least stay-away after 429 without `Retry-After`; it doubles with each further one.
pub(crate) const RATE_LIMITED_DEFAULT: Duration = Duration::from_secs(1);

/// Stay-away after 403 without `Retry-After`.
pub(crate) const FORBIDDEN_DEFAULT: Duration = Duration::from_secs(10);

/// Bytes of an error answer kept for the message.
pub(crate) const SNIPPET_BYTES: usize = 200;

/// Longest time between the reconnects of a stream that stays silent, unless its expected silence is longer.
pub(crate) const SILENCE_RETRY_MAX: Duration = Duration::from_secs(900);
