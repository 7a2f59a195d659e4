//! `central.toml`.

use std::net::SocketAddr;
use std::time::Duration;

use marketprism_config::{Document, Nats, Secret, Section};
use marketprism_schema::{COLD, HOT, STREAMS, StreamSettings};

/// Everything that can be configured.
#[derive(Debug, Clone)]
pub struct Config {
    /// `[nats]`
    pub nats: Nats,
    /// `[clickhouse]`
    pub clickhouse: ClickHouse,
    /// `[streams]`: every stream with its overrides.
    pub streams: Vec<Stream>,
    /// `[consumers] ack_wait_ms`: the broker sends a message again when it is not acknowledged for so long.
    pub ack_wait: Duration,
    /// `[batch]`
    pub batch: BatchLimits,
    /// `[http]`
    pub http: Http,
}

/// Where the rows go.
#[derive(Debug, Clone)]
pub struct ClickHouse {
    /// Address of the HTTP interface.
    pub url: String,
    /// User name.
    pub user: String,
    /// Password, if the user has one.
    pub password: Option<Secret>,
    /// Database of recent rows.
    pub hot_database: String,
    /// Database of all rows.
    pub cold_database: String,
    /// Days that hot rows live.
    pub hot_ttl_days: u32,
    /// Days that cold rows live.
    pub cold_ttl_days: u32,
    /// Longest insert, on both sides of the connection.
    pub insert_timeout: Duration,
    /// Whether inserts are compressed: pays off across a network, costs time on one machine.
    pub compress: bool,
}

/// One stream as wanted.
#[derive(Debug, Clone)]
pub struct Stream {
    /// Defaults of the schema with the configured overrides.
    pub settings: StreamSettings,
    /// Copies in a cluster.
    pub replicas: usize,
}

/// When a batch is full.
#[derive(Debug, Clone)]
pub struct BatchLimits {
    /// Rows of trades.
    pub trades: usize,
    /// Rows of order books.
    pub orderbooks: usize,
    /// Rows of every other table, and of dead letters.
    pub others: usize,
    /// Bytes of rows and payloads.
    pub max_bytes: usize,
    /// Age of the oldest row.
    pub max_age: Duration,
    /// Batches being inserted, per stream. With so many, no more messages are taken: this and `max_bytes` bound the memory.
    pub max_in_flight: usize,
    /// Ids remembered after insertion, per stream, to recognize an event that is published again.
    pub recent_event_ids: usize,
}

/// Where health and metrics are served.
#[derive(Debug, Clone)]
pub struct Http {
    /// Address to listen at.
    pub listen: SocketAddr,
    /// `/health` says healthy for so long after the start, whatever is still missing. `HEALTH_GRACE_SECONDS` wins.
    pub health_grace: Duration,
}

impl Config {
    /// Reads everything; problems are in the document afterwards.
    pub fn read(document: &Document) -> Self {
        let root = document.root();
        let nats = Nats::read(&root.section("nats"));
        let clickhouse = ClickHouse::read(&root.section("clickhouse"));
        let streams = read_streams(&root.section("streams"));
        let batch = BatchLimits::read(&root.section("batch"));
        let http = Http::read(&root.section("http"));
        let consumers = root.section("consumers");
        let ack_wait = consumers.millis_or("ack_wait_ms", 60_000, 1_000..=3_600_000);
        // A message may be redelivered, looked for in hot and inserted again only when an insert of the process before it cannot be
        // still running: the last sign of life is at most a third of the ack wait old, so half of it is safe.
        if clickhouse.insert_timeout > ack_wait / 2 {
            consumers.report(
                "ack_wait_ms",
                format!("is {}", ack_wait.as_millis()),
                format!(
                    "at least twice clickhouse.insert_timeout_ms, {}",
                    2 * clickhouse.insert_timeout.as_millis()
                ),
            );
        }
        if batch.max_age > ack_wait / 3 {
            consumers.report(
                "ack_wait_ms",
                format!("is {}", ack_wait.as_millis()),
                format!("at least three times batch.max_age_ms, {}", 3 * batch.max_age.as_millis()),
            );
        }
        Self { nats, clickhouse, streams, ack_wait, batch, http }
    }
}

impl ClickHouse {
    fn read(section: &Section<'_>) -> Self {
        let url = section.text("url").unwrap_or_else(|| "http://127.0.0.1:8123".to_owned());
        if !url.starts_with("http://") {
            section.report("url", format!("is {url:?}"), "an address that starts with http://");
        }
        let compression = section.text("compression").unwrap_or_else(|| "none".to_owned());
        if !["none", "lz4"].contains(&compression.as_str()) {
            section.report("compression", format!("is {compression:?}"), "none, lz4");
        }
        let days =
            |key, default| u32::try_from(section.integer_or(key, default, 1..=36_500)).unwrap_or(u32::MAX);
        Self {
            url,
            user: section.text("user").unwrap_or_else(|| "default".to_owned()),
            password: section.secret("password"),
            hot_database: database(section, "hot_database", HOT),
            cold_database: database(section, "cold_database", COLD),
            hot_ttl_days: days("hot_ttl_days", 3),
            cold_ttl_days: days("cold_ttl_days", 3_650),
            insert_timeout: section.millis_or("insert_timeout_ms", 30_000, 1_000..=600_000),
            compress: compression == "lz4",
        }
    }
}

