//! `[clickhouse]`: the servers and databases.

use std::time::Duration;

use marketprism_config::{Problems, Secret};
use marketprism_schema::{COLD, HOT};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The user that a ClickHouse server has from the start.
const DEFAULT_USER: &str = "default";

/// The section as it is in the file.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(super) struct ClickHouseSection {
    /// Address of the HTTP interface of the server with the hot database. Plain HTTP: put a TLS proxy in front of a distant server. It
    /// must name one server, not a balancer over several.
    url: String,
    /// User.
    user: String,
    /// Password of the user.
    password: Option<Secret>,
    /// Name of a ClickHouse cluster, or a macro such as `{cluster}`: tables are made `ON CLUSTER`, with Replicated engines.
    cluster: String,
    cold: ColdSection,
    /// Database of recent rows.
    hot_database: String,
    /// Database of all rows.
    cold_database: String,
    /// Days that rows stay in hot.
    #[schemars(range(min = 1, max = 36_500))]
    hot_ttl_days: u32,
    /// Days that rows stay in cold.
    #[schemars(range(min = 1, max = 36_500))]
    cold_ttl_days: u32,
    /// Longest insert, on both sides of the connection.
    #[serde(rename = "insert_timeout_ms", with = "marketprism_config::millis")]
    #[schemars(with = "u64", range(min = 1_000, max = 600_000))]
    insert_timeout: Duration,
    /// Compression of inserts: pays off across a network, costs time on one machine.
    compression: Compression,
}

/// The server of the cold database; without any key it is that of hot, with its user.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
struct ColdSection {
    /// Address of the server with the cold database; none: that of hot.
    url: Option<String>,
    /// User there; none: `default` on a server of its own.
    user: Option<String>,
    /// Password of the user.
    password: Option<Secret>,
    /// As of hot.
    cluster: String,
}

/// Compression of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Compression {
    None,
    Lz4,
}

impl Default for ClickHouseSection {
    fn default() -> Self {
        Self {
            url: "http://127.0.0.1:8123".to_owned(),
            user: DEFAULT_USER.to_owned(),
            password: None,
            cluster: String::new(),
            cold: ColdSection::default(),
            hot_database: HOT.to_owned(),
            cold_database: COLD.to_owned(),
            hot_ttl_days: 3,
            cold_ttl_days: 3_650,
            insert_timeout: Duration::from_secs(30),
            compression: Compression::None,
        }
    }
}

/// Where the rows go.
#[derive(Debug, Clone)]
pub struct ClickHouse {
    /// Server of the hot database.
    pub hot: Server,
    /// Server of the cold database: the hot one unless `[clickhouse.cold]` names another.
    pub cold: Server,
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
    /// Compress inserts.
    pub compress: bool,
}

/// One ClickHouse server and who we are there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Address of the HTTP interface.
    pub url: String,
    /// User name.
    pub user: String,
    /// Password, if the user has one.
    pub password: Option<Secret>,
    /// Name of the ClickHouse cluster that it belongs to, or a macro of its servers such as `{cluster}`: tables are made on all of
    /// them, replicated. None: a server by itself.
    pub cluster: Option<String>,
}

impl ClickHouse {
    /// True if the cold database is on a server of its own.
    pub fn is_cold_apart(&self) -> bool {
        self.cold.url != self.hot.url
    }

    pub(super) fn new(section: ClickHouseSection, problems: &mut Problems<'_>) -> Self {
        let ClickHouseSection { url, user, password, cluster, cold, hot_database, cold_database, .. } =
            section;
        let hot = Server::new("clickhouse", url, user, password, cluster, problems);
        let cold = Server::cold(cold, &hot, problems);
        check_database("clickhouse.hot_database", &hot_database, problems);
        check_database("clickhouse.cold_database", &cold_database, problems);
        let apart = hot_database != cold_database || hot.url != cold.url;
        let what = format!("is {cold_database:?}, the hot one");
        problems.demand(apart, "clickhouse.cold_database", what, "another name, or another server");
        Self {
            hot,
            cold,
            hot_database,
            cold_database,
            hot_ttl_days: section.hot_ttl_days,
            cold_ttl_days: section.cold_ttl_days,
            insert_timeout: section.insert_timeout,
            compress: section.compression == Compression::Lz4,
        }
    }
}

impl Server {
    fn new(
        at: &str,
        url: String,
        user: String,
        password: Option<Secret>,
        cluster: String,
        problems: &mut Problems<'_>,
    ) -> Self {
        let is_http = url.starts_with("http://");
        let allowed = "an address that starts with http://";
        problems.demand(is_http, &format!("{at}.url"), format!("is {url:?}"), allowed);
        check_cluster(&format!("{at}.cluster"), &cluster, problems);
        Self { url, user, password, cluster: Some(cluster).filter(|name| !name.is_empty()) }
    }

    /// The server of hot, with its user, until anything else is configured.
    fn cold(section: ColdSection, hot: &Self, problems: &mut Problems<'_>) -> Self {
        let ColdSection { url, user, password, cluster } = section;
        let url = url.unwrap_or_else(|| hot.url.clone());
        let user = user.unwrap_or_else(|| DEFAULT_USER.to_owned());
        if url == hot.url && user == DEFAULT_USER && password.is_none() && cluster.is_empty() {
            return hot.clone();
        }
        Self::new("clickhouse.cold", url, user, password, cluster, problems)
    }
}

/// Database names go into statements as they are, so only plain identifiers are allowed.
fn check_database(path: &str, name: &str, problems: &mut Problems<'_>) {
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let legal = !name.is_empty() && plain && !name.starts_with(|c: char| c.is_ascii_digit());
    problems.demand(
        legal,
        path,
        format!("is {name:?}"),
        "letters, digits and underscores, not a digit first",
    );
}

/// The cluster's name goes into statements in quotes, as it is. Empty: none.
fn check_cluster(path: &str, name: &str, problems: &mut Problems<'_>) {
    let inner = name.strip_prefix('{').and_then(|inner| inner.strip_suffix('}')).unwrap_or(name);
    let plain = inner.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
    let legal = name.is_empty() || (!inner.is_empty() && plain);
    let allowed = "letters, digits, underscores, dots and hyphens, or the name of a macro in braces";
    problems.demand(legal, path, format!("is {name:?}"), allowed);
}
