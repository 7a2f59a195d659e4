//! `[replication]`: how hot is copied to cold.

use std::time::Duration;

use marketprism_config::Section;

use super::ClickHouse;

const DAY: Duration = Duration::from_secs(86_400);

/// How hot is copied to cold.
#[derive(Debug, Clone)]
pub struct Replication {
    /// Length of a window of `created_at`, whole seconds; divides a day.
    pub window: Duration,
    /// A window is closed this long after its end.
    pub safety_lag: Duration,
    /// The way rows go.
    pub method: Method,
    /// Pause between two rounds of a table that has caught up.
    pub interval: Duration,
    /// Windows of a round, for trades and order books.
    pub catch_up_high: u32,
    /// Windows of a round, for the other tables.
    pub catch_up_low: u32,
    /// Tries after the first one that failed.
    pub retries: u32,
    /// Longest wait for a server to answer a new connection.
    pub connect_timeout: Duration,
    /// Longest query or copy, on both sides of the connection.
    pub query_timeout: Duration,
    /// Time between two comparisons of everything in hot.
    pub recheck: Duration,
    /// What of the history is copied when nothing was copied before.
    pub start: Start,
    /// Rows are deleted from hot this long after their window was verified; never when absent.
    pub remove_from_hot_after: Option<Duration>,
    /// Whether answers and inserts are compressed on the wire.
    pub compress: bool,
}

/// The way rows go from hot to cold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Method {
    /// One server holds both databases and copies inside.
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

/// What of the history is copied when nothing was copied before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Everything that hot holds.
    All,
    /// What central wrote to hot within this time.
    Recent(Duration),
}

impl Replication {
    pub(super) fn read(section: &Section<'_>, clickhouse: &ClickHouse) -> Self {
        let seconds = |key, default, range| Duration::from_secs(section.integer_or(key, default, range));
        let count =
            |key, default, range| u32::try_from(section.integer_or(key, default, range)).unwrap_or(u32::MAX);
        let window = section.integer_or("window_seconds", 60, 1..=3_600);
        if window > 0 && !DAY.as_secs().is_multiple_of(window) {
            section.report("window_seconds", format!("is {window}"), "a number that divides a day");
        }
        let compression = section.text("compression").unwrap_or_else(|| "lz4".to_owned());
        if !["none", "lz4"].contains(&compression.as_str()) {
            section.report("compression", format!("is {compression:?}"), "none, lz4");
        }
        let removal = section.integer_or("remove_from_hot_after_hours", 0, 0..=876_000);
        Self {
            window: Duration::from_secs(window.max(1)),
            safety_lag: seconds("safety_lag_seconds", 30, 0..=86_400),
            method: method(section, clickhouse),
            interval: section.millis_or("interval_ms", 5_000, 100..=3_600_000),
            catch_up_high: count("catch_up_high", 5, 1..=1_440),
            catch_up_low: count("catch_up_low", 2, 1..=1_440),
            retries: count("retries", 3, 0..=20),
            connect_timeout: section.millis_or("connect_timeout_ms", 3_000, 100..=60_000),
            query_timeout: section.millis_or("query_timeout_ms", 60_000, 1_000..=3_600_000),
            recheck: seconds("recheck_seconds", 600, 1..=86_400),
            start: start(section),
            remove_from_hot_after: (removal > 0).then(|| Duration::from_secs(removal.saturating_mul(3_600))),
            compress: compression == "lz4",
        }
    }
}

fn method(section: &Section<'_>, clickhouse: &ClickHouse) -> Method {
    let is_apart = clickhouse.is_cold_apart();
    let address = section.text("hot_native_address").unwrap_or_default();
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-_:[]".contains(c);
    if !address.chars().all(plain) {
        section.report("hot_native_address", format!("is {address:?}"), "host or host:port");
    }
    let name = section.text("method").unwrap_or_else(|| "auto".to_owned());
    match name.as_str() {
        "auto" if is_apart => Method::Stream,
        "auto" => Method::SameServer,
        "same_server" => {
            if is_apart {
                let allowed = "auto, remote or stream, because clickhouse.cold.url is another server";
                section.report("method", "is \"same_server\"", allowed);
            }
            Method::SameServer
        }
        "remote" => {
            if address.is_empty() {
                let allowed = "the address of the hot server's native port, as the cold server reaches it";
                section.report("hot_native_address", "is missing for method \"remote\"", allowed);
            }
            Method::Remote(address)
        }
        "stream" => Method::Stream,
        other => {
            section.report("method", format!("is {other:?}"), "auto, same_server, remote, stream");
            Method::Stream
        }
    }
}

fn start(section: &Section<'_>) -> Start {
    let text = section.text("start").unwrap_or_else(|| "all".to_owned());
    if text == "all" {
        return Start::All;
    }
    let unit = |suffix, seconds: u64| Some((text.strip_suffix(suffix)?, seconds));
    let parts = unit('d', 86_400).or_else(|| unit('h', 3_600));
    let read = parts.and_then(|(number, seconds)| Some(number.parse::<u32>().ok().map(u64::from)? * seconds));
    match read {
        Some(seconds) => Start::Recent(Duration::from_secs(seconds)),
        None => {
            section.report("start", format!("is {text:?}"), "all, or days or hours such as 2d or 12h");
            Start::All
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use marketprism_config::Document;

    fn read(text: &str) -> Result<Replication, String> {
        let document = Document::parse("central.toml", text, ".".into(), std::iter::empty()).unwrap();
        let root = document.root();
        let clickhouse = ClickHouse::read(&root.section("clickhouse"));
        let replication = Replication::read(&root.section("replication"), &clickhouse);
        drop(root);
        document.finish().map(|()| replication).map_err(|error| error.to_string())
    }

    /// Goal: `auto` takes the way that the servers allow, and a way that they do not allow is refused.
    #[test]
    fn the_way_follows_the_servers() {
        assert_eq!(read("").unwrap().method, Method::SameServer);
        let apart = "[clickhouse.cold]\nurl = \"http://127.0.0.2:8123\"\n[replication]\n";
        assert_eq!(read(apart).unwrap().method, Method::Stream);
        assert!(read(&format!("{apart}method = \"same_server\"\n")).unwrap_err().contains("another server"));
        let remote = format!("{apart}method = \"remote\"\n");
        assert!(read(&remote).unwrap_err().contains("hot_native_address"));
        let remote = format!("{remote}hot_native_address = \"hot:9000\"\n");
        assert_eq!(read(&remote).unwrap().method, Method::Remote("hot:9000".to_owned()));
    }

    /// Goal: what of the history is copied is read in days and hours, and a mistake is told.
    #[test]
    fn the_start_is_all_or_recent() {
        let start = |text: &str| read(&format!("[replication]\nstart = \"{text}\"\n")).map(|r| r.start);
        assert_eq!(start("all").unwrap(), Start::All);
        assert_eq!(start("2d").unwrap(), Start::Recent(DAY * 2));
        assert_eq!(start("12h").unwrap(), Start::Recent(DAY / 2));
        assert!(start("soon").unwrap_err().contains("2d or 12h"));
        assert!(read("[replication]\nwindow_seconds = 7\n").unwrap_err().contains("divides a day"));
    }
}
