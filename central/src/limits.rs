//! Every timeout, bound and interval that is not configurable, with its reason.

use std::time::Duration;

use marketprism_schema::DataType;
use marketprism_service::{Backoff, HttpBounds};

/// A ClickHouse query over metadata or a bounded set of ids. Longer means that the server is in trouble.
pub const QUERY_TIMEOUT: Duration = Duration::from_secs(20);

/// A statement that creates or changes a table. On a cluster the server waits for the others, by default 180 s.
pub const DDL_TIMEOUT: Duration = Duration::from_secs(200);
/// Scratch databases live for seconds; an older one was left by a killed process. Clocks may differ by minutes.
pub const SCRATCH_AGE: Duration = Duration::from_secs(3600);

/// Longest wait of the command `health`, and bytes of the answer.
pub const HEALTH_ANSWER: Duration = Duration::from_secs(5);
/// See [`HEALTH_ANSWER`].
pub const HEALTH_BYTES_MAX: usize = 1 << 20;

/// A broker request answered from memory.
pub const BROKER_TIMEOUT: Duration = Duration::from_secs(5);

/// Wait of `init` for the connection to the broker.
pub const BROKER_CONNECT_WAIT: Duration = Duration::from_secs(15);

/// Sending a group of acknowledgements. It only waits while the connection is down; unsent ones are counted, and their
/// messages redelivered and recognized.
pub const ACK_TIMEOUT: Duration = Duration::from_secs(10);

/// Time for which a failed write to the leases is a reason in `/health`; the next try comes within the time of a lease.
pub const LEASE_PROBLEM: Duration = Duration::from_secs(30);

/// Time over which writes to the leases must fail to be a reason: those on their way while the process was suspended fail all at once.
pub const LEASE_PROBLEM_MIN: Duration = Duration::from_secs(1);

/// Wait for a connection to ClickHouse, shared by the addresses of the server's name.
pub const CLICKHOUSE_CONNECT: Duration = Duration::from_secs(3);
/// Interval of probes of a quiet connection to ClickHouse.
pub const TCP_KEEPALIVE: Duration = Duration::from_secs(60);
/// An idle connection to ClickHouse is closed after this time, before the server closes it.
pub const CLICKHOUSE_IDLE: Duration = Duration::from_secs(2);

/// Age of a trade when its edge received it. Greater: it is left out of the latency from the venue.
pub const PAST_TRADE_AGE: Duration = Duration::from_secs(60);

/// Pauses between retries.
pub const BACKOFF: Backoff = Backoff::new(BACKOFF_FIRST, Duration::from_secs(5));
/// The first of [`BACKOFF`].
pub const BACKOFF_FIRST: Duration = Duration::from_millis(200);

/// Prefetch per consumer. Small enough to be processed well within the ack wait, large enough to keep a pull request open. When
/// full the broker keeps the rest.
pub const PREFETCH_EVENTS: usize = 5_000;

/// Bytes of a pull request, of which at most two are open, or those of the broker's largest message where that is larger. When full the broker keeps the
/// rest.
pub const PREFETCH_BYTES: usize = 32 << 20;
/// Room for what the broker counts beside a message's payload and headers: its subject and that of its acknowledgement.
pub const ENVELOPE_BYTES: usize = 16 << 10;
/// [`PREFETCH_BYTES`] of states and changes of order books: 5,000 deltas, or as many states of 15 kB as are processed within the ack wait.
pub const PREFETCH_ORDER_BOOK_BYTES: usize = 8 << 20;
/// [`PREFETCH_BYTES`] of each type with few events.
pub const PREFETCH_OTHERS_BYTES: usize = 4 << 20;

/// Lifetime of a pull request; it is renewed long before.
pub const PULL_EXPIRES: Duration = Duration::from_secs(30);
/// Idle heartbeat of a pull; two missed ones end the subscription, and a new one is opened.
pub const PULL_HEARTBEAT: Duration = Duration::from_secs(5);

/// Duplicates that wait until their events are stored, per table, with their shares of the messages. Full: no more messages of the table are taken.
pub const PENDING_DUPLICATES_BYTES: usize = 64 << 20;

