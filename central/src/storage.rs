//! The ClickHouse client, and the meaning of its errors.

mod connector;
mod deduplication;
mod deletion;
mod views;

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use clickhouse::{Client, Compression};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use marketprism_schema::DatabaseKind;
use marketprism_service::{error_text, mask, tls_problem};

use self::connector::ServerConnector;
pub use self::deduplication::{DeduplicationRules, InsertSettings, always};
pub use self::deletion::delete_rows;
use self::views::{is_passing, view_of};
pub use self::views::{log_without_view, without_views};
use crate::config::{ClickHouse, Server};
use crate::limits;
use crate::row::RowsError;

/// Error codes caused by the content of rows: argument out of bound, string too large, value out of range, decimal overflow,
/// violated constraint. Every other error (unknown table, wrong type, no memory, too many parts) can pass without touching
/// the rows, so it is retried.
/// <https://github.com/ClickHouse/ClickHouse/blob/master/src/Common/ErrorCodes.cpp>
const CONTENT_CODES: [u32; 5] = [69, 131, 321, 407, 469];

/// Settings that change what a statement returns or when an insert counts as stored, each at the value that central relies on: the profile of its
/// user may have others (`async_insert` is on by default since ClickHouse 26.3). A statement's own settings win.
const FIXED_SETTINGS: [(&str, &str); 25] = [
    ("async_insert", "0"),
    ("wait_for_async_insert", "1"),
    // Above a limit of the profile a statement fails instead of returning a part of its rows.
    ("read_overflow_mode", "throw"),
    ("result_overflow_mode", "throw"),
    ("timeout_overflow_mode", "throw"),
    ("group_by_overflow_mode", "throw"),
    ("sort_overflow_mode", "throw"),
    ("distinct_overflow_mode", "throw"),
    ("set_overflow_mode", "throw"),
    ("join_overflow_mode", "throw"),
    ("limit", "0"),
    ("offset", "0"),
    ("use_query_cache", "0"),
    ("final", "0"),
    // Deleted rows stay hidden, and no other ones are.
    ("apply_deleted_mask", "1"),
    ("additional_table_filters", "{}"),
    ("additional_result_filter", ""),
    // An aggregate of no rows is a row.
    ("empty_result_for_aggregation_by_empty_set", "0"),
    // An alias hides the column of its name.
    ("prefer_column_name_to_alias", "0"),
    ("join_use_nulls", "0"),
    ("transform_null_in", "0"),
    ("aggregate_functions_null_for_empty", "0"),
    ("data_type_default_nullable", "0"),
    ("flatten_nested", "1"),
    ("decimal_check_overflow", "1"),
];

/// Error codes of a server that was emptied: unknown table, unknown database.
pub const UNKNOWN: [u32; 2] = [60, 81];

/// Error code of a setting that the server does not know.
pub const UNKNOWN_SETTING: u32 = 115;

/// Error code of a user without the privilege.
pub const ACCESS_DENIED: u32 = 497;

/// Error codes of a statement that changes something, takes too long, or has too large a result, where a setting forbids it.
pub const READ_ONLY: u32 = 164;
pub const TIMEOUT_EXCEEDED: u32 = 159;
pub const TOO_MANY_ROWS_OR_BYTES: u32 = 396;

/// Error of a request whose settings were lost on the way.
pub const SETTINGS_DROPPED: &str = "it does not get the settings of requests: a proxy on the way, such as chproxy, drops parameters. Set `url` in \
    [clickhouse], or [clickhouse.cold], to the server's own address";

/// Size of a statement with as many ids as a delete may list.
pub const QUERY_BYTES: &str = "2000000";

/// End of the error of a connection that was closed before the request was sent (hyper).
const NOT_READY: &str = "connection was not ready";

#[derive(Clone)]
pub struct Storage {
    pub client: Client,
    /// Recent rows on the hot server, all rows on the cold one.
    pub database: String,
    pub insert_timeout: Duration,
    /// Until the server refuses them: it may be replaced by an earlier version.
    deduplication: Arc<Mutex<Option<DeduplicationRules>>>,
}

#[derive(Debug, Clone, thiserror::Error)]
pub enum StorageError {
    #[error("clickhouse refused: {text}")]
    Refused {
        /// Exception code, 0 when there is none.
        code: u32,
        text: String,
    },
    /// A materialized view on the table of an insert failed, not the insert itself.
    #[error("view {view} failed: {text}")]
    View {
        view: String,
        text: String,
        /// It may take the rows later.
        is_passing: bool,
    },
    /// Not reachable, or not an answer of ClickHouse.
    #[error("clickhouse unreachable: {0}")]
    Unreachable(String),
    /// The rows do not match the columns of the table: a bug in this program.
    #[error("{0}")]
    Rows(RowsError),
    #[error("clickhouse did not answer within {} ms", .0.as_millis())]
    TimedOut(Duration),
}

