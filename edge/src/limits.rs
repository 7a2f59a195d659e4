//! Capacities and time limits of the edge, each with what happens when it is reached. Those with a configuration key are its defaults.

use std::time::Duration;

use marketprism_schema::RECEIVED_BEHIND_MAX;
use marketprism_service::HttpBounds;

pub use self::collected::*;

mod collected;

/// Inputs between the sockets and one feed's pipeline. Full: the sockets stop reading, a WARN every 10 s.
pub const FEED_INPUTS_MAX: usize = 4_096;

/// Their bytes: four frames of the largest size. Full: as above.
pub const FEED_INPUT_BYTES_MAX: u32 = 64 << 20;

/// Bytes after which a pipeline takes no further input into its turn.
pub const INPUT_BYTES_PER_TURN_MAX: usize = 1 << 20;

/// Records of a turn that wait for the queue. More: they go into the queue before the next event is processed.
pub const TURN_RECORDS_MAX: usize = 4_096;

/// Time for which the sockets of a feed wait for its pipeline. Passed: a reason in `/health`.
pub const FEED_BEHIND: Duration = Duration::from_secs(60);

/// Bytes of order-book updates that wait for snapshots, all books of a feed together. Full: the oldest updates of the book at hand are
/// dropped, counted as `buffer_full`, and a newer snapshot is needed.
pub const BOOKS_PENDING_BYTES_MAX: usize = 128 << 20;

/// Age of a book's newest snapshot among its deltas after which another one follows the next update: what a rebuild of a state reads at most.
pub const DELTA_SNAPSHOT_INTERVAL: Duration = Duration::from_secs(600);

/// Time without a dropped record after which the next update of each book carries a snapshot and its quote.
pub const LOST_RECORD_PAUSE: Duration = Duration::from_secs(10);

/// Defaults of `adapters.shadow_frames`, `shadow_ms` and `probation_ms`.
pub const SHADOW_FRAMES: u64 = 10_000;
pub const SHADOW_TIME: Duration = Duration::from_secs(30);
pub const PROBATION_TIME: Duration = Duration::from_secs(300);

/// Wait for the frames of a shadow beyond its time. Passed: the new adapter is refused.
pub const SHADOW_WAIT_MAX: Duration = Duration::from_secs(600);

/// Pause between two looks at the comparison of two versions of an adapter.
pub const TRIAL_LOOK_EVERY: Duration = Duration::from_millis(50);

/// Pause between two looks at parts that run another version of an adapter than their feeds start with, while no change runs.
pub const VERSIONS_LOOK_EVERY: Duration = Duration::from_secs(1);

/// Longest wait for a pipeline to obey a command about its adapter's version. Passed: the change is refused or rolled back.
pub const VERSION_ANSWER: Duration = Duration::from_secs(10);

/// Instances of a new adapter that are started because reference answers were renewed meanwhile. More: it is refused.
pub const SUCCESSOR_TRIES: usize = 5;

/// Changes of adapters in the history. More: the oldest are forgotten, but not the last of a wish of central's that stays.
pub const SWAPS_KEPT: usize = 32;

pub use marketprism_schema::COMPONENT_BYTES_MAX;

/// Interval at which the versions that central wants are requested, in addition to its notices.
pub const WANTED_EVERY: Duration = Duration::from_secs(5);

/// Interval of it while a wish waits for a feed that starts, or for another change.
pub const WANTED_WAITING_EVERY: Duration = Duration::from_secs(1);

/// Time for all pieces of a component to arrive from the broker. Passed: it is tried again.
pub const COMPONENT_FETCH: Duration = Duration::from_secs(120);

/// First and longest pause before a wanted component that could not be fetched is tried again; doubled each time.
pub const COMPONENT_RETRY: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(300));

/// Files of `adapters.watch_dir` that are looked at. More: the last by name are not, and a WARN.
pub const WATCHED_FILES_MAX: usize = 1_000;

/// Pause between two looks into `adapters.watch_dir`.
pub const WATCH_EVERY: Duration = Duration::from_secs(1);

/// First and longest pause before a file of `adapters.watch_dir` that found no running feed is tried again; doubled each time.
pub const WATCH_RETRY: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(3600));

/// Time between two looks whether the wall clock was set, and the least difference from the monotonic clock that counts as a step.
pub const CLOCK_STEPS_EVERY: Duration = Duration::from_secs(1);
pub const CLOCK_STEP_MIN: Duration = Duration::from_millis(250);