/// Database names go into statements as they are, so only plain identifiers are taken.
fn database(section: &Section<'_>, key: &str, default: &str) -> String {
    let name = section.text(key).unwrap_or_else(|| default.to_owned());
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if name.is_empty() || !plain || name.starts_with(|c: char| c.is_ascii_digit()) {
        section.report(key, format!("is {name:?}"), "letters, digits and underscores, not a digit first");
    }
    name
}

fn read_streams(section: &Section<'_>) -> Vec<Stream> {
    let replicas = usize::try_from(section.integer_or("replicas", 1, 1..=5)).unwrap_or(1);
    let streams = STREAMS.into_iter().map(|defaults| {
        let own = section.section(&defaults.name.to_lowercase());
        let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let bytes = u64::try_from(defaults.max_bytes).unwrap_or_default();
        let max_ack_pending = defaults.max_ack_pending.map(|pending| {
            signed(own.integer_or("max_ack_pending", pending.unsigned_abs(), 100..=10_000_000))
        });
        let seconds = |key, default: Duration, range| {
            Duration::from_secs(own.integer_or(key, default.as_secs(), range))
        };
        let settings = StreamSettings {
            max_bytes: signed(own.integer_or("max_bytes", bytes, 1_048_576..=1 << 50)),
            max_age: seconds("max_age_seconds", defaults.max_age, 60..=366 * 86_400),
            duplicate_window: seconds("duplicate_window_seconds", defaults.duplicate_window, 1..=86_400),
            max_ack_pending,
            ..defaults
        };
        Stream { settings, replicas }
    });
    streams.collect()
}

impl BatchLimits {
    fn read(section: &Section<'_>) -> Self {
        let size = |key, default, range| {
            usize::try_from(section.integer_or(key, default, range)).unwrap_or(usize::MAX)
        };
        Self {
            trades: size("trades", 10_000, 1..=1_000_000),
            orderbooks: size("orderbooks", 2_000, 1..=1_000_000),
            others: size("others", 800, 1..=1_000_000),
            max_bytes: size("max_bytes", 32 << 20, 65_536..=256 << 20),
            max_age: section.millis_or("max_age_ms", 1_000, 10..=60_000),
            max_in_flight: size("max_in_flight", 4, 1..=64),
            recent_event_ids: size("recent_event_ids", 1_000_000, 1_000..=100_000_000),
        }
    }
}

impl Http {
    fn read(section: &Section<'_>) -> Self {
        let default = SocketAddr::from(([127, 0, 0, 1], 8085));
        let configured = section.integer_or("health_grace_seconds", 120, 0..=86_400);
        let name = "HEALTH_GRACE_SECONDS";
        let grace = match section.document().variable(name) {
            None => configured,
            Some(text) => text.parse().unwrap_or_else(|_| {
                section.document().report(name, format!("is {text:?}"), "a number of seconds");
                configured
            }),
        };
        Self {
            listen: section.parsed("listen", "an address and port such as 127.0.0.1:8085").unwrap_or(default),
            health_grace: Duration::from_secs(grace),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, String> {
        let document = Document::parse("central.toml", text, ".".into(), std::iter::empty()).unwrap();
        let config = Config::read(&document);
        document.finish().map(|()| config).map_err(|error| error.to_string())
    }

    /// Goal: an empty file gives the documented defaults.
    #[test]
    fn defaults_are_those_of_the_documentation() {
        let config = read("").unwrap();
        assert_eq!(config.batch.trades, 10_000);
        assert_eq!(config.ack_wait, Duration::from_secs(60));
        assert_eq!(config.http.listen.port(), 8085);
        assert_eq!(config.streams.len(), STREAMS.len());
        assert_eq!(config.streams[0].settings, STREAMS[0]);
    }

    /// Goal: overrides reach the stream they name, and every mistake is in one message.
    #[test]
    fn overrides_apply_and_all_mistakes_are_told_at_once() {
        let config = read("[streams]\nreplicas = 3\n[streams.market_data]\nmax_bytes = 2097152\n").unwrap();
        assert_eq!((config.streams[0].settings.max_bytes, config.streams[1].replicas), (2_097_152, 3));

        let text = "[clickhouse]\nurl = \"https://x\"\nhot_database = \"a;b\"\ninsert_timeout_ms = 40000\n\
                    [batch]\ntrade = 1\n[streams.marketdata]\n";
        let error = read(text).unwrap_err();
        for part in ["clickhouse.url", "clickhouse.hot_database", "ack_wait_ms", "batch.trade", "marketdata"]
        {
            assert!(error.contains(part), "{part}: {error}");
        }
    }
}
