//! `[adapters]`, `[batch]`, `[streams]`, `[ledger]` and `[lease]`.

use std::time::Duration;

use marketprism_config::Problems;
use marketprism_schema::{Carries, STREAMS, StreamSettings, VerifyingKey};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Distribution of adapters to edges.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct AdapterSettings {
    /// Public keys (base64, as `marketprism-edge adapter keygen` prints them); `adapters push` refuses a component that none of them signed.
    trusted_keys: Vec<String>,
    /// Most bytes of the bucket of adapters at the broker, which reserves them; `adapters push` refuses a component that does not fit.
    /// Of an existing bucket only `init --apply` changes it. Without room for the bucket central runs, and reports it.
    #[schemars(range(min = 1_048_576, max = 1_099_511_627_776_i64))]
    pub bucket_max_bytes: i64,
}

impl Default for AdapterSettings {
    fn default() -> Self {
        Self { trusted_keys: Vec::new(), bucket_max_bytes: 1 << 30 }
    }
}

impl AdapterSettings {
    pub(super) fn check(&self, problems: &mut Problems<'_>) {
        for (index, key) in self.trusted_keys.iter().enumerate() {
            let is_key = VerifyingKey::parse(key).is_some();
            let path = format!("adapters.trusted_keys[{index}]");
            problems.demand(is_key, &path, format!("is {key:?}"), VerifyingKey::ALLOWED);
        }
    }

    pub fn verifying_keys(&self) -> Vec<VerifyingKey> {
        self.trusted_keys.iter().filter_map(|key| VerifyingKey::parse(key)).collect()
    }
}

/// Bounds of a batch; the first one reached starts the insert.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct BatchLimits {
    /// Rows of an insert into trades, order-book deltas, quotes, copies (at most 16000 events) or corrected events, from at most `max_ack_pending` / (`max_in_flight` + 1) messages of their consumer.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub trades: usize,
    /// Rows of an insert into states of order books.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub orderbooks: usize,
    /// Rows of an insert into any other table of events, and into dead letters.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub others: usize,
    /// Bytes of rows and payloads of an insert.
    #[schemars(range(min = 65_536, max = 268_435_456))]
    pub max_bytes: usize,
    /// Age of the oldest row at an insert into trades or order books.
    #[serde(rename = "max_age_ms", with = "marketprism_config::millis")]
    #[schemars(with = "u64", range(min = 10, max = 60_000))]
    pub max_age: Duration,
    /// Age of the oldest row at an insert into any other table, and into dead letters. Copies and dead letters go at once while a consumer may be delivered few more messages.
    #[serde(rename = "max_age_others_ms", with = "marketprism_config::millis")]
    #[schemars(with = "u64", range(min = 10, max = 60_000))]
    pub max_age_others: Duration,
    /// Batches being inserted per table. With so many, no more messages of the table are pulled: this and `max_bytes` bound the memory.
    #[schemars(range(min = 1, max = 64))]
    pub max_in_flight: usize,
    /// Event ids kept in memory per partition of a stream to recognize events that come again, and up to four times as many while they are younger than 20 s. Above
    /// that each event is looked up in ClickHouse. A million takes about 50 MB: at the default up to 70 MB a partition, and up to 280 MB where more than
    /// 80,000 events a second come.
    #[schemars(range(min = 1_000, max = 100_000_000))]
    pub recent_event_ids: usize,
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self {
            trades: 50_000,
            orderbooks: 2_000,
            others: 800,
            max_bytes: 32 << 20,
            max_age: Duration::from_secs(1),
            max_age_others: Duration::from_secs(5),
            max_in_flight: 4,
            recent_event_ids: 1_600_000,
        }
    }
}

impl BatchLimits {
    /// Deliveries of a consumer that a batch may span: of those that it may leave unacknowledged, all batches in flight and an open one take as many.
    pub fn span(&self, max_ack_pending: i64) -> usize {
        usize::try_from(max_ack_pending).unwrap_or(usize::MAX) / (self.max_in_flight + 1)
    }

