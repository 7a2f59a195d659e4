//! `central.toml` as a whole.

use std::time::Duration;

use marketprism_config::{Document, Nats};
use marketprism_schema::Carries;

use super::{BatchLimits, ClickHouse, Http, LeaseTimes, Ledger, Replication, Stream};

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
    /// `[replication]`
    pub replication: Replication,
    /// `[http]`
    pub http: Http,
    /// `[ledger]`
    pub ledger: Ledger,
    /// `[lease]`
    pub lease: LeaseTimes,
}

impl Config {
    /// Reads everything; problems are in the document afterwards.
    pub fn read(document: &Document) -> Self {
        let root = document.root();
        let nats = Nats::read(&root.section("nats"));
        let clickhouse = ClickHouse::read(&root.section("clickhouse"));
        let streams = Stream::read_all(&root.section("streams"));
        let batch = BatchLimits::read(&root.section("batch"));
        let replication = Replication::read(&root.section("replication"), &clickhouse);
        let http = Http::read(&root.section("http"));
        let ledger = Ledger::read(&root.section("ledger"));
        let lease = LeaseTimes::read(&root.section("lease"));
        // What a stream still holds may be delivered again: hot must know it, or it would be stored, and copied, a second time.
        let oldest = streams
            .iter()
            .filter(|s| s.settings.carries == Carries::Events)
            .map(|s| s.settings.max_age)
            .max();
        if let (Some(after), Some(oldest)) = (replication.remove_from_hot_after, oldest)
            && after < oldest
        {
            document.report(
                "replication.remove_from_hot_after_hours",
                format!("is {}", after.as_secs() / 3_600),
                format!("0, or at least the longest max_age_seconds of [streams], {} s", oldest.as_secs()),
            );
        }
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
        Self { nats, clickhouse, streams, ack_wait, batch, http, ledger, lease, replication }
    }

    /// Copies that a cluster keeps of streams and buckets.
    pub fn replicas(&self) -> usize {
        self.streams.iter().map(|stream| stream.replicas).max().unwrap_or(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::role::Role;
    use marketprism_schema::STREAMS;

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
        assert_eq!(config.http.address(Role::All).port(), 8085);
        assert_eq!(config.http.address(Role::Cold).port(), 8086);
        assert_eq!(config.streams.len(), STREAMS.len());
        assert_eq!(config.streams[0].settings, STREAMS[0]);
    }

    /// Goal: overrides reach the stream they name, and every mistake is in one message.
    #[test]
    fn overrides_apply_and_all_mistakes_are_told_at_once() {
        let config = read("[streams]\nreplicas = 3\n[streams.market_data]\nmax_bytes = 2097152\n").unwrap();
        assert_eq!((config.streams[0].settings.max_bytes, config.streams[1].replicas), (2_097_152, 3));

        let text = "[clickhouse]\nurl = \"https://x\"\ncluster = \"a'b\"\nhot_database = \"a;b\"\ninsert_timeout_ms = 40000\n\
                    [batch]\ntrade = 1\n[streams.marketdata]\n";
        let error = read(text).unwrap_err();
        for part in [
            "clickhouse.url",
            "clickhouse.cluster",
            "clickhouse.hot_database",
            "ack_wait_ms",
            "batch.trade",
            "marketdata",
        ] {
            assert!(error.contains(part), "{part}: {error}");
        }
        let one = "hot_database = \"x\"\ncold_database = \"x\"\n";
        assert!(read(&format!("[clickhouse]\n{one}")).unwrap_err().contains("clickhouse.cold_database"));
        let apart =
            format!("[clickhouse]\ncluster = \"{{cluster}}\"\n{one}[clickhouse.cold]\nurl = \"http://y\"\n");
        let [hot, cold] = read(&apart).map(|config| [config.clickhouse.hot, config.clickhouse.cold]).unwrap();
        assert_eq!((hot.cluster.as_deref(), cold.cluster), (Some("{cluster}"), None));
    }

    /// Goal: cold is where hot is, with hot's user, until something is said of it, in the file or by a variable; a mistake in its table is
    /// refused like any other.
    #[test]
    fn cold_is_where_hot_is_until_it_is_told() {
        let hot = "[clickhouse]\nurl = \"http://hot:1\"\nuser = \"writer\"\n";
        let both = read(hot).unwrap().clickhouse;
        assert_eq!((&both.cold, both.is_cold_apart()), (&both.hot, false));
        let variable = ("MARKETPRISM_CLICKHOUSE__COLD__URL".to_owned(), "http://cold:2".to_owned());
        let document = Document::parse("central.toml", hot, ".".into(), std::iter::once(variable)).unwrap();
        let apart = Config::read(&document).clickhouse;
        document.finish().unwrap();
        assert_eq!((apart.cold.url.as_str(), apart.is_cold_apart()), ("http://cold:2", true));
        let error = read(&format!("{hot}[clickhouse.cold]\nulr = \"http://cold:2\"\n")).unwrap_err();
        assert!(error.contains("clickhouse.cold.ulr"), "{error}");
    }
}