/// Time in which both clocks must be read for a look. More: the next look counts.
pub const CLOCK_READ_MAX: Duration = Duration::from_millis(10);

/// Age of a measured offset of the clock, in intervals of measuring and at least, from which it says nothing any more.
pub const CLOCK_EXPIRES: (u32, Duration) = (3, Duration::from_secs(60));

/// Ranges of ids that the synthetic stream remembers to have given, one more for each time that the clock was set. The oldest is forgotten:
/// its ids may be given again.
pub const SELFTEST_RANGES_MAX: usize = 64;

/// Default of `feed.depth`, where the venue has as many levels a side.
pub const DEPTH_DEFAULT: u32 = 400;

/// Inputs that the pipeline takes at once; 16 frames a call give most of the gain of batching, 64 all of it.
pub const INPUTS_PER_TURN_MAX: usize = 64;

/// Longest wait of a pipeline for room in the full queue while acknowledgements still arrive. Passed: the oldest are dropped.
pub const QUEUE_ROOM_WAIT: Duration = Duration::from_secs(2);
/// Default of `publisher.queue_max_messages`: records waiting or in flight. Full: see [`QUEUE_ROOM_WAIT`].
pub const QUEUE_MESSAGES_MAX: usize = 200_000;
/// Default of `publisher.queue_max_bytes`. Full: see [`QUEUE_ROOM_WAIT`].
pub const QUEUE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Default of `publisher.max_in_flight_messages`. Full: the publisher waits for acknowledgements before it reads the queue again.
pub const IN_FLIGHT_MESSAGES_MAX: usize = 4_096;
/// Default of `publisher.max_in_flight_bytes`. Full: as above.
pub const IN_FLIGHT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Messages and bytes in flight at first. They grow to the limits above while acknowledgements come in time.
pub const SEND_WINDOW_FIRST: (usize, usize) = (256, 1024 * 1024);
/// Messages and bytes in flight at least, however long acknowledgements take: 0.8 s of a link of 80 kB/s.
pub const SEND_WINDOW_MIN: (usize, usize) = (64, 64 * 1024);

/// Records that the publisher takes from the queue at once.
pub const PUBLISH_BATCH_MAX: usize = 256;
/// Default of `publisher.linger_ms`. Passed: a message goes with the events that it has.
pub const LINGER: Duration = Duration::from_millis(2);
/// Default of `publisher.batch_max_events`. Full: the message goes at once.
pub const MESSAGE_EVENTS_MAX: usize = 256;

/// Acknowledgements buffered by the broker's client: above the most in flight, so that none is dropped.
pub const ACKNOWLEDGEMENTS_MAX: usize = 262_144;

/// Default of `publisher.ack_timeout_ms`. Passed: the message is published again with the same id, if one sent after it was acknowledged; one message
/// if none of the stream was.
pub const ACK_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest time of an acknowledgement that makes the publisher wait longer for others, and longest wait for that of an audit.
pub const ACK_WAIT_MAX: Duration = Duration::from_secs(60);

/// Back-off before a refused message is published again: doubles from the first to the last.
pub const REPUBLISH_BACKOFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));

/// Time for acknowledgements after a reconnect. Passed: messages sent before it are published again.
pub const REPUBLISH_AFTER_RECONNECT: Duration = Duration::from_millis(500);

/// Interval of the edge's heartbeat. Central calls an edge silent that missed five.
pub const HEARTBEAT_EVERY: Duration = Duration::from_secs(3);

/// Interval at which an edge that may not publish looks whether it may write its heartbeat.
pub const HEARTBEAT_LOOK: Duration = Duration::from_millis(200);

/// Interval at which the lease of the edge's name is written.
pub const NAME_LEASE_EVERY: Duration = Duration::from_secs(3);

/// Time without a write after which another host may take it: three writes that failed. A new host waits as long before it publishes, and
/// collects meanwhile.
pub const NAME_LEASE_EXPIRY: Duration = Duration::from_secs(10);

/// Time for the broker to answer about the lease. Passed: the edge publishes, the name is not known to be free, a WARN.
pub const NAME_LEASE_ANSWER: Duration = Duration::from_secs(2);

/// Interval at which the progress of pipelines and publisher is checked.
pub const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// Checks in a row without progress, 30 s, until a pipeline or the publisher's connection is restarted. A pipeline may need
/// `sandbox.call_deadline_ms` more.
pub const STUCK_CHECKS: u32 = 30;

