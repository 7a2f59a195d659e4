//! `[clickhouse]`: the servers and databases.

use std::path::{Path, PathBuf};
use std::time::Duration;

use marketprism_config::{MaskedUrl, Problems, Secret};
use marketprism_schema::{COLD, HOT};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The user that a ClickHouse server has from the start.
const DEFAULT_USER: &str = "default";

/// Longest TTL: 50 years. The tables' TTL is a `DateTime` of 32 bits: one beyond February 2106 begins again in 1970, and ClickHouse deletes every row.
const TTL_DAYS_MAX: u32 = 18_250;

/// Servers and databases of the rows.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ClickHouse {
    /// Server of the hot database.
    #[serde(flatten)]
    pub hot: Server,
    /// Server of the cold database: that of hot, with its user, unless any key of it is given.
    pub cold: Server,
    /// Database of recent rows. The variable `MARKETPRISM_CLICKHOUSE_DATABASE` wins over this key.
    pub hot_database: String,
    /// Database of all rows.
    pub cold_database: String,
    /// Days that rows stay in hot at least: whole days of rows are dropped. Older events become no rows; with 8 none that an edge fills from a history of the venue is older.
    #[schemars(range(min = 1, max = TTL_DAYS_MAX))]
    pub hot_ttl_days: u32,
    /// Days that rows stay in cold: more than in hot, at most 50 years. With a TTL beyond 2106 ClickHouse deletes all rows.
    #[schemars(range(min = 1, max = TTL_DAYS_MAX))]
    pub cold_ttl_days: u32,
    /// Longest insert, on both sides of the connection.
    #[serde(rename = "insert_timeout_ms", with = "marketprism_config::millis")]
    #[schemars(with = "u64", range(min = 1_000, max = 600_000))]
    pub insert_timeout: Duration,
    /// Compression of inserts: pays off across a network, costs time on one machine.
    compression: Compression,
}

/// One ClickHouse server and the user there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Server {
    /// Address of the HTTP interface of one server, not of a balancer over several or a proxy that drops settings; `https://` for TLS. User and password may be
    /// part of it, with `%` escapes for special characters. The variables
    /// `MARKETPRISM_CLICKHOUSE_HOST` and `MARKETPRISM_CLICKHOUSE_PORT` (of the HTTP interface) change host and port of the hot one.
    #[schemars(length(min = 1), extend("x-schemes" = ["http", "https"]))]
    pub url: MaskedUrl,
    /// Additional certificate authority, for an `https://` address as the keys below.
    #[schemars(extend("x-file" = true))]
    pub ca_file: Option<PathBuf>,
    /// Client certificate.
    #[schemars(extend("x-file" = true))]
    pub client_cert_file: Option<PathBuf>,
    /// Key of the client certificate.
    #[schemars(extend("x-file" = true))]
    pub client_key_file: Option<PathBuf>,
    /// Name that the server's certificate must have, if it is not the host of the address.
    pub server_name: Option<String>,
    /// User to log in as.
    #[schemars(length(min = 1))]
    pub user: String,
    /// Password of the user.
    pub password: Option<Secret>,
    /// Name of a ClickHouse cluster, or a macro such as `{cluster}`: tables are made `ON CLUSTER`, with Replicated engines. None: a
    /// server by itself.
    pub cluster: Option<String>,
}

/// Compression of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Compression {
    None,
    Lz4,
}

impl Default for ClickHouse {
    fn default() -> Self {
        let (url, user) = ("http://127.0.0.1:8123".into(), DEFAULT_USER.to_owned());
        Self {
            hot: Server { url, user, ..Server::default() },
            cold: Server::default(),
            hot_database: HOT.to_owned(),
            cold_database: COLD.to_owned(),
            hot_ttl_days: 3,
            cold_ttl_days: 3_650,
            insert_timeout: Duration::from_secs(30),
            compression: Compression::None,
        }
    }
}

impl ClickHouse {
    /// True if the cold database is on a server of its own.
    pub fn is_cold_apart(&self) -> bool {
        self.cold.url != self.hot.url
    }

    /// Compress inserts.
    pub fn compress(&self) -> bool {
        self.compression == Compression::Lz4
    }

    fn take_predecessors(&mut self, problems: &mut Problems<'_>) {
        const URL: &str = "clickhouse.url";
        problems.predecessor_host("MARKETPRISM_CLICKHOUSE_HOST", URL, &mut self.hot.url);
        if let Some(port) = problems.predecessor_port("MARKETPRISM_CLICKHOUSE_PORT", URL) {
            self.hot.url.change(|url| url.set_port(Some(port)).is_ok());
        }
        let database = problems.predecessor("MARKETPRISM_CLICKHOUSE_DATABASE", "clickhouse.hot_database");
        if let Some(database) = database {
            database.clone_into(&mut self.hot_database);
        }
    }

