//! Every timeout, bound and interval that is not configuration, with its reason.

use std::time::Duration;

/// A ClickHouse query that answers from metadata or a bounded set of ids. Longer means that the server is in trouble.
pub const QUERY_TIMEOUT: Duration = Duration::from_secs(20);

/// A statement that makes or changes a table. On a cluster the server waits for the others, by default 180 s.
pub const DDL_TIMEOUT: Duration = Duration::from_secs(200);
/// A database made for comparison lives for seconds; one so old was left by a process that was killed. Clocks may differ by minutes.
pub const SCRATCH_AGE: Duration = Duration::from_secs(3600);

/// A request to the broker that is answered from memory.
pub const BROKER_TIMEOUT: Duration = Duration::from_secs(5);

/// `init` waits this long for the broker to accept a connection.
pub const BROKER_CONNECT_WAIT: Duration = Duration::from_secs(15);

/// Handing a group of acknowledgements to the connection. It only waits when the connection is down; what is not handed over in this
/// time is counted, redelivered and recognized as stored.
pub const ACK_TIMEOUT: Duration = Duration::from_secs(10);

/// First and longest pause between two tries of the same work; the pause doubles and is jittered by half.
pub const BACKOFF_FIRST: Duration = Duration::from_millis(200);
/// See [`BACKOFF_FIRST`].
pub const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// A lease is free when it was not renewed for so long, as seen by whoever waits for it.
pub const LEASE_TIME: Duration = Duration::from_secs(10);
/// Its holder stops so long after the beginning of its last renewal: a second before another one may take it.
pub const LEASE_VALIDITY: Duration = Duration::from_secs(9);
/// How often it is renewed: three tries before it is lost.
pub const LEASE_RENEWAL: Duration = Duration::from_secs(3);
/// How often a waiting process looks, and a holder looks whether somebody waits. `LEASE_TIME` and this bound a takeover to 12 s.
pub const LEASE_POLL: Duration = Duration::from_secs(1);

/// Messages asked for ahead, per stream. Small enough to be processed well within the ack wait, large enough to keep a pull
/// request open at all times. When full the broker keeps the rest.
pub const PREFETCH_MARKET_DATA: usize = 5_000;
/// The same for order books, which are about 40 times as large.
pub const PREFETCH_ORDER_BOOKS: usize = 400;

/// Life of one pull request; it is renewed long before.
pub const PULL_EXPIRES: Duration = Duration::from_secs(30);
/// The broker says this often that an idle pull is alive; two misses end the subscription, and a new one is made.
pub const PULL_HEARTBEAT: Duration = Duration::from_secs(5);

/// Messages handled before the worker looks at anything else. At 50 us for the dearest message, 10 ms.
pub const MESSAGES_A_TURN: usize = 256;

/// Event ids looked up by one query: 5,000 times 42 bytes stay below the server's default limit of a query's size (256 KiB).
pub const IDS_A_QUERY: usize = 5_000;

/// An insert begins only while the lease lasts so long without a renewal.
pub const INSERT_MARGIN: Duration = Duration::from_secs(3);
/// A server that reads an insert gives up a client that stands still for so long.
pub const INSERT_STALL: Duration = Duration::from_secs(3);
/// A piece of an insert is sent only while the lease lasts so long without a renewal: a client that is stopped right then is given up
/// before somebody else may have the lease (`INSERT_STALL` after the last of `LEASE_TIME` that `LEASE_VALIDITY` leaves over).
pub const PIECE_MARGIN: Duration = Duration::from_secs(2);
/// How often it is looked whether work that was told to end has ended.
pub const END_POLL: Duration = Duration::from_millis(10);
/// How often a new holder of a stream asks whether inserts of the one before still run. Two answers in a row must say no.
pub const QUIET_POLL: Duration = Duration::from_millis(200);
/// How often a central without a stream looks whether another one has two.
pub const SHARE_POLL: Duration = Duration::from_secs(2);
/// How long it asks for a stream: a flush and some turns of the lease.
pub const SHARE_PATIENCE: Duration = Duration::from_secs(15);
/// How often the confirmed sequence of a stream is written.
pub const CONFIRM_POLL: Duration = Duration::from_secs(2);
/// Clocks of venues, edges, broker and central may differ by so much; beyond, a copy may be a second row until the next merge.
pub const CLOCK_SKEW: Duration = Duration::from_secs(10);
/// Messages that a central left behind are looked for among rows so young first; only what is not there, among all.
pub const INHERITED_SINCE: Duration = Duration::from_secs(6 * 3600);
/// Sequences of missing messages verified at a time, by one query; more are verified by the next.
pub const SEQUENCES_A_QUERY: u64 = 100_000;
/// Requests to the broker for one look at missing messages; what is left waits for the next.
pub const MISSING_REQUESTS: usize = 64;
/// Holes remembered until they are verified. The last one grows beyond.
pub const HOLES: usize = 1_000;

/// Bytes of an insert handed to the HTTP body at once, and compressed as one block.
pub const INSERT_CHUNK_BYTES: usize = 1024 * 1024;

/// How often consumers are asked for their counts, and ClickHouse whether it lives.
pub const POLL_INTERVAL: Duration = Duration::from_secs(5);

/// After a signal: batches are flushed and acknowledged for so long, what is left is redelivered later.
pub const FLUSH_DEADLINE: Duration = Duration::from_secs(7);
/// After the flush: the last acknowledgements and HTTP answers leave.
pub const CLOSE_DEADLINE: Duration = Duration::from_secs(2);