    /// Longest time from a message to its insert.
    pub fn longest_age(&self) -> Duration {
        self.max_age.max(self.max_age_others)
    }
}

/// One stream as configured.
#[derive(Debug, Clone)]
pub struct Stream {
    pub settings: StreamSettings,
    /// Copies in a cluster.
    pub replicas: usize,
    /// Parts that centrals take apart; 1 of a stream of audits.
    pub partitions: u16,
}

/// The section as it is in the file.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
pub(super) struct StreamsSection {
    /// Copies of each stream and bucket; 3 on a cluster.
    #[schemars(range(min = 1, max = 5))]
    replicas: usize,
    /// Parts, by subject, of each stream of events. One central at a time takes a part, so that as many centrals can share a stream; a central alone
    /// takes all. The broker sends each message once for each part. The same in every central; of existing streams only `init --apply` changes it.
    #[schemars(range(min = 1, max = 8))]
    partitions: u16,
    market_data: StreamLimits,
    orderbook_snap: StreamLimits,
    audit: StreamLimits,
}

/// Retention of one stream.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
struct StreamLimits {
    /// Bytes kept; the oldest messages go first.
    #[schemars(range(min = 1_048_576, max = 1_125_899_906_842_624_u64))]
    max_bytes: i64,
    /// Age of the oldest message kept.
    #[serde(rename = "max_age_seconds", with = "marketprism_config::seconds")]
    #[schemars(with = "u64", range(min = 60, max = 31_622_400))]
    max_age: Duration,
    /// Time for which the broker remembers message ids: at most `max_age_seconds`.
    #[serde(rename = "duplicate_window_seconds", with = "marketprism_config::seconds")]
    #[schemars(with = "u64", range(min = 1, max = 86_400))]
    duplicate_window: Duration,
    /// Unacknowledged messages of each of central's consumers.
    #[schemars(range(min = 100, max = 10_000_000))]
    max_ack_pending: i64,
}

impl Default for StreamsSection {
    fn default() -> Self {
        let [market_data, orderbook_snap, audit] = STREAMS.map(|defaults| StreamLimits {
            max_bytes: defaults.max_bytes,
            max_age: defaults.max_age,
            duplicate_window: defaults.duplicate_window,
            max_ack_pending: defaults.max_ack_pending,
        });
        Self { replicas: 1, partitions: 1, market_data, orderbook_snap, audit }
    }
}

impl StreamsSection {
    /// Every stream of the schema with its settings.
    pub(super) fn streams(self) -> Vec<Stream> {
        let Self { replicas, partitions, market_data, orderbook_snap, audit } = self;
        let limits = [market_data, orderbook_snap, audit];
        let stream = |(defaults, limits): (StreamSettings, StreamLimits)| {
            let StreamLimits { max_bytes, max_age, duplicate_window, max_ack_pending } = limits;
            let settings =
                StreamSettings { max_bytes, max_age, duplicate_window, max_ack_pending, ..defaults };
            let partitions = if settings.carries == Carries::Events { partitions } else { 1 };
            Stream { settings, replicas, partitions }
        };
        STREAMS.into_iter().zip(limits).map(stream).collect()
    }
}

/// Windows and pace of the comparison.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Ledger {
    /// Windows of `received_at` in which audits are compared: a divisor of 3600, at least the edges' own.
    #[serde(rename = "window_seconds", with = "marketprism_config::seconds")]
    #[schemars(with = "u64", range(min = 1, max = 3_600))]
    pub window: Duration,
    /// A window may be open this long after its end, while its audit and last rows are on their way.
    #[serde(rename = "grace_seconds", with = "marketprism_config::seconds")]
    #[schemars(with = "u64", range(min = 1, max = 86_400))]
    pub grace: Duration,
    /// Pause between two rounds.
    #[serde(rename = "interval_ms", with = "marketprism_config::millis")]
    #[schemars(with = "u64", range(min = 50, max = 600_000))]
    pub interval: Duration,
    /// Everything in hot is compared again this often, as 1 % of the time of one thread allows.
    #[serde(rename = "recheck_seconds", with = "marketprism_config::seconds")]
    #[schemars(with = "u64", range(min = 1, max = 86_400))]
    pub recheck: Duration,
    /// Retention of audits, verdicts and losses, days.
    #[schemars(range(min = 1, max = 3_650))]
    pub retention_days: u32,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(60),
            grace: Duration::from_secs(120),
            interval: Duration::from_secs(5),
            recheck: Duration::from_secs(600),
            retention_days: 35,
        }
    }
}