/// Events per turn of the worker, which ends with the message that reaches it. At 50 us for the largest event, 10 ms.
pub const EVENTS_A_TURN: usize = 256;

/// Inserts of rows that ClickHouse accepts and does not hold: a lying token needs two; after three the rows are refused.
pub const INSERT_ROUNDS: u32 = 3;

/// A materialized view without memory, space or Keeper holds up the rows of its table for so long; then they are stored, and the view lacks them.
pub const VIEW_PATIENCE: Duration = Duration::from_secs(60);

/// An insert that fails for so long is looked up before the next try: ClickHouse knows its token for an hour on a cluster (25.10), or for 10,000
/// inserts into the table, which eight partitions make within 20 minutes.
pub const TOKEN_SURE: Duration = Duration::from_secs(600);

/// Event ids per lookup: 6,500 times 32 bytes stay below the server's default query size (256 KiB).
pub const IDS_A_QUERY: usize = 6_500;

/// Polling interval for the end of cancelled tasks.
pub const END_POLL: Duration = Duration::from_millis(10);
/// Polling interval of a new owner for inserts of the previous one. Two quiet answers in a row are needed.
pub const QUIET_POLL: Duration = Duration::from_millis(200);
/// Interval at which a central without streams looks for one with two.
pub const SHARE_POLL: Duration = Duration::from_secs(2);
/// Wait for a demanded stream: a flush and some lease polls.
pub const SHARE_PATIENCE: Duration = Duration::from_secs(15);
/// Interval at which a stream's owner looks whether a gap scan, which writes the confirmed sequence, is due.
pub const CONFIRM_POLL: Duration = Duration::from_secs(2);
/// A consumer that delivers nothing for so long, while messages are pending and pulls wait, is stalled.
pub const STALLED_AFTER: Duration = Duration::from_secs(60);
/// Longest time between two subscriptions for the same messages.
pub const STALLED_PATIENCE_MAX: Duration = Duration::from_secs(3_600);
/// Interval of gap scans of a stream that flows or rests.
pub const SCAN_INTERVAL: Duration = Duration::from_secs(10);
/// Gap scans within this time share one reading of cold's copy marks.
pub const COLD_MARKS_FRESH: Duration = SCAN_INTERVAL;
/// Gap scans of a stream that begins to flow after a rest, at every look.
pub const SCAN_BURST: u32 = 5;
/// Ids of stored events this young are kept beyond `batch.recent_event_ids`, for memory must reach back over [`CLOCK_SKEW`] and the way to hot.
pub const RECENT_IDS_YOUNG: Duration = Duration::from_secs(20);
/// Times `batch.recent_event_ids` that they may be. More: the oldest are forgotten, and events of their time looked up in hot.
pub const RECENT_IDS_TIMES: usize = 4;
/// Clock skew allowed between venues, edges, broker and central; beyond it a duplicate may be a second row until the next merge.
pub const CLOCK_SKEW: Duration = Duration::from_secs(10);
/// Inherited messages are looked up among rows this young first; only missing ones among all.
pub const INHERITED_SINCE: Duration = Duration::from_secs(6 * 3600);
/// Largest difference between the clocks of central, hot and cold with which windows are closed. NTP keeps milliseconds.
pub const CLOCKS_APART: Duration = Duration::from_secs(120);
/// Interval at which a table's rounds read the clocks of the servers and the watermark.
pub const CLOCK_FRESH: Duration = Duration::from_secs(1);
/// While nothing changes, a round follows so many intervals after the one before.
pub const QUIET_ROUNDS: u32 = 12;
/// A round that waits for the end of a window begins this long after it.
pub const CLOSE_MARGIN: Duration = Duration::from_millis(20);
/// A copy of hot may hold its tables as of different times, so that after a restore rows are missing below its newest position: the
/// comparison of sequences begins this long before.
pub const COPY_TIME: Duration = Duration::from_secs(3600);
/// Inserts that were on their way when the copy was made had their rows fixed in this time before.
pub const COPY_INSERTS: Duration = Duration::from_secs(60);
/// Missing sequences per query.
pub const SEQUENCES_A_QUERY: u64 = 100_000;
/// Hot is compared with cold in spans of this length after it was put back: a query reads 24 bytes a row.
pub const COMPARED_SPAN_MS: i64 = 600_000;
/// Parts of a span that are compared by fingerprints of their event ids first.
pub const COMPARED_PART_MS: i64 = 10_000;
/// Messages before the first one that hot lost that are read again too: of some, hot may have only a part of the events.
pub const REWIND_MARGIN: u64 = 100_000;
/// Broker requests per gap scan; what of the rest hot lacks waits for the next.
pub const MISSING_REQUESTS: usize = 64;
/// A loss that a process finds again this soon is the same one.
pub const LOSS_FOUND_AGAIN: Duration = Duration::from_secs(3_600);
/// Gaps remembered until resolved; the last one grows beyond.
pub const GAPS: usize = 1_000;

