//! `[clickhouse]`: the servers and databases.

use std::time::Duration;

use marketprism_config::{Secret, Section};
use marketprism_schema::{COLD, HOT};

/// The user that a ClickHouse server has from the start.
const DEFAULT_USER: &str = "default";

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
    /// Whether inserts are compressed: pays off across a network, costs time on one machine.
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
    /// Whether the cold database is on a server of its own.
    pub fn is_cold_apart(&self) -> bool {
        self.cold.url != self.hot.url
    }

    pub(super) fn read(section: &Section<'_>) -> Self {
        let hot = Server::read(section, "http://127.0.0.1:8123");
        let cold = Server::read(&section.section("cold"), &hot.url);
        // Nothing is said of cold: it is where hot is, with hot's user.
        let is_said = cold != Server::at(&hot.url);
        let cold = if is_said { cold } else { hot.clone() };
        let compression = section.text("compression").unwrap_or_else(|| "none".to_owned());
        if !["none", "lz4"].contains(&compression.as_str()) {
            section.report("compression", format!("is {compression:?}"), "none, lz4");
        }
        let names = (database(section, "hot_database", HOT), database(section, "cold_database", COLD));
        if names.0 == names.1 && hot.url == cold.url {
            section.report(
                "cold_database",
                format!("is {:?}, the hot one", names.1),
                "another name, or another server",
            );
        }
        let days =
            |key, default| u32::try_from(section.integer_or(key, default, 1..=36_500)).unwrap_or(u32::MAX);
        Self {
            hot,
            cold,
            hot_database: names.0,
            cold_database: names.1,
            hot_ttl_days: days("hot_ttl_days", 3),
            cold_ttl_days: days("cold_ttl_days", 3_650),
            insert_timeout: section.millis_or("insert_timeout_ms", 30_000, 1_000..=600_000),
            compress: compression == "lz4",
        }
    }
}

impl Server {
    /// A server of which only the address is known.
    fn at(url: &str) -> Self {
        Self { url: url.to_owned(), user: DEFAULT_USER.to_owned(), password: None, cluster: None }
    }

    fn read(section: &Section<'_>, default_url: &str) -> Self {
        let url = section.text("url").unwrap_or_else(|| default_url.to_owned());
        if !url.starts_with("http://") {
            section.report("url", format!("is {url:?}"), "an address that starts with http://");
        }
        Self {
            url,
            user: section.text("user").unwrap_or_else(|| DEFAULT_USER.to_owned()),
            password: section.secret("password"),
            cluster: cluster(section),
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

/// The cluster's name goes into statements in quotes, as it is. Empty: none.
fn cluster(section: &Section<'_>) -> Option<String> {
    let name = section.text("cluster").filter(|name| !name.is_empty())?;
    let inner = name.strip_prefix('{').and_then(|inner| inner.strip_suffix('}')).unwrap_or(&name);
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_-.".contains(&b);
    if inner.is_empty() || !inner.bytes().all(plain) {
        let allowed = "letters, digits, underscores, dots and hyphens, or the name of a macro in braces";
        section.report("cluster", format!("is {name:?}"), allowed);
    }
    Some(name)
}