    /// Checks the rules between keys, and fills the cold server from the hot one.
    pub(super) fn resolve(&mut self, problems: &mut Problems<'_>) {
        self.take_predecessors(problems);
        for server in [&mut self.hot, &mut self.cold] {
            server.cluster = server.cluster.take().filter(|name| !name.is_empty());
        }
        self.hot.take_user_info("clickhouse", problems);
        self.cold.take_user_info("clickhouse.cold", problems);
        self.hot.check("clickhouse", problems);
        if self.cold.url.is_empty() {
            self.cold.url.clone_from(&self.hot.url);
            if !self.cold.has_tls_keys() {
                self.cold.take_tls_keys(&self.hot);
            }
        }
        if self.cold.user.is_empty() {
            DEFAULT_USER.clone_into(&mut self.cold.user);
        }
        let Server { url, user, password, cluster, .. } = &self.cold;
        let is_login_given = user != DEFAULT_USER || password.is_some() || cluster.is_some();
        if *url == self.hot.url && !is_login_given && self.cold.has_tls_keys_of(&self.hot) {
            self.cold = self.hot.clone();
        } else {
            self.cold.check("clickhouse.cold", problems);
        }
        check_database("clickhouse.hot_database", &self.hot_database, problems);
        check_database("clickhouse.cold_database", &self.cold_database, problems);
        let apart = self.hot_database != self.cold_database || self.is_cold_apart();
        let what = format!("is {:?}, the hot one", self.cold_database);
        problems.demand(apart, "clickhouse.cold_database", what, "another name, or another server");
        let (hot_days, cold_days) = (self.hot_ttl_days, self.cold_ttl_days);
        problems.demand(
            cold_days > hot_days,
            "clickhouse.cold_ttl_days",
            format!("is {cold_days}"),
            format!("more than clickhouse.hot_ttl_days, {hot_days}"),
        );
    }
}

impl Server {
    /// User and password of the address become those of the keys.
    fn take_user_info(&mut self, at: &str, problems: &mut Problems<'_>) {
        let Some((user, password)) = self.url.take_user_info() else { return };
        let is_user_given = !user.is_empty() && !matches!(self.user.as_str(), "" | DEFAULT_USER);
        let is_password_given = !password.is_empty() && self.password.is_some();
        let what = "holds a user or password that is also given by its own key";
        let allowed = "an address without them, or no key for them";
        problems.demand(!is_user_given && !is_password_given, &format!("{at}.url"), what, allowed);
        if !user.is_empty() {
            self.user = user;
        }
        if !password.is_empty() {
            self.password = Some(Secret::new(password));
        }
    }

    fn tls_keys(&self) -> [Option<&Path>; 3] {
        [&self.ca_file, &self.client_cert_file, &self.client_key_file].map(Option::as_deref)
    }

    fn has_tls_keys(&self) -> bool {
        self.tls_keys().iter().any(Option::is_some) || self.server_name.is_some()
    }

    /// Has the keys of the other, or none.
    fn has_tls_keys_of(&self, other: &Self) -> bool {
        !self.has_tls_keys() || self.tls_keys() == other.tls_keys() && self.server_name == other.server_name
    }

    fn take_tls_keys(&mut self, other: &Self) {
        self.ca_file.clone_from(&other.ca_file);
        self.client_cert_file.clone_from(&other.client_cert_file);
        self.client_key_file.clone_from(&other.client_key_file);
        self.server_name.clone_from(&other.server_name);
    }

    /// Certificate and key of the client.
    pub fn identity(&self) -> Option<(&Path, &Path)> {
        self.client_cert_file.as_deref().zip(self.client_key_file.as_deref())
    }

    fn check(&self, at: &str, problems: &mut Problems<'_>) {
        let is_tls = self.url.reveal().starts_with("https:");
        let allowed = "an https:// address, or none of the keys for TLS";
        problems.demand(
            is_tls || !self.has_tls_keys(),
            &format!("{at}.url"),
            "comes with keys for TLS",
            allowed,
        );
        let [_, certificate, key] = self.tls_keys();
        let missing = if certificate.is_some() { "client_key_file" } else { "client_cert_file" };
        let allowed = "both of client_cert_file and client_key_file, or neither";
        problems.demand(
            certificate.is_some() == key.is_some(),
            &format!("{at}.{missing}"),
            "is missing",
            allowed,
        );
        if let Some(name) = &self.cluster {
            check_cluster(&format!("{at}.cluster"), name, problems);
        }
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

/// The cluster's name goes into statements in quotes, as it is.
fn check_cluster(path: &str, name: &str, problems: &mut Problems<'_>) {
    let inner = name.strip_prefix('{').and_then(|inner| inner.strip_suffix('}')).unwrap_or(name);
    let plain = inner.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
    let legal = !inner.is_empty() && plain;
    let allowed = "letters, digits, underscores, dots and hyphens, or the name of a macro in braces";
    problems.demand(legal, path, format!("is {name:?}"), allowed);
}
