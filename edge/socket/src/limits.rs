//! Bounds of every queue and history in this crate, and the effect of reaching them.

use std::time::Duration;

/// Commands queued for a connection. Full: the command is refused.
pub(crate) const CONNECTION_COMMANDS_MAX: usize = 256;

/// Texts from a supervisor to one generation. Full: the text is dropped and counted.
pub(crate) const SESSION_COMMANDS_MAX: usize = 1024;

/// Texts waiting for the message limit of a generation, besides opening messages. Full: the text is dropped
/// and counted.
pub(crate) const OUTBOX_MAX: usize = 4096;

/// Events of generations for their supervisor. Full: the generation waits.
pub(crate) const SESSION_EVENTS_MAX: usize = 16;

/// Bytes of the texts that wait for the message limit. Full: the text is dropped and counted.
pub(crate) const OUTBOX_BYTES_MAX: usize = 4 << 20;

/// Bytes that a connection could not write yet: twice the largest message of a plan. Full: of further pings only the newest is
/// answered; no progress for [`crate::SocketOptions::write_timeout`]: the connection is closed.
pub(crate) const WRITE_BUFFER_BYTES_MAX: usize = 512 << 10;

/// Sent messages remembered for a message limit. A plan with a larger limit is paced by this one.
pub(crate) const PACED_MESSAGES_MAX: usize = 65_536;

/// Size from which a message is large.
pub(crate) const LARGE_MESSAGE_BYTES: usize = 1 << 20;

/// Large messages that a feed reads at once, and large answers. Full: the others are not read on.
pub(crate) const LARGE_MESSAGES_AT_ONCE: usize = 2;

/// Headers of an answer, in the library's buffer of 408 KiB. More: the request fails.
pub(crate) const ANSWER_HEADERS_MAX: usize = 100;

/// Interval of the log lines about a feed whose sockets wait for its pipeline. They wait on: nothing is dropped.
pub(crate) const BEHIND_EVERY: Duration = Duration::from_secs(10);

/// Addresses of one name that are tried. More: the others are not.
pub(crate) const ADDRESSES_MAX: usize = 16;

/// Addresses that are remembered as failing behind their TCP. Full: the oldest failure is forgotten, and its address tried in its turn again.
pub(crate) const FAILING_ADDRESSES_MAX: usize = 256;

/// Time after a failed TLS, or a missing answer, in which the other addresses of the name are tried first.
pub(crate) const FAILING_ADDRESS_KEPT: Duration = Duration::from_secs(600);

/// Wait for an address before the next one is tried too (RFC 8305 section 5).
pub(crate) const ADDRESS_DELAY: Duration = Duration::from_millis(250);

/// Wait for an address that a proxy connects to, in several round trips.
pub(crate) const PROXIED_ADDRESS_DELAY: Duration = Duration::from_secs(1);

/// Head of a proxy's answer. More: the connect fails.
pub(crate) const PROXY_HEAD_BYTES_MAX: usize = 16 << 10;

/// Idle time after which a connection for requests is closed.
pub(crate) const IDLE_REQUESTS: Duration = Duration::from_secs(90);

/// Messages read in a row before timers and texts.
pub(crate) const READS_IN_A_ROW: usize = 64;

/// Charges remembered for a budget without definition. Full: the oldest is dropped.
pub(crate) const UNDEFINED_CHARGES_MAX: usize = 4096;

/// Lifetime of such a charge.
pub(crate) const UNDEFINED_CHARGE_AGE: Duration = Duration::from_secs(600);

/// Longest accepted `Retry-After`: bans last up to three days.
pub(crate) const RETRY_AFTER_MAX: Duration = Duration::from_secs(3 * 24 * 3600);

/// A longer one, as a number, is no wait: it counts as none.
pub(crate) const RETRY_AFTER_TRUE_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// Block after 418 without `Retry-After`; doubles up to [`BAN_MAX`].
pub(crate) const BAN_DEFAULT: Duration = Duration::from_secs(120);
pub(crate) const BAN_MAX: Duration = Duration::from_secs(3600);