/// Pipelines that were given up and whose threads still hang, all feeds. Full: a feed whose pipeline hangs waits until one of them has ended.
pub const HANGING_PIPELINES_MAX: usize = 4;

/// Time for the broker's client to take the request to connect again. Passed: it is asked again after as many checks.
pub const RECONNECT_ANSWER: Duration = Duration::from_secs(2);

/// Longest time without an acknowledgement while messages wait for one. Passed: an error line and a reason in `/health`.
pub const PUBLISH_STALL: Duration = Duration::from_secs(5);
/// Time after an event that was refused for an impossible value in which `/health` is degraded for it.
pub const REFUSALS_SHOWN: Duration = Duration::from_secs(60);

/// Interval of the check for messages to publish again.
pub const IN_FLIGHT_SCAN: Duration = Duration::from_millis(100);

/// Event ids remembered per instrument and data type to detect duplicates. Full: the oldest is forgotten; storage still detects duplicates
/// by event id.
pub const RECENT_IDS: usize = 128;
/// Up to as many are remembered while the oldest is younger than [`RECENT_IDS_YOUNG_NS`], for connections overlap for seconds, and twice as
/// many as one message had: the longest page of a venue's history has 1,000, which come again with each poll.
pub const RECENT_IDS_MAX: usize = 16_384;
/// See [`RECENT_IDS_MAX`].
pub const RECENT_IDS_YOUNG_NS: i64 = 60_000_000_000;
/// Ids for which there is room at first: most instruments of an option chain have few.
pub const RECENT_IDS_FIRST: usize = 16;

/// Open gaps in the trade ids of one instrument. Full: the oldest leaves the list and is summed up with others.
pub const TRADE_GAPS_MAX: usize = 64;

/// Gaps of one book listed in `/coverage`. Full: the oldest leaves the list; counters keep the sum.
pub const BOOK_GAPS_MAX: usize = 16;

/// Characters of a frame in a log line.
pub const SNIPPET_CHARS_MAX: usize = 240;

/// Interval at which a pipeline reports to audits, `/coverage` and metrics.
pub const STATUS_EVERY: Duration = Duration::from_millis(500);

/// Longest wait of the command `health`.
pub const HEALTH_ANSWER: Duration = Duration::from_secs(5);

/// Longest wait for the answer of a reload, behind those that wait before it. Passed: 503, and the reload goes on.
pub const RELOAD_ANSWER: Duration = Duration::from_secs(600);

/// Starts of feeds with a cause that the audits remember, such as a reload. More: a gap since the oldest counts as cause `ours`.
pub const STARTS_MAX: usize = 64;

/// Time after which the terms of an instrument are reported to central again, though they have not changed: heals a lost message, or what another edge
/// reported wrongly.
pub const INSTRUMENTS_REPORT_EVERY: Duration = Duration::from_secs(24 * 60 * 60);

/// Streams whose downtime (delisted, removed) has no end yet. More: the oldest is forgotten; if it is listed again, its downtime gets no end.
pub const LASTING_DOWNTIMES_MAX: usize = 20_000;

/// Symbols that a log line or an audit names. More: the rest is counted only.
pub const SYMBOLS_NAMED_MAX: usize = 64;

/// Back-off between attempts to start a feed: doubles from the first to the last.
pub const START_BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));

/// Bytes of quarantined frames. Full: the oldest are deleted and counted.
pub const QUARANTINE_BYTES_MAX: u64 = 256 << 20;

/// Stop: time for the sockets to close properly. Passed: they are cut.
pub const SOCKETS_STOP: Duration = Duration::from_secs(3);

/// Stop: time for the pipelines to process their inputs. Passed: the rest is counted as lost.
pub const PIPELINES_DRAIN: Duration = Duration::from_secs(5);

/// Stop: time for the last acknowledgements. Passed: the rest is counted as lost, and the exit code says so.
pub const PUBLISHER_DRAIN: Duration = Duration::from_secs(10);

/// Stop: time for the publisher's task to end, and for each step of the queue. Passed (they hang): the stop goes on without them, and what
/// they hold counts as lost unless it is in the journal.
pub const PUBLISHER_END: Duration = Duration::from_secs(15);