/// Age of a batch of copies, dead letters or corrected events while a consumer has few deliveries left: one row of them may hold back the
/// acknowledgement of all.
pub const AGE_WAITED_FOR: Duration = Duration::from_millis(50);
/// Events of an insert into `copies`, 32 bytes each: they may be one row, so no refused insert can be made smaller, and proxies take 1 MiB by default.
pub const COPIES_A_BATCH: usize = 16_000;

/// Bytes of an insert per HTTP chunk, compressed as one block.
pub const INSERT_CHUNK_BYTES: usize = 1024 * 1024;

/// Interval of consumer counts and ClickHouse checks.
pub const POLL_INTERVAL: Duration = Duration::from_secs(5);

/// Time to flush and acknowledge batches after a signal; the rest is redelivered.
pub const FLUSH_DEADLINE: Duration = Duration::from_secs(7);
/// Time after the flush for the last acknowledgements and HTTP answers.
pub const CLOSE_DEADLINE: Duration = Duration::from_secs(2);

/// Interval at which this process reports to the service manager that it goes on.
pub const ALIVE_EVERY: Duration = Duration::from_secs(1);

/// Timeout of any one source of `/integrity` and `/`; a source that does not answer is reported as such.
pub const REPORT_PATIENCE: Duration = Duration::from_secs(8);
/// [`REPORT_PATIENCE`] of commands: no page waits, and a cold disk cache may slow the first query.
pub const COMMAND_PATIENCE: Duration = Duration::from_secs(15);
/// Time beyond `query --timeout` in which the server's own end of the query, with its reason, comes.
pub const QUERY_CANCEL_WAIT: Duration = Duration::from_secs(5);
/// Statement of `query`: servers read 256 KiB by default.
pub const STATEMENT_BYTES: u64 = 256 * 1024;
/// Table of `query`, in memory as a whole. Longer: refused.
pub const TABLE_BYTES: usize = 64 << 20;
/// Interval at which `validate` and `longrun` draw their progress.
pub const MEASURE_TICK: Duration = Duration::from_millis(250);
/// Wait of `validate` and `longrun` for a row of what arrived: a batch is at most seconds old.
pub const STORED_WAIT: Duration = Duration::from_secs(20);
/// Longest time without a message with which they pass.
pub const MESSAGE_WAIT: Duration = Duration::from_secs(60);
/// Pause between two looks for it.
pub const STORED_POLL: Duration = Duration::from_millis(500);
/// Rows of so long before the sample before are searched for doubles.
pub const DOUBLES_SPAN: Duration = Duration::from_secs(300);
/// Longest replication lag with which `validate` and `longrun` pass; an alert fires there too.
pub const COLD_LAG_MAX: Duration = Duration::from_secs(900);
/// Messages that wait for the comparison of `ab-latency`. Full: their readers wait, and the broker keeps the rest.
pub const AB_MESSAGES: usize = 16_384;
/// Events that wait for their arrival on the other way, and the longest time; then they count as those of one way.
pub const AB_PENDING: usize = 200_000;
pub const AB_PENDING_AGE: Duration = Duration::from_secs(60);
/// Samples of a `longrun`; more: refused.
pub const SAMPLES_MAX: u64 = 20_000;
/// Answer of central's own `/metrics`, about 200 kB with 64 exchanges.
pub const METRICS_BYTES_MAX: u64 = 8 << 20;
/// Lifetime of a cached answer.
pub const REPORT_FRESH: Duration = Duration::from_secs(1);
/// Lifetime of what the overview says about synthetic streams, which is read from a day of their rows.
pub const SELFTEST_FRESH: Duration = Duration::from_secs(30);
/// Cached answers, one per question. A report of 300 streams takes about a megabyte. When full the oldest is evicted; while
/// all are being computed, further questions are refused.
pub const REPORTS_KEPT: usize = 16;
/// Instruments in one answer of `/instruments`. More: it says so, and a filter finds them.
pub const INSTRUMENTS_SHOWN: usize = 10_000;