/// Block after 429 without `Retry-After`; doubles up to [`RATE_LIMITED_MAX`].
pub(crate) const RATE_LIMITED_DEFAULT: Duration = Duration::from_secs(1);
pub(crate) const RATE_LIMITED_MAX: Duration = Duration::from_secs(120);

/// Block after 403 without `Retry-After`; doubles up to [`FORBIDDEN_MAX`].
pub(crate) const FORBIDDEN_DEFAULT: Duration = Duration::from_secs(10);
pub(crate) const FORBIDDEN_MAX: Duration = Duration::from_secs(600);

/// Longest block after a 5xx: one of many servers may be wrong about the whole venue.
pub(crate) const UNAVAILABLE_MAX: Duration = Duration::from_secs(600);

/// Blocks of this length are kept over a restart, which takes some seconds itself.
pub(crate) const BLOCK_KEPT_MIN: Duration = Duration::from_secs(10);

/// File of kept blocks. Larger: it counts as empty.
pub(crate) const BLOCKS_BYTES_MAX: u64 = 1 << 20;

/// Further pages of a poll per round. Full: the page is refused and counted.
pub(crate) const PAGES_PER_ROUND_MAX: u32 = 100;

/// Pause between two looks for spare room in the budgets of a backfill.
pub(crate) const SPARE_CHECK_EVERY: Duration = Duration::from_millis(200);

/// Longest wait of a backfill for spare room. Over: the request fails.
pub(crate) const SPARE_WAIT_MAX: Duration = Duration::from_secs(120);

/// Wait for a further page after an answer; at most a quarter of the period.
pub(crate) const PAGE_GRACE: Duration = Duration::from_millis(250);

/// Time for the first request of every poll of a feed, as far as budgets allow.
pub(crate) const POLL_FIRST_MAX: Duration = Duration::from_secs(10);

/// Longest jitter of a round; at most a twentieth of the period.
pub(crate) const POLL_JITTER_MAX: Duration = Duration::from_secs(3);

/// Longest wait after a failed round.
pub(crate) const POLL_RETRY_MAX: Duration = Duration::from_secs(60);

/// Distance of planned renewals, if the maximum age allows it.
pub(crate) const RENEWAL_SPACING: Duration = Duration::from_secs(600);

/// Reconnects of a connection for silent streams within [`SILENCE_RETRY_MAX`]. Full: the stream waits,
/// counted.
pub(crate) const SILENCE_RECONNECTS_MAX: usize = 3;

/// Wait for the first event of a replacement, while the connection that it replaces brings some, before the next look.
pub(crate) const TAKEOVER_LOOK: Duration = Duration::from_millis(100);

/// Age of the oldest event that the pipeline has not processed from which on it is behind: the silence of a stream says nothing of the venue then.
pub(crate) const INPUTS_BEHIND: Duration = Duration::from_secs(1);

/// Bytes of an error answer kept for the message.
pub(crate) const SNIPPET_BYTES: usize = 200;

/// Longest wait between reconnects, or resubscriptions, for a silent stream, unless its expected silence is
/// longer.
pub(crate) const SILENCE_RETRY_MAX: Duration = Duration::from_secs(900);

/// Part of the time without an event before a subscription counts as unanswered, between two resubscriptions of a connection.
pub(crate) const UNANSWERED_SPACING_PART: u32 = 30;

/// Longest wait before a stream is subscribed again once more, in times of the first one.
pub(crate) const UNANSWERED_RETRY_TIMES: u32 = 24;

/// Round trips of a measurement of the venue's clock; the fastest counts.
pub(crate) const CLOCK_ROUND_TRIPS: usize = 4;

/// The first measurement of a feed comes within this time.
pub(crate) const CLOCK_FIRST_WITHIN: Duration = Duration::from_secs(5);

/// Difference between wall clock and monotonic clock over a round trip. More: the trip counts for nothing.
pub(crate) const CLOCK_UNSTEADY: Duration = Duration::from_millis(100);

/// Bytes of an answer with the venue's time. More: it is unreadable.
pub(crate) const CLOCK_ANSWER_BYTES: usize = 64 << 10;