/// Default of `HEALTH_GRACE_SECONDS`: time after the start in which `/health` is healthy with `grace`.
pub const HEALTH_GRACE: Duration = Duration::from_secs(120);

/// Bytes of a feed's recording, all files together. Full: `record` ends with an error.
pub const RECORDING_BYTES_MAX: u64 = 64 << 30;

/// Size of a recording's file. Full: the recording continues in a new file.
pub const RECORDING_FILE_BYTES: u64 = 256 * 1024 * 1024;

/// Wait for the venue's time of the first event after a lost connection, and for a further answer to its subscriptions. Passed: the gap has the
/// edge's times only.
pub const VENUE_TIME_WAIT: Duration = Duration::from_secs(1);

/// Wait for the answers to a connection's opening messages, by which its gap ends. Passed: the venue answers none, or answered before.
pub const OPENING_ANSWERS_WAIT: Duration = Duration::from_secs(10);

/// Interval at which a recording is flushed to its file.
pub const RECORDING_FLUSH: Duration = Duration::from_millis(500);

/// Bounds of each HTTP listener. Connections full: the next waits in the system's queue. No request in time, or a client that does not
/// read: the connection is closed.
pub const HTTP: HttpBounds = HttpBounds {
    connections: 128,
    head: Duration::from_secs(10),
    body: 64 * 1024,
    request: Duration::from_secs(10),
    write: Duration::from_secs(10),
    drain: Duration::from_secs(1),
};

/// Open windows of the audits: three hours of them at the default length. Full (a long outage of the broker): the oldest is given up,
/// counted, and can never be verified.
pub const AUDIT_WINDOWS_MAX: usize = 180;

/// Ids of duplicates in all open windows, 8 bytes each. Full: those beyond are counted only, and their windows cannot be verified.
pub const AUDIT_DUPLICATE_IDS_MAX: usize = 1_000_000;

/// Default of `audit.settle_ms`: least time from a window's end to its audit, for late frames to pass the pipelines.
pub const AUDIT_SETTLE: Duration = Duration::from_secs(5);

/// Interval of the check for windows to close.
pub const AUDIT_CLOSE_EVERY: Duration = Duration::from_millis(250);

/// Windows closed at once, so that many of them after an outage do not block the publisher.
pub const AUDIT_CLOSE_MAX: usize = 16;

/// Audit messages that wait for the broker. Full: the oldest is dropped, counted, and its window cannot be verified.
pub const AUDIT_OUTBOX_MESSAGES: usize = 2_048;

/// Their bytes. Full: as above.
pub const AUDIT_OUTBOX_BYTES: usize = 32 * 1024 * 1024;

/// Audit messages kept after the broker stored them, which are sent again if it loses them. Full: the oldest leaves, and a broker restored
/// from a copy before it leaves its window without an audit.
pub const AUDIT_STORED_MESSAGES: usize = 1_024;

/// Their bytes. Full: as above.
pub const AUDIT_STORED_BYTES: usize = 4 * 1024 * 1024;

/// Size of a journal of the last run: three times the outbox. Larger: it is no journal, and the time since the last stop cannot be verified.
pub const RUN_JOURNAL_BYTES: u64 = 96 * 1024 * 1024;

/// Killed runs whose audits are recovered by one start. An edge that is killed again and again before it has recovered any gives up the
/// oldest: their windows stay unverifiable.
pub const KILLED_RUNS_MAX: usize = 64;

/// Bytes of checkpoints a second, and pause between two: a larger checkpoint makes the pause longer. After a kill the time since the last
/// one is not audited.
pub const CHECKPOINT_BYTES_A_SECOND: u64 = 256 * 1024;

/// While events wait for the broker their segments stay, with the checkpoints: the pause doubles with each such part of `journal.max_bytes`
/// in checkpoints, so that they do not push out events. A day takes a sixteenth.
pub const CHECKPOINT_SHARE: u64 = 256;

/// First wait for the broker to store an audit, or an event of a correction. Passed: it is sent again with the same id, and waited for longer.
pub const AUDIT_ACK: Duration = Duration::from_secs(5);

/// Back-off before an audit is sent again: doubles from the first to the last.
pub const AUDIT_BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));

/// Stop: time to store the last audits. Passed: they stay in the journal of the run, and the next start sends them.
pub const AUDIT_DRAIN: Duration = Duration::from_secs(3);

/// Longest wait of an audit for the broker, and of a window for its close. Passed: a reason in `/health`.
pub const AUDIT_HEALTHY: Duration = Duration::from_secs(300);