impl StorageError {
    /// The rows themselves are the cause, so retrying is useless.
    pub fn is_content(&self) -> bool {
        match self {
            Self::Refused { code, .. } => CONTENT_CODES.contains(code),
            Self::Rows(_) => true,
            Self::View { .. } | Self::Unreachable(_) | Self::TimedOut(_) => false,
        }
    }
}

impl From<clickhouse::error::Error> for StorageError {
    fn from(error: clickhouse::error::Error) -> Self {
        match error {
            clickhouse::error::Error::BadResponse(text) => {
                let (code, shown) = (exception_code(&text), shorten(&mask(&text)));
                match view_of(&text) {
                    Some(view) => {
                        Self::View { view: shorten(&view), text: shown, is_passing: is_passing(code) }
                    }
                    None => Self::Refused { code, text: shown },
                }
            }
            other => Self::Unreachable(tls_problem(&other).unwrap_or_else(|| unreachable_text(&other))),
        }
    }
}

/// A refused client certificate may close the connection before its alert is read: TLS 1.3 ends the handshake of the client first.
fn unreachable_text(error: &clickhouse::error::Error) -> String {
    let text = error_text(error);
    if text.ends_with(NOT_READY) {
        return format!(
            "{text}: the server closed it at once. If it requires a client certificate, set client_cert_file and client_key_file; if they \
             are set, the server refuses the certificate of client_cert_file"
        );
    }
    text
}

impl Storage {
    /// Does not connect. Fails on a file of certificates that cannot be used.
    pub fn hot(config: &ClickHouse) -> anyhow::Result<Self> {
        Self::new(config, &config.hot, &config.hot_database)
    }

    /// The cold database, possibly on a server of its own. Does not connect.
    pub fn cold(config: &ClickHouse) -> anyhow::Result<Self> {
        Self::new(config, &config.cold, &config.cold_database)
    }

    /// Does not connect.
    pub fn of(config: &ClickHouse, side: DatabaseKind) -> anyhow::Result<Self> {
        match side {
            DatabaseKind::Hot => Self::hot(config),
            DatabaseKind::Cold => Self::cold(config),
        }
    }

    fn new(config: &ClickHouse, server: &Server, database: &str) -> anyhow::Result<Self> {
        let compression = if config.compress() { Compression::Lz4 } else { Compression::None };
        let mut client = connecting(server)
            .with_context(|| format!("TLS to clickhouse at {}", server.url))?
            .with_url(server.url.reveal())
            .with_user(&server.user)
            .with_compression(compression)
            .with_product_info("marketprism-central", env!("CARGO_PKG_VERSION"));
        if let Some(password) = &server.password {
            client = client.with_password(password.reveal());
        }
        let client =
            FIXED_SETTINGS.into_iter().fold(client, |client, (name, value)| client.with_setting(name, value));
        let client = limited(&client, limits::QUERY_TIMEOUT);
        let deduplication = Arc::default();
        Ok(Self {
            client,
            database: database.to_owned(),
            insert_timeout: config.insert_timeout,
            deduplication,
        })
    }

    /// Asked once for all inserts, and again after [`Self::forget_deduplication`].
    pub async fn deduplication(&self) -> Result<DeduplicationRules, StorageError> {
        let known = *self.deduplication.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(rules) = known {
            return Ok(rules);
        }
        let rules = DeduplicationRules::read(&self.client, limits::QUERY_TIMEOUT).await?;
        *self.deduplication.lock().unwrap_or_else(PoisonError::into_inner) = Some(rules);
        Ok(rules)
    }

