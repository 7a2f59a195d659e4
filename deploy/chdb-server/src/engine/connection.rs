//! Starts the engine, and runs one statement on a fresh connection.

use std::ffi::CString;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use anyhow::{Context, bail};

use super::ffi::RawConnection;
use super::{EngineError, Library, QueryResult, Statement, grants};

#[derive(Debug, Clone)]
pub struct EngineOptions {
    pub library: PathBuf,
    pub tables: PathBuf,
    /// Path at which the engine's generated configuration is written; its users file is next to it.
    pub config: PathBuf,
    /// Bytes.
    pub memory_limit: u64,
    /// Rights in addition to those that reach no files, network or processes.
    pub grants: Vec<String>,
}

/// The running engine. It keeps one connection open, because the engine stops with its last connection.
pub struct Engine {
    library: Arc<Library>,
    arguments: Vec<CString>,
    keeper: Mutex<Option<Connection>>,
}

impl Engine {
    /// Loads the library and opens the tables; takes as long as loading them.
    pub fn start(options: &EngineOptions) -> anyhow::Result<Engine> {
        let library = Library::load(&options.library)?;
        let users = options.config.with_file_name("engine-users.xml");
        for (path, text) in [
            (&users, grants::users(&options.grants)),
            (&options.config, configuration(options.memory_limit, &users)?),
        ] {
            std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        let arguments = vec![
            c"clickhouse".to_owned(),
            argument("--path=", &options.tables)?,
            // Otherwise the engine reads a config.xml of the working directory or of the user's home.
            argument("--config-file=", &options.config)?,
        ];
        let engine = Engine { library, arguments, keeper: Mutex::new(None) };
        let Some(keeper) = engine.connect() else {
            bail!("the engine cannot open {}: see its message above", options.tables.display())
        };
        if let Ok(mut slot) = engine.keeper.lock() {
            *slot = Some(keeper);
        }
        Ok(engine)
    }

    /// A connection with the default database, default settings and no temporary tables.
    pub fn connect(&self) -> Option<Connection> {
        self.library.connect(&self.arguments).map(|raw| Connection { raw })
    }

    /// Stops the engine once every other connection is closed: merges end, tables are flushed.
    pub fn close(&self) {
        if let Ok(mut slot) = self.keeper.lock() {
            drop(slot.take());
        }
    }
}

fn argument(option: &str, path: &Path) -> anyhow::Result<CString> {
    let mut bytes = option.as_bytes().to_vec();
    bytes.extend_from_slice(path.as_os_str().as_bytes());
    CString::new(bytes).with_context(|| format!("path {} contains a zero byte", path.display()))
}

/// The engine's default caches are those of a server that has the machine to itself; this machine is
/// shared.
fn configuration(memory_limit: u64, users: &Path) -> anyhow::Result<String> {
    let mut text = String::from("<clickhouse>\n");
    for (name, bytes) in [
        ("mark_cache_size", 256_u64 << 20),
        ("index_mark_cache_size", 64 << 20),
        ("primary_index_cache_size", 256 << 20),
        ("vector_similarity_index_cache_size", 64 << 20),
    ] {
        let _ = writeln!(text, "    <{name}>{bytes}</{name}>");
    }
    let _ = writeln!(text, "    <max_server_memory_usage>{memory_limit}</max_server_memory_usage>");
    // Smallest and largest values show which parts a query needs; counting distinct ones would be a third of the work of merges.
    text.push_str("    <merge_tree><auto_statistics_types>minmax</auto_statistics_types></merge_tree>\n");
    let users = users.to_str().with_context(|| format!("path {} is not UTF-8", users.display()))?;
    let _ = writeln!(text, "    <users_config>{}</users_config>", escaped(users));
    text.push_str("</clickhouse>\n");
    Ok(text)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// A connection that has run nothing yet, or only queries of this program.
pub struct Connection {
    raw: RawConnection,
}

impl Connection {
    /// Runs the statement with its database, settings and parameters. `number` tags it in
    /// `system.processes` for cancelling. The connection must not be reused for another client.
    pub fn run(&mut self, statement: &Statement, number: u64) -> QueryResult {
        self.plain(&set_up(statement, number), "Null")?;
        for text in &statement.preparation {
            self.query(text, statement)?;
        }
        self.query(&statement.text, statement)
    }

    fn query(&mut self, text: &[u8], statement: &Statement) -> QueryResult {
        let result = self.raw.query(text, &statement.format, &statement.parameters);
        match result.error() {
            Some(text) => Err(EngineError::parse(&text)),
            None => Ok((result.counts(), result.bytes().to_vec())),
        }
    }

    /// Runs a query of this program itself; returns the result bytes.
    pub fn plain(&mut self, text: &str, format: &str) -> Result<Vec<u8>, EngineError> {
        let result = self.raw.query(text.as_bytes(), format, &[]);
        match result.error() {
            Some(text) => Err(EngineError::parse(&text)),
            None => Ok(result.bytes().to_vec()),
        }
    }
}

/// Tag that identifies a running statement in `system.processes`.
pub(super) fn mark(number: u64) -> String {
    format!(" request={number}")
}

/// `USE` and `SET` of one statement. `implicit_select` is on in the embedded engine and off in a server.
fn set_up(statement: &Statement, number: u64) -> String {
    let mut text = String::new();
    if let Some(database) = &statement.database {
        let _ = write!(text, "USE {}; ", quoted(database, '`'));
    }
    let comment =
        statement.settings.iter().rev().find(|(name, _)| name == "log_comment").map_or("", |(_, v)| v);
    let mark = format!("{comment} query_id={}{}", statement.query_id, mark(number));
    let _ = write!(text, "SET implicit_select = 0, log_comment = {}", quoted(mark.trim_start(), '\''));
    for (name, value) in statement.settings.iter().filter(|(name, _)| name != "log_comment") {
        let _ = write!(text, ", {name} = {}", quoted(value, '\''));
    }
    // Last: settings of the request stay possible, and none lifts it.
    if statement.read_only {
        text.push_str(", readonly = 1");
    }
    text
}

/// A quoted string literal or identifier of ClickHouse's SQL.
pub(super) fn quoted(value: &str, quote: char) -> String {
    let mut text = String::with_capacity(value.len() + 2);
    text.push(quote);
    for c in value.chars() {
        if c == quote || c == '\\' {
            text.push('\\');
        }
        text.push(c);
    }
    text.push(quote);
    text
}

#[cfg(test)]
mod tests {
    use super::{Statement, set_up};

    #[test]
    fn set_up_quotes_what_clients_send() {
        let statement = Statement {
            database: Some("a`b".into()),
            settings: vec![
                ("max_threads".into(), "1', readonly = '0".into()),
                ("log_comment".into(), "x\\".into()),
            ],
            query_id: "q".into(),
            read_only: true,
            ..Statement::default()
        };
        assert_eq!(
            set_up(&statement, 7),
            "USE `a\\`b`; SET implicit_select = 0, log_comment = 'x\\\\ query_id=q request=7', \
             max_threads = '1\\', readonly = \\'0', readonly = 1"
        );
    }
}