/// Order-book deltas that `book` reads: an edge makes a snapshot every ten minutes, so that these are 800 updates a second. More: an error.
pub const REBUILD_RECORDS_MAX: usize = 500_000;
/// Concurrent reports, each of some forty queries. Others wait.
pub const REPORTS_AT_ONCE: usize = 2;
/// Longest wait for a turn; then the request is refused as busy.
pub const REPORT_TURN: Duration = Duration::from_secs(10);
/// Pause between two reports of `integrity --wait`.
pub const START_POLL: Duration = Duration::from_secs(2);
/// A period that ended longer ago has no window to wait for.
pub const START_RECENT: Duration = Duration::from_secs(60);
/// Minimum interval of schema comparisons, which create tables.
pub const SCHEMA_FRESH: Duration = Duration::from_secs(60);
/// Wait of a report for a new schema comparison; then it uses the previous one. The first is waited for like any source.
pub const SCHEMA_PATIENCE: Duration = Duration::from_millis(1_500);
/// Bounds of the HTTP listener. Connections full: the next one waits in the system's queue. No request in time, or a client that does not
/// read: the connection is closed.
pub const HTTP: HttpBounds = HttpBounds {
    connections: 256,
    head: Duration::from_secs(30),
    body: 64 * 1024,
    // Twice the timeout of a source, the wait for a turn, and a margin.
    request: Duration::from_secs(25),
    write: Duration::from_secs(30),
    drain: CLOSE_DEADLINE,
};
/// Prefetch of audits, which may be 1 MiB long.
pub const PREFETCH_AUDITS: usize = 64;
/// Windows evaluated at once when an edge reports a stop: a day of minutes. The recheck evaluates the older ones of a longer stop.
pub const DOWNTIME_WINDOWS: i64 = 1_440;
/// Audits per insert, and their bytes; the rest waits at the broker.
pub const AUDITS_A_BATCH: usize = 256;
pub const AUDIT_BATCH_BYTES: usize = 8 * 1024 * 1024;
/// Symbols per query for the versions of instruments: they stand in its text, of which servers read 256 KiB.
pub const INSTRUMENTS_A_QUERY: usize = 500;
/// One query of a reconciliation, which reads the rows of a span of windows. Longer means that the server is in trouble; it is retried.
pub const COMPARISON_TIMEOUT: Duration = Duration::from_secs(60);
/// Server threads per query of a reconciliation: ingest comes first.
pub const COMPARISON_THREADS: u32 = 1;
/// Windows per span at most: one query reads their rows.
pub const WINDOWS_A_SPAN: i64 = 600;
/// Windows times streams of edges per span, or those of one window if they are more: their audits, grouped rows and verdicts are in memory
/// together, 40 MB at 2 kB of each. More streams: fewer windows at once.
pub const KEYS_A_SPAN: i64 = 20_000;
/// A recheck takes at most one part in `RECHECK_SHARE` of the time, and at least `RECHECK_LEAST` per round.
pub const RECHECK_SHARE: u32 = 100;
pub const RECHECK_LEAST: Duration = Duration::from_millis(50);
/// Ranges of stored ids per window and stream: the ids beyond count as missing.
pub const STORED_ID_RANGES: usize = 4_096;
/// Verdicts per insert.
pub const VERDICTS_AN_INSERT: usize = 20_000;
/// A duplicate is first looked up this long before and after its window: the broker recognizes one for two minutes, and two edges receive an
/// event at about the same time.
pub const DUPLICATES_AROUND_NS: i64 = 150_000_000_000;
/// An ambiguous event is first looked up this long before and after its window: another edge received it at about the same time.
pub const UNSURE_AROUND_NS: i64 = 3_600_000_000_000;