    pub fn forget_deduplication(&self) {
        *self.deduplication.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Highest stored stream sequence, 0 when there is none.
    pub async fn highest_sequence(&self, table: &str) -> Result<u64, StorageError> {
        let sql = format!("SELECT max(stream_seq) FROM {}.{table}", self.database);
        bounded(limits::QUERY_TIMEOUT, self.client.query_raw(&sql).fetch_one::<u64>()).await
    }
}

/// A client with the TLS of a server, if its address asks for TLS.
fn connecting(server: &Server) -> anyhow::Result<Client> {
    // A server closes an idle connection after 3 s by default. Without a timer none is closed here but that which is used next.
    let mut pool = HttpClient::builder(TokioExecutor::new());
    pool.pool_idle_timeout(limits::CLICKHOUSE_IDLE).pool_timer(TokioTimer::new());
    Ok(Client::with_http_client(pool.build(ServerConnector::new(server)?)))
}

/// The client with the timeout set on the server too: an abandoned statement does not continue there.
pub fn limited(client: &Client, limit: Duration) -> Client {
    client.clone().with_setting("max_execution_time", limit.as_secs().max(1).to_string())
}

/// Limits the wait for an answer. The server stops the statement after [`limits::QUERY_TIMEOUT`], unless its client is [`limited`] to another time.
pub async fn bounded<T>(
    limit: Duration,
    answer: impl Future<Output = Result<T, clickhouse::error::Error>>,
) -> Result<T, StorageError> {
    match tokio::time::timeout(limit, answer).await {
        Ok(result) => result.map_err(StorageError::from),
        Err(_) => Err(StorageError::TimedOut(limit)),
    }
}

/// The number in `Code: 60. DB::Exception: ...`.
fn exception_code(text: &str) -> u32 {
    let digits = text.split_once("Code: ").map(|(_, rest)| rest).unwrap_or_default();
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits.get(..end).and_then(|code| code.parse().ok()).unwrap_or(0)
}

/// Text of others, such as an error with a value of a message, for a log line or a row.
pub fn shorten(text: &str) -> String {
    const LIMIT: usize = 500;
    let text = text.trim();
    match text.char_indices().nth(LIMIT) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::config::Config;

    /// A missing table or a changed type must never discard a message.
    #[test]
    fn only_errors_caused_by_row_content_are_permanent() {
        let refused = |text: &str| StorageError::from(clickhouse::error::Error::BadResponse(text.to_owned()));
        assert!(refused("Code: 469. DB::Exception: Constraint `c` is violated").is_content());
        for text in
            ["Code: 60. DB::Exception: no table", "Code: 117. DB::Exception: type", "502 Bad Gateway", ""]
        {
            assert!(!refused(text).is_content(), "{text}");
        }
        assert_eq!(exception_code("Code: 60. DB::Exception"), 60);
        assert!(!StorageError::TimedOut(Duration::from_secs(1)).is_content());
    }

    /// A profile of the user may have other values, and a server refuses a name that it does not know.
    #[tokio::test(flavor = "multi_thread")]
    async fn every_statement_fixes_the_settings_that_central_relies_on() {
        if marketprism_tests::parts::missing().is_some() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let engine = marketprism_tests::clickhouse::ClickHouse::start(folder.path()).await;
        let config = Config::parse(&format!("[clickhouse]\nurl = {:?}\n", engine.url())).unwrap();
        let storage = Storage::hot(&config.clickhouse).unwrap();
        let query = storage.client.query("SELECT name, value FROM system.settings WHERE changed");
        let found: std::collections::BTreeMap<String, String> =
            query.fetch_all::<(String, String)>().await.unwrap().into_iter().collect();
        // The embedded engine is asked nothing about asynchronous inserts: it has none.
        for (name, value) in FIXED_SETTINGS.into_iter().filter(|(name, _)| !name.ends_with("async_insert")) {
            assert_eq!(found.get(name).map(String::as_str), Some(value), "{name}");
        }
        let limit = "SELECT value FROM system.settings WHERE name = 'max_execution_time'";
        for (client, seconds) in
            [(storage.client.clone(), "20"), (limited(&storage.client, limits::DDL_TIMEOUT), "200")]
        {
            assert_eq!(client.query(limit).fetch_one::<String>().await.unwrap(), seconds);
        }
    }

    #[tokio::test]
    async fn connections_of_a_burst_are_closed_when_they_are_idle() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = Server { url: url.as_str().into(), ..Server::default() };
        let client = connecting(&server).unwrap().with_url(url);
        // All three are open at once; the server closes none.
        let served = async {
            let mut open = Vec::new();
            for _ in 0..3 {
                open.push(listener.accept().await.unwrap().0);
            }
            for stream in &mut open {
                assert!(stream.read(&mut [0; 4_096]).await.unwrap() > 0);
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
            }
            open
        };
        let ask = || client.query("SELECT 1").execute();
        let (one, two, three, open) = tokio::join!(ask(), ask(), ask(), served);
        for answer in [one, two, three] {
            answer.unwrap();
        }
        for mut stream in open {
            let mut rest = Vec::new();
            let closed = stream.read_to_end(&mut rest);
            tokio::time::timeout(Duration::from_secs(60), closed).await.expect("it stays open").unwrap();
        }
    }

    #[tokio::test]
    async fn a_server_that_swallows_packets_is_given_up_long_before_a_querys_time() {
        // Whoever is not accepted stays in the backlog: once it is full, further SYNs are dropped.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.4:0".parse().unwrap()).unwrap();
        let full = socket.listen(1).unwrap();
        let silent = full.local_addr().unwrap();
        for _ in 0..8 {
            let _ = std::net::TcpStream::connect_timeout(&silent, Duration::from_millis(20));
        }
        let server = Server { url: format!("http://{silent}").as_str().into(), ..Server::default() };
        let client = connecting(&server).unwrap().with_url(server.url.reveal());
        let asked = bounded(Duration::from_secs(60), client.query("SELECT 1").execute()).await;
        assert!(matches!(asked, Err(StorageError::Unreachable(_))), "{asked:?}");
    }
}