/// Longest start of a feed, up to its first frame, that is a gap of cause `operator` (after a clean stop) or `ours`. Longer: `network`.
pub const START_GAP_SHORT: Duration = Duration::from_secs(10);

/// Incidents (lost connections, unusable frames) remembered to explain gaps. Full: the oldest is forgotten.
pub const INCIDENTS_MAX: usize = 128;

/// Incidents of one kind and source that are at most this far apart count as one.
pub const INCIDENT_MERGE: Duration = Duration::from_secs(1);

/// Time to hand the answer of a repair request to the broker's client. Passed: it is not sent.
pub const REPAIR_ANSWER: Duration = Duration::from_secs(2);

/// Default of `journal.max_bytes`. Full: segments in hot are deleted first; then the oldest, whose unsent events are lost and counted.
pub const JOURNAL_BYTES_MAX: u64 = 1 << 30;

/// Default of `journal.max_age_seconds`. Passed: the segment is deleted; its unsent events are lost and counted.
pub const JOURNAL_AGE_MAX: Duration = Duration::from_secs(24 * 3_600);

/// Greatest `journal.max_age_seconds` and `journal.keep_confirmed_seconds`: central refuses what was received earlier than
/// [`RECEIVED_BEHIND_MAX`]; the hour less is for the way there.
pub const JOURNAL_AGE_BOUND: Duration = RECEIVED_BEHIND_MAX.saturating_sub(Duration::from_secs(3_600));

/// Default of `journal.keep_confirmed_seconds`: events that are in hot are kept for repair, while there is room.
pub const JOURNAL_KEEP_CONFIRMED: Duration = Duration::from_secs(3_600);

/// Default of `journal.sync_interval_ms`: while a sync takes no longer, a power cut loses 200 ms at most. Later ones are counted.
pub const JOURNAL_SYNC_EVERY: Duration = Duration::from_millis(100);

/// Age of a write that is not synced, unless two intervals of syncs are longer. Passed: `/health` names the disk.
pub const JOURNAL_UNSYNCED: Duration = Duration::from_secs(5);

/// Size of a segment, and the number of segments of a smaller journal. Full: a new segment begins.
pub const JOURNAL_SEGMENT_BYTES: u64 = 4 << 20;
pub const JOURNAL_SEGMENTS: u64 = 64;

/// Age of a segment. Passed: a new one begins, so that few events can be freed late.
pub const JOURNAL_SEGMENT_AGE: Duration = Duration::from_secs(60);

/// Encoded records that wait for the disk. Full (the disk hangs): events are in memory only, and counted.
pub const JOURNAL_BUFFER_BYTES: usize = 8 << 20;

/// Memory that is kept for the next encoded records. Larger: it is freed, and grows again.
pub const JOURNAL_SPARE_BYTES: usize = 2 << 20;

/// Time from one group of writes to the next; what comes after a pause is written at once. A kill -9 loses what came in it.
pub const JOURNAL_WRITE_EVERY: Duration = Duration::from_millis(1);

/// Time without a write after a failed one, and between reads that fail.
pub const JOURNAL_RETRY: Duration = Duration::from_secs(1);

/// Failed reads of a segment, those for a limit of the host aside. Passed: its unsent events are lost and counted.
pub const JOURNAL_READ_RETRIES: u32 = 10;

/// Interval at which segments are deleted.
pub const JOURNAL_SWEEP: Duration = Duration::from_millis(250);

/// Records and bytes that are read from the journal at once.
pub const JOURNAL_CATCH_UP_BATCH: (usize, usize) = (256, 1 << 20);

/// Part of the bounds in flight that records of the journal may take. Full: the journal is not read, live events have the rest.
pub const JOURNAL_CATCH_UP_PART: u64 = 4;

/// Bytes of segments read for one repair request. More: the answer says that a part is left.
pub const JOURNAL_RESEND_BYTES: usize = 256 << 20;

/// Stop: time to read events that are on disk only, for the last audits. Passed: their windows have no audit.
pub const JOURNAL_END: Duration = Duration::from_secs(5);

/// Stop: time to write and sync the rest of the journal, and for each other file. Passed: the stop does not wait for the disk.
pub const JOURNAL_CLOSE: Duration = Duration::from_secs(5);