/// Rows that the ledger reads may be of the time of a correction that was carried out this long before their reading ends.
pub const CORRECTION_ENDED: Duration = Duration::from_secs(600);

/// Concurrent inserts into cold per table: the server sorts one while it compresses and writes another.
pub const COPIES_AT_ONCE: usize = 2;
/// Rows per insert into cold. They form one block, in memory as a whole: about 250 bytes per row.
const SLICE_ROWS: u64 = 262_144;
/// [`SLICE_ROWS`] of order books, of up to 25 kB per row.
const SLICE_ROWS_ORDER_BOOKS: u64 = 8_192;
/// [`SLICE_ROWS`] of order-book deltas, of about 600 bytes per row in memory.
const SLICE_ROWS_DELTAS: u64 = 65_536;
/// [`SLICE_ROWS`] of a table.
pub const fn slice_rows(data_type: DataType) -> u64 {
    match data_type {
        DataType::OrderBook => SLICE_ROWS_ORDER_BOOKS,
        DataType::OrderBookDelta => SLICE_ROWS_DELTAS,
        _ => SLICE_ROWS,
    }
}

/// Lower bound when inserts are halved because a server is too slow.
pub const SLICE_ROWS_MIN: u64 = 512;
/// Largest window that is compared row by row: 24 bytes per row and side. A larger one is reported without row counts.
pub const DIFF_ROWS: u64 = 4_000_000;
/// First pause before a failed round is retried; it doubles.
pub const COPY_RETRY_FIRST: Duration = Duration::from_secs(1);
/// Each round checks this far back for late rows. Ingest retries a batch for as long as hot is away; rows later than this are
/// found by the recheck.
pub const LOOK_BACK: Duration = Duration::from_secs(15 * 60);
/// Windows per comparison query: keeps answers small and lets other work take its turn.
pub const RECHECK_WINDOWS: i64 = 360;
/// Windows held only by cold that each recheck compares in turn: a day of minutes, so a year of them comes round in two and a half days of rechecks
/// every ten minutes. A table at rest is rechecked hourly: 15 days.
pub const RECHECK_OLD_WINDOWS: i64 = 1_440;
/// Windows in hot whose content each recheck compares in turn, all others by event ids: three days of minutes, and the one that
/// rows may stay longer, come round in nine hours of rechecks every ten minutes. Of a table at rest, in days.
pub const RECHECK_CONTENT_WINDOWS: i64 = 120;
/// A table that did not change is read again after this time, its content in turn as ever: files damaged on the disk show only then.
pub const RECHECK_UNCHANGED: Duration = Duration::from_secs(3_600);
/// A recheck for which the states of the tables cannot be read waits this long, or its period if that is shorter.
pub const RECHECK_RETRY: Duration = Duration::from_secs(300);
/// [`SLICE_ROWS`] per comparison query of `integrity --verify`: at most seconds on one thread, and a step of the progress shown.
pub const SLICES_A_COMPARISON: u64 = 4;
/// Windows of a table that `integrity --verify` compares a second time because they differ; the rest is reported as found first.
pub const SECOND_LOOKS: usize = 1_000;
/// The recheck of a table yields to copying after this time.
pub const RECHECK_TURN: Duration = Duration::from_secs(5);
pub const DAY: Duration = Duration::from_secs(86_400);
/// Rows this close to their TTL may vanish from hot at any moment: ingest refuses them, and comparisons expect no others.
pub const TTL_MARGIN: Duration = Duration::from_secs(2 * 3_600);
/// Interval at which pending corrections are read, once for all tables.
pub const CORRECTIONS_LOOK: Duration = Duration::from_secs(2);
/// Time after its end in which a correction should be carried out.
pub const CORRECTION_DUE: Duration = Duration::from_secs(15 * 60);
/// A table's corrections yield to copying after this time.
pub const CORRECTION_TURN: Duration = Duration::from_secs(5);
/// Books of a correction that are carried out at once, of up to 50 kB each; of other events [`IDS_A_QUERY`].
pub const CORRECTED_BOOKS: usize = 500;
/// Time after which a correction that failed is tried again.
pub const CORRECTION_RETRY: Duration = Duration::from_secs(60);
/// Interval at which windows are looked for that a correction opened and does not go on with.
pub const ABANDONED_CORRECTIONS_LOOK: Duration = Duration::from_secs(600);
/// Rows of corrected events are searched this far around their venue times, ten minutes; those that are not there a day: the stored row may be of a
/// third version.
pub const CORRECTION_NEAR_US: i64 = 600_000_000;
pub const CORRECTION_VENUE_US: i64 = 86_400_000_000;
/// Windows removed from hot per round.
pub const REMOVALS_A_ROUND: usize = 20;
/// Event ids per delete: 20,000 times 32 bytes stay below the limit of a replicated table's coordination (1 MB).
pub const IDS_A_DELETE: usize = 20_000;
/// Windows that a repair makes equal again; the next repair continues.
pub const REPAIR_WINDOWS: usize = 1_000;
/// Windows that a repair tries at most: others than those that it can repair come before them in each run.
pub const REPAIR_TRIES: usize = 10_000;
/// Results that a repair keeps to show.
pub const REPAIR_OUTCOMES: usize = 500;
/// Wait of a repair for the replicator to end its current step: at most one query per side.
pub const REPAIR_LEASE_WAIT: Duration = Duration::from_secs(150);
/// Timeout of an edge's answer to a request for events: it reads its journal for them.
pub const EDGE_ANSWER_WAIT: Duration = Duration::from_secs(15);
/// Other edges that are asked for a range.
pub const REPAIR_OTHER_EDGES: usize = 8;
/// Time without a new heartbeat after which an edge is silent: five that were missed.
pub const EDGE_SILENT: Duration = Duration::from_secs(15);
/// Operations that a replica of a stream may lack while it is up to date: under load it is always a few behind its leader.
pub const REPLICA_LAG: u64 = 1_000;
/// Time since a replica was last heard of after which it is not up to date.
pub const REPLICA_SILENT: Duration = Duration::from_secs(10);
/// Interval at which a central reads the heartbeats.
pub const EDGES_LOOK: Duration = Duration::from_secs(2);
/// Heartbeats that are read at once.
pub const HEARTBEATS_AT_ONCE: usize = 16;
/// Wait of `diagnose` for the status of the edges; then the known ones that did not answer are named.
pub const EDGES_ANSWER_WAIT: Duration = Duration::from_secs(2);
/// Wait for edges that hot does not know yet, once all others have answered.
pub const EDGES_LATE_ANSWER_WAIT: Duration = Duration::from_millis(300);
/// Edges that are shown, and whose answers `diagnose` takes; those beyond are not shown.
pub const EDGES_MAX: usize = 1_000;
/// Names that only a newer edge knows: logged of each edge, and listed in one line.
pub const UNKNOWN_NAMES_LOGGED: usize = 100;
pub const UNKNOWN_NAMES_LISTED: usize = 20;
/// Wait of `diagnose` for central's own listener.
pub const LISTENER_ANSWER_WAIT: Duration = Duration::from_secs(2);

/// Time to store a component at the broker.
pub const ADAPTER_PUSH: Duration = Duration::from_secs(120);
/// Age of the newest piece of a component without an entry from which its push has ended: several times the longest push.
pub const ADAPTER_LEFTOVER_AGE: Duration = Duration::from_secs(600);
/// Components in the bucket of adapters. More: `adapters push` is refused.
pub const ADAPTER_VERSIONS_MAX: usize = 1_000;
/// Versions that a refusal lists as unused.
pub const ADAPTERS_LISTED: usize = 10;
/// Interval at which a promotion looks at the heartbeats.
pub const HEARTBEAT_LOOK: Duration = Duration::from_millis(500);