/// Longest wait of `/integrity` and `/` for any one source; what does not answer in this time is named as "cannot tell".
pub const REPORT_PATIENCE: Duration = Duration::from_secs(8);
/// The same for commands: nobody's page waits, and a cold disk cache may.
pub const COMMAND_PATIENCE: Duration = Duration::from_secs(15);
/// An answer this old is given again instead of being computed.
pub const REPORT_FRESH: Duration = Duration::from_secs(1);
/// Answers kept, each to another question. A report of 300 streams takes about a megabyte. When full the oldest goes; when all are being
/// made, the question is refused.
pub const REPORTS_KEPT: usize = 16;
/// Reports computed at once: each runs some forty queries. Others wait.
pub const REPORTS_AT_ONCE: usize = 2;
/// Longest wait for a turn; then the question is refused as busy.
pub const REPORT_TURN: Duration = Duration::from_secs(10);
/// The schema is compared this often at most while reports are asked for: comparing makes tables.
pub const SCHEMA_FRESH: Duration = Duration::from_secs(60);
/// A report waits so long for a comparison of the schema; then it takes the one before, and the comparison goes on.
pub const SCHEMA_PATIENCE: Duration = Duration::from_millis(1_500);
/// Longest HTTP request, from its head to its answer. Twice a report's sources, its turn, and room.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(25);
/// Largest body of an HTTP request.
pub const BODY_BYTES_MAX: usize = 64 * 1024;
/// Audits asked for ahead: an audit may be 1 MiB long.
pub const PREFETCH_AUDITS: usize = 64;
/// Audits of one insert, and their bytes; what is over waits at the broker.
pub const AUDITS_A_BATCH: usize = 256;
/// See [`AUDITS_A_BATCH`].
pub const AUDIT_BATCH_BYTES: usize = 8 * 1024 * 1024;
/// One statement of a comparison, which reads the rows of a span of windows. Longer means that the server is in trouble; it is tried again.
pub const COMPARISON_TIMEOUT: Duration = Duration::from_secs(60);
/// Threads of the server that one statement of a comparison may take: ingest comes first.
pub const COMPARISON_THREADS: u32 = 1;
/// Windows of one span: their grouped rows and verdicts are in memory together, one of each per source and window.
pub const WINDOWS_A_SPAN: i64 = 600;
/// A recheck takes this part of the time, and at least so long a round.
pub const RECHECK_SHARE: u32 = 100;
/// See [`RECHECK_SHARE`].
pub const RECHECK_LEAST: Duration = Duration::from_millis(50);
/// Verdicts of one insert.
pub const VERDICTS_AN_INSERT: usize = 20_000;
/// An unsure event is looked for so long before and after its window first: another edge heard it at about the same time.
pub const UNSURE_AROUND_NS: i64 = 3_600_000_000_000;

/// Inserts into cold at a time for one table: the server reads and sorts for one while it compresses and writes the other.
pub const COPIES_AT_ONCE: usize = 2;
/// Rows that one insert brings to cold. They form one block, which is in memory whole: about 250 bytes a row.
pub const SLICE_ROWS: u64 = 262_144;
/// The same for order books, of up to 25 kB a row.
pub const SLICE_ROWS_ORDER_BOOKS: u64 = 8_192;
/// Slices are halved down to this when a server takes too long.
pub const SLICE_ROWS_MIN: u64 = 512;
/// Rows of a window that are compared one by one to say which differ: 24 bytes a row and side. A larger window is told without.
pub const DIFF_ROWS: u64 = 4_000_000;
/// First pause before a round is tried again; it doubles.
pub const COPY_RETRY_FIRST: Duration = Duration::from_secs(1);
/// No write begins when the lease is ours for less than this.
pub const LEASE_MARGIN: Duration = Duration::from_secs(1);
/// Each round looks so far back for rows that came late. Ingest tries a batch again for as long as hot is away; what comes later than
/// this is found when everything is compared.
pub const LOOK_BACK: Duration = Duration::from_secs(15 * 60);
/// Windows compared by one query: a query's answer stays small, and other work gets its turn.
pub const RECHECK_WINDOWS: i64 = 360;
/// Windows that only cold holds, compared each time: a day of them, so that the oldest come round too.
pub const RECHECK_OLD_WINDOWS: i64 = 1_440;
/// A table's comparison gives way to its copying after this.
pub const RECHECK_TURN: Duration = Duration::from_secs(5);
/// Rows this close to their TTL may be gone from hot at any moment.
pub const TTL_MARGIN: Duration = Duration::from_secs(2 * 3_600);
/// Windows whose rows are taken out of hot in one round.
pub const REMOVALS_A_ROUND: usize = 20;
/// Event ids in one delete: 20,000 times 42 bytes stay below what a replicated table's coordination takes (1 MB).
pub const IDS_A_DELETE: usize = 20_000;
/// Windows that one repair works on; the next one goes on.
pub const REPAIR_WINDOWS: usize = 1_000;
/// Outcomes that a repair keeps to show.
pub const REPAIR_OUTCOMES: usize = 500;
/// A repair waits this long until the replicator has ended the piece of work at hand: at most a query on each side.
pub const REPAIR_LEASE_WAIT: Duration = Duration::from_secs(150);
/// An edge that is asked to send events again answers within this.
pub const EDGE_ANSWER_WAIT: Duration = Duration::from_secs(5);
