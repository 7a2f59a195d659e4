//! Every capacity and time limit of the edge, each with what happens when it is reached. What users may set stands in the
//! configuration, with its default here.

use std::time::Duration;

use marketprism_service::HttpBounds;

/// Inputs between the sockets and one feed's pipeline. Full: the readers stop reading, so that the network pushes back; nothing is
/// dropped here.
pub const FEED_INPUTS_MAX: usize = 4_096;

/// Inputs that the pipeline takes at once; 16 frames a call give most of what batching gains, 64 all of it.
pub const INPUTS_PER_TURN_MAX: usize = 64;

/// Longest time for which a pipeline waits for room in a full journal while acknowledgements still arrive. After it the oldest
/// records are dropped, and counted.
pub const JOURNAL_ROOM_WAIT: Duration = Duration::from_secs(2);

/// Default of `publisher.queue_max_messages`: records that wait or are in flight. Full: see [`JOURNAL_ROOM_WAIT`].
pub const QUEUE_MESSAGES_MAX: usize = 200_000;

/// Default of `publisher.queue_max_bytes`. Full: see [`JOURNAL_ROOM_WAIT`].
pub const QUEUE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Default of `publisher.max_in_flight_messages`. Full: the publisher reads no more from the journal until acknowledgements come.
pub const IN_FLIGHT_MESSAGES_MAX: usize = 4_096;

/// Default of `publisher.max_in_flight_bytes`. Full: as above.
pub const IN_FLIGHT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Records that the publisher takes from the journal at once.
pub const PUBLISH_BATCH_MAX: usize = 256;

/// Acknowledgements that the broker connection may hold for us: above the most in flight, so that none is dropped as slow.
pub const ACKNOWLEDGEMENTS_MAX: usize = 262_144;

/// Default of `publisher.ack_timeout_ms`. Passed: the message is published again under the same id.
pub const ACK_TIMEOUT: Duration = Duration::from_secs(5);

/// Wait before a refused message is published again: doubles from the first to the last.
pub const REPUBLISH_BACKOFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));

/// After a reconnect, messages sent before it are published again when no acknowledgement came for this long.
pub const REPUBLISH_AFTER_RECONNECT: Duration = Duration::from_millis(500);

/// How often deadlines of messages in flight are looked at.
pub const IN_FLIGHT_SCAN: Duration = Duration::from_millis(100);

/// Trades that each instrument remembers to tell copies (overlapping connections, a venue's repetition) from events. Full: the oldest is
/// forgotten; storage still tells copies by event id.
pub const RECENT_TRADE_IDS_MAX: usize = 4_096;

/// The same for every other data type. They come every second at most, or as a page of a poll.
pub const RECENT_IDS_MAX: usize = 1_024;

/// Holes in the trade ids of one instrument that are told in `/coverage`. Full: the oldest is dropped from the list; counters keep
/// the sum.
pub const TRADE_GAPS_MAX: usize = 64;

/// Gaps of one book that are told in `/coverage`. Full: the oldest is dropped from the list; counters keep the sum.
pub const BOOK_GAPS_MAX: usize = 16;

/// Characters of a frame shown in a log line.
pub const SNIPPET_CHARS_MAX: usize = 240;

/// How often a pipeline tells its books' states to `/coverage` and the metrics.
pub const STATUS_EVERY: Duration = Duration::from_millis(500);

/// Waits between tries to start a feed: doubles from the first to the last.
pub const START_BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));

/// Shutdown: time for the sockets to close politely. Passed: they are cut.
pub const SOCKETS_STOP: Duration = Duration::from_secs(3);

/// Shutdown: time for the pipelines to work off their inputs. Passed: the rest is counted as lost.
pub const PIPELINES_DRAIN: Duration = Duration::from_secs(5);

/// Shutdown: time for the last acknowledgements. Passed: what is left is counted as lost, and the exit code says so.
pub const PUBLISHER_DRAIN: Duration = Duration::from_secs(10);

/// Default of `HEALTH_GRACE_SECONDS`: time after the start in which `/health` says healthy with `grace`.
pub const HEALTH_GRACE: Duration = Duration::from_secs(120);

/// Size at which a recording goes on in a new file.
pub const RECORDING_FILE_BYTES: u64 = 256 * 1024 * 1024;

/// How often a recording is flushed to its file.
pub const RECORDING_FLUSH: Duration = Duration::from_millis(500);

/// Bounds of each HTTP listener. Connections full: the next one waits in the system's queue. No request in time: the connection is closed.
pub const HTTP: HttpBounds =
    HttpBounds { connections: 128, head: Duration::from_secs(10), drain: Duration::from_secs(1) };

/// Windows with a tally that may be open at once: three hours of them at the default length. Full (the broker is away for longer): the
/// oldest is given up, counted, and can never be verified.
pub const AUDIT_WINDOWS_MAX: usize = 180;

/// Default of `audit.settle_ms`: least time from a window's end to its audit, for late frames to pass through the pipelines.
pub const AUDIT_SETTLE: Duration = Duration::from_secs(5);

/// How often windows are looked at whether they can be closed.
pub const AUDIT_CLOSE_EVERY: Duration = Duration::from_millis(250);

/// Windows closed at once, so that many of them after an outage hold nothing up.
pub const AUDIT_CLOSE_MAX: usize = 16;

/// Audit messages that wait for the broker. Full: the oldest is dropped, counted, and its window cannot be verified.
pub const AUDIT_OUTBOX_MESSAGES: usize = 2_048;

/// Their bytes. Full: as above.
pub const AUDIT_OUTBOX_BYTES: usize = 32 * 1024 * 1024;

/// Time for the broker to store an audit. Passed: it is sent again under the same id.
pub const AUDIT_ACK: Duration = Duration::from_secs(5);

/// Wait before an audit that was not stored is sent again: doubles from the first to the last.
pub const AUDIT_BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));

/// Shutdown: time for the last audits to be stored. Passed: they are lost, counted, and the log says so.
pub const AUDIT_DRAIN: Duration = Duration::from_secs(3);

/// Audits that wait for the broker, or windows that stay unsettled, for longer than this are a reason in `/health`.
pub const AUDIT_HEALTHY: Duration = Duration::from_secs(300);

/// Longest time from a feed's start to its first frame that is blamed on this system. Longer: on the network.
pub const START_GAP_OURS: Duration = Duration::from_secs(10);

/// Incidents (lost connections, unreadable frames) that a pipeline remembers to explain holes. Full: the oldest is forgotten, and a hole
/// of its time is blamed on the venue.
pub const INCIDENTS_MAX: usize = 128;

/// Incidents of one kind and source that are at most so far apart are one.
pub const INCIDENT_MERGE: Duration = Duration::from_secs(1);

/// Longest time to hand an answer to a repair request to the broker connection. Passed: whoever asked gets none.
pub const REPAIR_ANSWER: Duration = Duration::from_secs(2);
