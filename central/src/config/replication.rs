//! `[replication]`: how hot is copied to cold.

use std::time::Duration;

use marketprism_config::Problems;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::clickhouse::{ClickHouse, Compression};

const DAY: Duration = Duration::from_secs(86_400);

/// The way rows go from hot to cold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Method {
    /// One server holds both databases and copies inside.
    #[default]
    SameServer,
    /// The cold server reads from this address of the hot server's native port.
    Remote(String),
    /// Central reads from one server and writes to the other.
    Stream,
}

impl Method {
    /// Its name in configuration and window log.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::SameServer => "same_server",
            Self::Remote(_) => "remote",
            Self::Stream => "stream",
        }
    }
}

/// Part of the history that is copied when nothing was copied before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Start {
    /// Everything that hot holds.
    #[default]
    All,
    /// Rows that central wrote to hot within this time.
    Recent(Duration),
}

/// Replication from hot to cold.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Replication {
    /// Windows of `created_at`: a divisor of 86400. The length is kept once windows are logged.
    #[serde(rename = "window_seconds", with = "marketprism_config::seconds")]
    #[schemars(with = "u64", range(min = 1, max = 3_600))]
    pub window: Duration,
    /// Windows are copied this long after their end.
    #[serde(rename = "safety_lag_seconds", with = "marketprism_config::seconds")]
    #[schemars(with = "u64", range(min = 0, max = 86_400))]
    pub safety_lag: Duration,
    /// Way of the rows: `same_server`, `remote` (cold reads hot's native port) or `stream` (through central). `auto`: the first when
    /// cold has hot's url, else the last.
    #[serde(rename = "method")]
    method_name: MethodName,
    /// Host and native port of the hot server as the cold server reaches it, for method `remote`.
    #[schemars(extend("x-allowed" = "host or host:port"))]
    hot_native_address: String,
    /// Least pause between two rounds, none while there is more to copy; a round begins when a window closes, at the latest after twelve times this.
    #[serde(rename = "interval_ms", with = "marketprism_config::millis")]
    #[schemars(with = "u64", range(min = 100, max = 3_600_000))]
    pub interval: Duration,
    /// Windows of a round, for trades and order books.
    #[schemars(range(min = 1, max = 1_440))]
    pub catch_up_high: u32,
    /// Windows of a round, for the other tables, which wait until so many have closed.
    #[schemars(range(min = 1, max = 1_440))]
    pub catch_up_low: u32,
    /// Retries after a failed try, with pauses of 1, 2, 4 s and a new connection.
    #[schemars(range(min = 0, max = 20))]
    pub retries: u32,
    /// Longest wait for a server to accept a connection.
    #[serde(rename = "connect_timeout_ms", with = "marketprism_config::millis")]
    #[schemars(with = "u64", range(min = 100, max = 60_000))]
    pub connect_timeout: Duration,
    /// Longest query or copy, on both sides of the connection.
    #[serde(rename = "query_timeout_ms", with = "marketprism_config::millis")]
    #[schemars(with = "u64", range(min = 1_000, max = 3_600_000))]
    pub query_timeout: Duration,
    /// Everything in hot is compared with cold and the window log this often, by event ids, and by content after a mutation or in turn; a table of
    /// which nothing changed, once an hour.
    #[serde(rename = "recheck_seconds", with = "marketprism_config::seconds")]
    #[schemars(with = "u64", range(min = 1, max = 86_400))]
    pub recheck: Duration,
    /// Part of hot that is copied when nothing was copied before: `all`, or the newest `2d` or `12h`.
    #[serde(rename = "start")]
    #[schemars(extend("x-allowed" = "all, or days or hours such as 2d or 12h"))]
    start_text: String,
    /// Rows are deleted from hot this long after their window was verified, at least what the streams keep (48 h), windows of more than 4 million rows
    /// excepted; 0: never.
    #[schemars(range(min = 0, max = 876_000))]
    remove_from_hot_after_hours: u64,
    /// Compression of answers and inserts.
    compression: Compression,
    #[serde(skip)]
    pub method: Method,
    #[serde(skip)]
    pub start: Start,
    #[serde(skip)]
    pub remove_from_hot_after: Option<Duration>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum MethodName {
    Auto,
    SameServer,
    Remote,
    Stream,
}

impl Default for Replication {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(60),
            safety_lag: Duration::from_secs(30),
            method_name: MethodName::Auto,
            hot_native_address: String::new(),
            interval: Duration::from_secs(5),
            catch_up_high: 5,
            catch_up_low: 2,
            retries: 3,
            connect_timeout: Duration::from_secs(3),
            query_timeout: Duration::from_secs(60),
            recheck: Duration::from_secs(600),
            start_text: "all".to_owned(),
            remove_from_hot_after_hours: 0,
            compression: Compression::Lz4,
            method: Method::default(),
            start: Start::default(),
            remove_from_hot_after: None,
        }
    }
}

impl Replication {
    /// Compress answers and inserts.
    pub fn compress(&self) -> bool {
        self.compression == Compression::Lz4
    }

    /// Checks the rules between keys, and sets what follows from several.
    pub(super) fn resolve(&mut self, clickhouse: &ClickHouse, problems: &mut Problems<'_>) {
        let seconds = self.window.as_secs();
        let divides = DAY.as_secs().is_multiple_of(seconds);
        let what = format!("is {seconds}");
        problems.demand(divides, "replication.window_seconds", what, "a number that divides a day");
        let hours = self.remove_from_hot_after_hours;
        self.remove_from_hot_after = (hours > 0).then(|| Duration::from_secs(hours.saturating_mul(3_600)));
        self.start = start(&self.start_text, problems);
        self.method = self.resolve_method(clickhouse.is_cold_apart(), problems);
    }

    fn resolve_method(&self, is_apart: bool, problems: &mut Problems<'_>) -> Method {
        let address = &self.hot_native_address;
        let plain = address.chars().all(|c: char| c.is_ascii_alphanumeric() || ".-_:[]".contains(c));
        problems.demand(
            plain,
            "replication.hot_native_address",
            format!("is {address:?}"),
            "host or host:port",
        );
        match self.method_name {
            MethodName::Auto if is_apart => Method::Stream,
            MethodName::Auto => Method::SameServer,
            MethodName::SameServer => {
                let allowed = "auto, remote or stream, because clickhouse.cold.url is another server";
                problems.demand(!is_apart, "replication.method", "is \"same_server\"", allowed);
                Method::SameServer
            }
            MethodName::Remote => {
                let what = "is missing for method \"remote\"";
                let allowed = "the address of the hot server's native port, as the cold server reaches it";
                problems.demand(!address.is_empty(), "replication.hot_native_address", what, allowed);
                Method::Remote(address.clone())
            }
            MethodName::Stream => Method::Stream,
        }
    }
}

fn start(text: &str, problems: &mut Problems<'_>) -> Start {
    if text == "all" {
        return Start::All;
    }
    let unit = |suffix, seconds: u64| Some((text.strip_suffix(suffix)?, seconds));
    let parts = unit('d', 86_400).or_else(|| unit('h', 3_600));
    let read = parts.and_then(|(number, seconds)| Some(number.parse::<u32>().ok().map(u64::from)? * seconds));
    read.map_or_else(
        || {
            let allowed = "all, or days or hours such as 2d or 12h";
            problems.report("replication.start", format!("is {text:?}"), allowed);
            Start::All
        },
        |seconds| Start::Recent(Duration::from_secs(seconds)),
    )
}