/// Interval at which the broker's streams and central's confirmed sequences are asked for.
pub const CONFIRMED_EVERY: Duration = Duration::from_secs(2);

/// Time for an answer to that. Passed: it is asked again at the next interval.
pub const CONFIRMED_ANSWER: Duration = Duration::from_secs(5);

/// Time without a confirmed sequence of a stream that acknowledges, after which central may read another one.
pub(crate) const UNCONFIRMED_AFTER: Duration = Duration::from_secs(600);

/// Age at its receipt up to which a trade of a stream is published. Older: dropped and counted, unless its id is missing.
pub const TRADE_AGE_MAX: Duration = Duration::from_secs(48 * 3_600);

/// Time between a hole in trade ids and the first request for its trades: late ones may still come.
pub const BACKFILL_DELAY: Duration = Duration::from_secs(1);

/// Holes in trade ids of one part of a feed that wait for the venue's history. Full: new ones are not filled, counted as `given_up`.
pub const BACKFILL_HOLES_MAX: usize = 1_024;

/// Answers in a row without a trade of the requested ids. Reached: these ids are not served, counted, and the ids after them are next.
pub const BACKFILL_MISSES_MAX: u32 = 3;

/// Requests in a row without a usable answer. Reached: the hole is given up, counted.
pub const BACKFILL_FAILURES_MAX: u32 = 10;

/// Pauses after such an answer or request: double from the first to the last.
pub const BACKFILL_PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Pause until ids that a search found to be older than the history are requested once more.
pub const BACKFILL_AGAIN: Duration = Duration::from_secs(10);

/// Time for an answer, with the wait for budgets and retries. Passed: the request counts as failed.
pub const BACKFILL_ANSWER_MAX: Duration = Duration::from_secs(300);

/// Time since the first request for a hole, or its last trade. Passed: the rest is given up, counted.
pub const BACKFILL_TIME_MAX: Duration = Duration::from_secs(3_600);

/// Interval at which the positions of trades are written.
pub const TRADE_POSITIONS_EVERY: Duration = Duration::from_secs(1);

/// Age of a position. Older: trades since then are not filled.
pub const TRADE_POSITION_AGE_MAX: Duration = Duration::from_secs(7 * 86_400);

/// Bytes of the file of positions. More: it counts as not readable.
pub const TRADE_POSITIONS_BYTES: u64 = 64 << 20;

/// Defaults of `raw.max_bytes`, `raw.max_age_seconds` and `raw.segment_bytes` of a feed. Full: the oldest segment is deleted, counted.
pub const RAW_BYTES_MAX: u64 = 4 << 30;
pub const RAW_AGE_MAX: Duration = Duration::from_secs(3 * 86_400);
pub const RAW_SEGMENT_BYTES: u64 = 32 << 20;

/// Segments that `raw.max_bytes` and `raw.max_age_seconds` have room for at least: one that is full is smaller or younger.
pub const RAW_SEGMENTS: u64 = 4;
pub const RAW_SEGMENT_AGES: u32 = 16;

/// Raw frames that wait for their writer. Full (the disk is slow): frames are missing in the raw frames only, counted.
pub const RAW_QUEUE_BYTES: usize = 32 << 20;
pub const RAW_QUEUE_LINES: usize = 100_000;

/// Compressed lists and reference answers that each segment begins with; half of a segment is the bound too. Full: the oldest answer is left out.
pub const RAW_HEAD_BYTES_MAX: usize = 64 << 20;

/// Lines of a block before compression, and the level of it.
pub const RAW_BLOCK_BYTES: usize = 512 << 10;
pub const RAW_COMPRESSION: i32 = 3;

/// Wait of a frame for more that are written with it: a kill loses no more.
pub const RAW_FLUSH: Duration = Duration::from_secs(1);

/// Interval of syncs: a power cut loses what came in it, and the block at hand.
pub const RAW_SYNC: Duration = Duration::from_secs(5);

/// Time without a write after a failed one.
pub const RAW_RETRY: Duration = Duration::from_secs(1);

/// A loss of raw frames is reported in `/health` for this time.
pub const RAW_LOSS_TOLD: Duration = Duration::from_secs(60);

/// Interval at which a component that is on disk nowhere is looked for again.
pub const RAW_COMPONENT_EVERY: Duration = Duration::from_secs(10);

/// Components kept with the raw frames of an exchange. Full: the oldest is deleted.
pub const RAW_COMPONENTS_MAX: usize = 16;