impl Ledger {
    pub(super) fn check(&self, problems: &mut Problems<'_>) {
        let seconds = self.window.as_secs();
        let divides = 3_600_u64.is_multiple_of(seconds);
        problems.demand(
            divides,
            "ledger.window_seconds",
            format!("is {seconds}"),
            "a number that divides an hour",
        );
    }
}

/// Times of a lease. All are fractions of one, so that their order holds for every value; it must be the same in all centrals.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
pub struct LeaseTimes {
    /// A task is taken over when its holder was silent for this long; the same in every central, else the longer one counts.
    #[serde(rename = "time_ms", with = "marketprism_config::millis")]
    #[schemars(with = "u64", range(min = 4_000, max = 300_000))]
    pub expiry: Duration,
}

impl Default for LeaseTimes {
    fn default() -> Self {
        Self { expiry: Duration::from_secs(10) }
    }
}

impl LeaseTimes {
    /// The holder stops this long after the start of its last renewal, before another process may take the lease.
    pub fn validity(self) -> Duration {
        self.expiry * 9 / 10
    }

    /// Three tries before the lease is lost.
    pub fn renewal(self) -> Duration {
        self.expiry * 3 / 10
    }

    /// Polling interval of waiting processes, and of holders for demands. With `expiry` it bounds a takeover.
    pub fn poll(self) -> Duration {
        self.expiry / 10
    }

    /// Remaining validity that starting an insert requires.
    pub fn insert_margin(self) -> Duration {
        self.expiry * 3 / 10
    }

    /// Remaining validity that sending a chunk requires: a client suspended right then is dropped by the server (`insert_stall`) before
    /// another central may hold the lease.
    pub fn chunk_margin(self) -> Duration {
        self.expiry * 2 / 10
    }

    /// The server drops an insert whose client stalls this long; whole seconds.
    pub fn insert_stall(self) -> Duration {
        Duration::from_secs((self.expiry * 3 / 10).as_secs())
    }

    /// Remaining validity that a short write requires.
    pub fn write_margin(self) -> Duration {
        self.expiry / 10
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_batches_in_flight_and_an_open_one_fit_into_what_a_consumer_may_leave_unacknowledged() {
        let smallest = 100;
        for max_in_flight in 1..=64 {
            let limits = BatchLimits { max_in_flight, ..BatchLimits::default() };
            for ack_pending in STREAMS.map(|stream| stream.max_ack_pending).into_iter().chain([smallest]) {
                let span = i64::try_from(limits.span(ack_pending)).unwrap();
                let all = span * (i64::try_from(max_in_flight).unwrap() + 1);
                assert!(
                    span > 0 && all <= ack_pending && all > ack_pending / 2,
                    "{max_in_flight} {ack_pending}"
                );
            }
        }
    }

    /// An insert that a suspended process has begun must be dropped by the server before another central may own the stream.
    #[test]
    fn a_stalled_insert_ends_before_the_lease_expires() {
        for millis in [4_000, 5_500, 10_000, 300_000] {
            let times = LeaseTimes { expiry: Duration::from_millis(millis) };
            assert!(times.chunk_margin() + times.expiry - times.validity() >= times.insert_stall());
            assert!(
                times.insert_stall() >= Duration::from_secs(1) && times.renewal() * 3 <= times.validity()
            );
        }
    }
}
