//! `central.toml` as a whole.

use std::path::Path;
use std::time::Duration;

use marketprism_config::{ConfigError, Document, Nats, Problems};
use marketprism_schema::{Carries, StreamSettings};
use marketprism_service::CertificateFiles;
use marketprism_traces::TraceSettings;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::clickhouse::{ClickHouse, Server};
use super::http::Http;
use super::replication::Replication;
use super::sections::{AdapterSettings, BatchLimits, LeaseTimes, Ledger, Stream, StreamsSection};
use crate::limits;

/// `central.toml`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct Config {
    pub adapters: AdapterSettings,
    pub nats: Nats,
    pub clickhouse: ClickHouse,
    #[serde(rename = "streams")]
    streams_section: StreamsSection,
    consumers: Consumers,
    pub batch: BatchLimits,
    pub ledger: Ledger,
    pub lease: LeaseTimes,
    pub replication: Replication,
    pub http: Http,
    pub traces: TraceSettings,
    #[serde(skip)]
    pub streams: Vec<Stream>,
    #[serde(skip)]
    pub ack_wait: Duration,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
struct Consumers {
    /// Messages in flight at a crash are redelivered after this time; at least twice `clickhouse.insert_timeout_ms`.
    #[serde(rename = "ack_wait_ms", with = "marketprism_config::millis")]
    #[schemars(with = "u64", range(min = 1_000, max = 3_600_000))]
    ack_wait: Duration,
}

impl Default for Consumers {
    fn default() -> Self {
        Self { ack_wait: Duration::from_secs(60) }
    }
}

impl Config {
    /// Time for which hot keeps rows that are not removed earlier, by venue time.
    pub fn hot_ttl(&self) -> Duration {
        Duration::from_secs(u64::from(self.clickhouse.hot_ttl_days) * 86_400)
    }

    /// Time for which hot surely has all rows, by venue time: until their TTL is near, or they may have been removed.
    pub fn surely_in_hot(&self) -> Duration {
        let until_ttl = self.hot_ttl().saturating_sub(limits::TTL_MARGIN);
        let until_removal = self.replication.remove_from_hot_after;
        until_removal.map_or(until_ttl, |delay| delay.saturating_sub(limits::CLOCK_SKEW).min(until_ttl))
    }

    /// Loads and validates a file, with every problem in one error.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::read(&Document::load(path)?)
    }

    pub(super) fn read(document: &Document) -> Result<Self, ConfigError> {
        let (mut config, mut problems) = document.read::<Self>();
        config.nats.check(&mut problems);
        config.adapters.check(&mut problems);
        config.clickhouse.resolve(&mut problems);
        config.replication.resolve(&config.clickhouse, &mut problems);
        config.http.check(&mut problems);
        config.ledger.check(&mut problems);
        config.traces.check(&mut problems);
        config.streams = config.streams_section.streams();
        config.ack_wait = config.consumers.ack_wait;
        config.check(&mut problems);
        problems.finish().map(|()| config)
    }

    /// The certificates of this configuration, by key.
    pub fn certificates(&self) -> CertificateFiles {
        let of_server = |key: &str, server: &Server| {
            [
                (format!("{key}.ca_file"), server.ca_file.clone()),
                (format!("{key}.client_cert_file"), server.client_cert_file.clone()),
            ]
        };
        let nats = self.nats.certificates().map(|(key, path)| (key.to_owned(), path.map(Path::to_owned)));
        let http = ("http.tls_cert_file".to_owned(), self.http.tls_cert_file.clone());
        let traces = ("traces.ca_file".to_owned(), self.traces.ca_file.clone());
        let hot = of_server("clickhouse", &self.clickhouse.hot);
        let cold = of_server("clickhouse.cold", &self.clickhouse.cold);
        CertificateFiles::new(nats.into_iter().chain([http, traces]).chain(hot).chain(cold))
    }

    /// Rules between sections.
    fn check(&self, problems: &mut Problems<'_>) {
        // Messages that a stream still holds may be redelivered: hot must know them, or they would be stored, and copied, a second time.
        let events = self.streams.iter().filter(|s| s.settings.carries == Carries::Events);
        let oldest = events.map(|s| s.settings.max_age).max().unwrap_or_default();
        if let Some(after) = self.replication.remove_from_hot_after {
            let what = format!("is {}", after.as_secs() / 3_600);
            let allowed =
                format!("0, or at least the longest max_age_seconds of [streams], {} s", oldest.as_secs());
            problems.demand(after >= oldest, "replication.remove_from_hot_after_hours", what, allowed);
        }
        for StreamSettings { name, max_age, duplicate_window, .. } in self.streams.iter().map(|s| &s.settings)
        {
            let section = format!("streams.{}", name.to_lowercase());
            let what = format!("is {}", duplicate_window.as_secs());
            let allowed = format!("at most {section}.max_age_seconds, {}", max_age.as_secs());
            let path = format!("{section}.duplicate_window_seconds");
            problems.demand(duplicate_window <= max_age, &path, what, allowed);
        }
        let (ack_wait, path) = (self.ack_wait, "consumers.ack_wait_ms");
        let what = format!("is {}", ack_wait.as_millis());
        // A message may be redelivered, looked up in hot and inserted again only when an insert of the previous process cannot run any
        // more: the last sign of life is at most a third of the ack wait old, so half of it is safe.
        let insert = self.clickhouse.insert_timeout;
        let allowed = format!("at least twice clickhouse.insert_timeout_ms, {}", 2 * insert.as_millis());
        problems.demand(insert <= ack_wait / 2, path, what.clone(), allowed);
        let age = self.batch.longest_age();
        let allowed = format!(
            "at least three times batch.max_age_ms and batch.max_age_others_ms, {}",
            3 * age.as_millis()
        );
        problems.demand(age <= ack_wait / 3, path, what, allowed);
    }

    /// Copies that a cluster keeps of streams and buckets.
    pub fn replicas(&self) -> usize {
        self.streams.iter().map(|stream| stream.replicas).max().unwrap_or(1)
    }
}

#[cfg(test)]
impl Config {
    /// A file with this text; variables of the environment change nothing.
    pub(crate) fn parse(text: &str) -> Result<Self, ConfigError> {
        Self::read(&Document::parse("central.toml", text, ".".into(), std::iter::empty())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Method, Start};
    use crate::role::Role;
    use marketprism_config::Secret;
    use marketprism_schema::STREAMS;

    fn read(text: &str) -> Result<Config, String> {
        Config::parse(text).map_err(|error| error.to_string())
    }

    #[test]
    fn defaults_are_those_of_the_documentation() {
        let config = read("").unwrap();
        assert_eq!(config.batch.trades, 50_000);
        assert_eq!(config.ack_wait, Duration::from_secs(60));
        assert_eq!(config.http.address(Role::All).port(), 8085);
        assert_eq!(config.http.address(Role::Cold).port(), 8086);
        assert_eq!(config.streams.len(), STREAMS.len());
        assert_eq!(config.streams[0].settings, STREAMS[0]);
    }

    #[test]
    fn overrides_apply_and_all_mistakes_are_reported_at_once() {
        let config = read("[streams]\nreplicas = 3\n[streams.market_data]\nmax_bytes = 2097152\n").unwrap();
        assert_eq!((config.streams[0].settings.max_bytes, config.streams[1].replicas), (2_097_152, 3));

        let text = "[clickhouse]\nurl = \"ftp://x\"\ncluster = \"a'b\"\nhot_database = \"a;b\"\ninsert_timeout_ms = 40000\n\
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

    /// The broker refuses such a stream, and `init --apply` would have changed those before it.
    #[test]
    fn a_stream_remembers_ids_no_longer_than_it_keeps_messages() {
        let with = |window: u32| {
            let keys = format!("max_age_seconds = 60\nduplicate_window_seconds = {window}\n");
            read(&format!(
                "[streams.market_data]\n{keys}[streams.orderbook_snap]\n{keys}[streams.audit]\n{keys}"
            ))
        };
        assert!(with(60).is_ok());
        let error = with(61).unwrap_err();
        for stream in ["market_data", "orderbook_snap", "audit"] {
            let rule = format!("is 61 (allowed: at most streams.{stream}.max_age_seconds, 60)");
            let problem = format!("streams.{stream}.duplicate_window_seconds: {rule}");
            assert!(error.contains(&problem), "{problem} is not in {error}");
        }
        let of_the_default = read("[streams.market_data]\nmax_age_seconds = 60\n").unwrap_err();
        assert!(of_the_default.contains("duplicate_window_seconds: is 120"), "{of_the_default}");
    }

    #[test]
    fn cold_is_on_the_server_of_hot_unless_configured() {
        let hot = "[clickhouse]\nurl = \"http://hot:1\"\nuser = \"writer\"\n";
        let both = read(hot).unwrap().clickhouse;
        assert_eq!((&both.cold, both.is_cold_apart()), (&both.hot, false));
        let variable = ("MARKETPRISM_CLICKHOUSE__COLD__URL".to_owned(), "http://cold:2".to_owned());
        let document = Document::parse("central.toml", hot, ".".into(), std::iter::once(variable)).unwrap();
        let apart = Config::read(&document).unwrap().clickhouse;
        assert_eq!((apart.cold.url.reveal(), apart.is_cold_apart()), ("http://cold:2", true));
        let error = read(&format!("{hot}[clickhouse.cold]\nulr = \"http://cold:2\"\n")).unwrap_err();
        assert!(error.contains("`clickhouse.cold.ulr` (did you mean `url`?)"), "{error}");
    }

    #[test]
    fn the_key_table_of_the_readme_is_generated_from_the_types() {
        let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
        marketprism_config::check_readme::<Config>(&readme).unwrap();
    }

    #[test]
    fn an_address_that_other_machines_reach_needs_a_read_token() {
        let open = "[http]\nlisten = \"0.0.0.0:8085\"\n";
        let error = read(open).unwrap_err();
        assert!(error.contains("http.read_token_file: is missing, and other machines reach"), "{error}");
        assert!(read(&format!("{open}anonymous_reads = true\n")).is_ok());
        assert!(read("[http]\nlisten = \"127.0.0.2:8085\"\n").is_ok());
        let token = |text: &str| {
            let variable = ("MARKETPRISM_HTTP__READ_TOKEN".to_owned(), text.to_owned());
            let document =
                Document::parse("central.toml", open, ".".into(), std::iter::once(variable)).unwrap();
            Config::read(&document).map_err(|error| error.to_string())
        };
        assert!(token("0123456789abcdef").is_ok());
        assert!(
            token("short").unwrap_err().contains("http.read_token_file: holds a token that can be guessed")
        );
    }

    #[test]
    fn user_and_password_of_an_address_are_those_of_the_server_and_never_show() {
        let text = "[clickhouse]\nurl = \"http://ann:hunter2@h:1\"\n[clickhouse.cold]\nurl = \"http://bob:hunter3@h:2\"\n";
        let config = read(text).unwrap();
        let [hot, cold] = [&config.clickhouse.hot, &config.clickhouse.cold];
        assert_eq!((hot.url.reveal(), hot.user.as_str()), ("http://h:1", "ann"));
        assert_eq!(cold.password.as_ref().map(Secret::reveal), Some("hunter3"));
        let shown = format!("{config:?}{}", serde_json::to_string(&config).unwrap());
        assert!(!shown.contains("hunter"), "{shown}");
        for url in ["ws://u:hunter2@h", "ftp://u:hunter2@h", "u:hunter2@h", "http://u:hunter2@"] {
            let error = read(&format!("[clickhouse]\nurl = {url:?}\n")).unwrap_err();
            assert!(error.contains("clickhouse.url: ") && !error.contains("hunter"), "{error}");
        }
        let error = read("[clickhouse]\nurl = \"http://ann:hunter2@h\"\nuser = \"bob\"\n").unwrap_err();
        assert!(error.contains("clickhouse.url: holds a user") && !error.contains("hunter"), "{error}");
    }

    #[test]
    fn keys_for_tls_need_an_https_address_and_cold_on_the_same_server_takes_those_of_hot() {
        let hot = "[clickhouse]\nurl = \"https://h:8443\"\nserver_name = \"db\"\n";
        let named = |text: &str| read(text).map(|config| config.clickhouse.cold.server_name);
        assert_eq!(named(hot).unwrap().as_deref(), Some("db"));
        assert_eq!(named(&format!("{hot}[clickhouse.cold]\nuser = \"c\"\n")).unwrap().as_deref(), Some("db"));
        assert_eq!(named(&format!("{hot}[clickhouse.cold]\nurl = \"http://c\"\n")).unwrap(), None);
        let error = read("[clickhouse]\nserver_name = \"db\"\n").unwrap_err();
        assert!(error.contains("clickhouse.url: comes with keys for TLS"), "{error}");
        let file = env!("CARGO_MANIFEST_PATH");
        let error = read(&format!("{hot}client_cert_file = {file:?}\n")).unwrap_err();
        assert!(error.contains("clickhouse.client_key_file: is missing"), "{error}");
    }

    #[test]
    fn variables_of_the_earlier_system_win_over_the_file_and_lose_to_ours() {
        let read = |variables: &[(&str, &str)]| {
            let text = "[clickhouse]\nurl = \"http://file:1\"\n[http]\nlisten = \"127.0.0.2:1\"\n";
            let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            let document = Document::parse("central.toml", text, ".".into(), variables).unwrap();
            Config::read(&document).map_err(|error| error.to_string())
        };
        let earlier = [
            ("MARKETPRISM_CLICKHOUSE_HOST", "db.example"),
            ("MARKETPRISM_CLICKHOUSE_PORT", "8124"),
            ("MARKETPRISM_CLICKHOUSE_DATABASE", "old_hot"),
            ("HOT_STORAGE_HTTP_PORT", "18080"),
        ];
        let config = read(&earlier).unwrap();
        assert_eq!(config.clickhouse.hot.url.reveal(), "http://db.example:8124");
        assert_eq!(config.clickhouse.cold, config.clickhouse.hot);
        assert_eq!(config.clickhouse.hot_database, "old_hot");
        assert_eq!(config.http.address(Role::All).to_string(), "127.0.0.2:18080");
        assert_eq!(config.http.address(Role::Cold).port(), 1);
        let ours = [
            ("MARKETPRISM_CLICKHOUSE__URL", "http://ours:2"),
            ("MARKETPRISM_CLICKHOUSE__HOT_DATABASE", "ours"),
            ("MARKETPRISM_HTTP__LISTEN", "127.0.0.3:3"),
        ];
        let config = read(&[&earlier[..], &ours].concat()).unwrap();
        assert_eq!(
            (config.clickhouse.hot.url.reveal(), &*config.clickhouse.hot_database),
            ("http://ours:2", "ours")
        );
        assert_eq!(config.http.address(Role::All).to_string(), "127.0.0.3:3");
        let error = read(&earlier.map(|(name, _)| (name, "a b"))).unwrap_err();
        for (name, _) in earlier {
            assert!(error.contains(&format!("\n  {name}: is \"a b\" (allowed: ")), "{name}: {error}");
        }
    }

    fn replication(text: &str) -> Result<Replication, String> {
        read(text).map(|config| config.replication)
    }

    #[test]
    fn the_way_follows_the_servers() {
        assert_eq!(replication("").unwrap().method, Method::SameServer);
        let apart = "[clickhouse.cold]\nurl = \"http://127.0.0.2:8123\"\n[replication]\n";
        assert_eq!(replication(apart).unwrap().method, Method::Stream);
        assert!(
            replication(&format!("{apart}method = \"same_server\"\n"))
                .unwrap_err()
                .contains("another server")
        );
        let remote = format!("{apart}method = \"remote\"\n");
        assert!(replication(&remote).unwrap_err().contains("hot_native_address"));
        let remote = format!("{remote}hot_native_address = \"hot:9000\"\n");
        assert_eq!(replication(&remote).unwrap().method, Method::Remote("hot:9000".to_owned()));
    }

    #[test]
    fn the_start_is_all_or_recent() {
        let start =
            |text: &str| replication(&format!("[replication]\nstart = \"{text}\"\n")).map(|r| r.start);
        assert_eq!(start("all").unwrap(), Start::All);
        assert_eq!(start("2d").unwrap(), Start::Recent(Duration::from_secs(2 * 86_400)));
        assert_eq!(start("12h").unwrap(), Start::Recent(Duration::from_secs(43_200)));
        assert!(start("soon").unwrap_err().contains("2d or 12h"));
        assert!(replication("[replication]\nwindow_seconds = 7\n").unwrap_err().contains("divides a day"));
    }
}
