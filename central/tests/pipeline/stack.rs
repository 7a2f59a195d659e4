//! The processes around a test, each in its own folder and at its own port.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use async_nats::jetstream;
use tempfile::TempDir;

use crate::link::Link;
use crate::nats::Nats;
pub use crate::running::{Running, free_port, until, until_told, until_within};

/// Broker, ClickHouse and the configuration of a central.
pub struct Stack {
    dir: TempDir,
    parts: Parts,
    ports: Ports,
    nats: Nats,
    clickhouse: Option<Running>,
    cold: Option<Running>,
}

#[derive(Clone)]
struct Parts {
    nats_server: PathBuf,
    clickhouse: PathBuf,
    library: PathBuf,
}

struct Ports {
    clickhouse: u16,
    /// An engine for the cold database alone; none: it is on the hot one's.
    cold: Option<u16>,
    http: u16,
}

fn log_of(config: &Path) -> PathBuf {
    config.with_extension("log")
}

/// A part from a variable or the folder where the install puts it: `<repository>/.marketprism/cache/<folder*>/<file>`.
fn part(variable: &str, folder: &str, file: &str) -> Option<PathBuf> {
    if let Some(path) = std::env::var_os(variable) {
        return Some(PathBuf::from(path));
    }
    let cache = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?.join(".marketprism/cache");
    let folders = std::fs::read_dir(cache).ok()?.flatten();
    let mut found = folders.filter(|entry| entry.file_name().to_string_lossy().starts_with(folder));
    found.find_map(|entry| Some(entry.path().join(file)).filter(|path| path.is_file()))
}

impl Parts {
    fn find() -> Result<Self, &'static str> {
        let beside = Path::new(env!("CARGO_BIN_EXE_marketprism-central"));
        let clickhouse = beside.with_file_name("marketprism-clickhouse");
        Ok(Self {
            nats_server: part("MARKETPRISM_NATS_SERVER", "nats-server", "nats-server")
                .ok_or("nats-server")?,
            library: part("MARKETPRISM_LIBCHDB", "libchdb", "libchdb.so").ok_or("libchdb.so")?,
            clickhouse: clickhouse.is_file().then_some(clickhouse).ok_or("marketprism-clickhouse")?,
        })
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for file in std::fs::read_dir(self.dir.path()).unwrap().flatten().map(|entry| entry.path()) {
            if file.extension().is_some_and(|extension| extension == "log") {
                let text = std::fs::read_to_string(&file).unwrap_or_default();
                let lines: Vec<&str> = text.lines().collect();
                let tail = lines[lines.len().saturating_sub(60)..].join("\n");
                eprintln!("---- last lines of {} ----\n{tail}", file.display());
            }
        }
    }
}

impl Stack {
    /// Starts broker and ClickHouse; nothing when a part is not installed.
    pub fn start() -> Option<Self> {
        Self::with_nodes(1)
    }

    /// The same with a cluster of so many brokers.
    pub fn with_nodes(nodes: usize) -> Option<Self> {
        let parts = match Parts::find() {
            Ok(parts) => parts,
            Err(missing) => {
                eprintln!("SKIPPED: {missing} is not there; `make deps build` installs and builds it");
                return None;
            }
        };
        let ports = Ports { clickhouse: free_port(), cold: None, http: free_port() };
        let dir = TempDir::new().unwrap();
        let nats = Nats::start(&parts.nats_server, dir.path(), nodes);
        let mut stack = Self { dir, parts, ports, nats, clickhouse: None, cold: None };
        stack.start_clickhouse();
        Some(stack)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Starts the broker, with what it stored before.
    pub fn start_nats(&mut self) {
        self.nats.restart(0);
    }

    /// Ends the broker as a power cut would.
    pub fn kill_nats(&mut self) {
        self.nats.kill(0);
    }

    /// The brokers.
    pub fn nodes(&mut self) -> &mut Nats {
        &mut self.nats
    }

    /// Starts ClickHouse, with what it stored before.
    pub fn start_clickhouse(&mut self) {
        self.clickhouse = Some(self.engine("clickhouse", self.ports.clickhouse));
    }

    /// Starts an engine for the cold database alone, with what it stored before. Configurations written afterwards name it.
    pub fn start_cold_clickhouse(&mut self) {
        let port = *self.ports.cold.get_or_insert_with(free_port);
        self.cold = Some(self.engine("clickhouse-cold", port));
    }

    /// Ends the cold database's engine as a power cut would.
    pub fn kill_cold_clickhouse(&mut self) {
        self.cold.take().unwrap().kill();
    }

    fn engine(&self, folder: &str, port: u16) -> Running {
        let mut child = Command::new(&self.parts.clickhouse)
            .args(["--listen", &format!("127.0.0.1:{port}"), "--data"])
            .arg(self.path(folder))
            .arg("--library")
            .arg(&self.parts.library)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("listening on "), "the engine did not start: {line:?}");
        Running(child)
    }

    /// Ends ClickHouse as a power cut would.
    pub fn kill_clickhouse(&mut self) {
        self.clickhouse.take().unwrap().kill();
    }

    /// Writes a configuration for quick tests: short waits, small batches. `more` is appended.
    pub fn configure(&self, more: &str) -> PathBuf {
        self.configure_as("central", self.ports.http, more)
    }

    /// The same for another central beside it, which listens at `port`.
    pub fn configure_as(&self, name: &str, port: u16, more: &str) -> PathBuf {
        let (urls, clickhouse) = (self.nats.urls(), self.ports.clickhouse);
        let cold =
            self.ports.cold.map(|port| format!("[clickhouse.cold]\nurl = \"http://127.0.0.1:{port}\"\n"));
        let cold = cold.unwrap_or_default();
        let text = format!(
            "[nats]\nurls = {urls:?}\n\
             [clickhouse]\nurl = \"http://127.0.0.1:{clickhouse}\"\ninsert_timeout_ms = 1000\n{cold}\
             [consumers]\nack_wait_ms = 3000\n\
             [http]\nlisten = \"127.0.0.1:{port}\"\nhealth_grace_seconds = 0\n{more}"
        );
        let path = self.path(&format!("{name}.toml"));
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Runs a command of central to its end.
    pub fn command(&self, command: &str, config: &Path, more: &[&str]) -> Output {
        self.central(command, config).args(more).output().unwrap()
    }

    fn central(&self, command: &str, config: &Path) -> Command {
        let mut central = Command::new(env!("CARGO_BIN_EXE_marketprism-central"));
        central.arg(command).arg("--config").arg(config);
        for name in ["NATS_URL", "MARKETPRISM_NATS_URL", "HEALTH_GRACE_SECONDS"] {
            central.env_remove(name);
        }
        central
    }

    /// Runs `init` to its end.
    pub fn init(&self, config: &Path, more: &[&str]) -> Output {
        self.command("init", config, more)
    }

    /// Writes a file into the test's folder.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Address of a path of central.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.ports.http)
    }

    /// Lets what a configuration names at a link's far end be reached through the link only.
    pub fn lead_through(config: &Path, link: &Link) {
        let (direct, linked) =
            (format!("127.0.0.1:{}\"", link.far()), format!("127.0.0.1:{}\"", link.near()));
        let text = std::fs::read_to_string(config).unwrap();
        assert!(text.contains(&direct), "{direct} is not in {text}");
        std::fs::write(config, text.replace(&direct, &linked)).unwrap();
    }

    /// A link to the broker, and one to the ClickHouse of the hot database.
    pub async fn links(&self) -> [Link; 2] {
        [Link::to(self.nats.port()).await, Link::to(self.ports.clickhouse).await]
    }

    /// A link to the ClickHouse of the cold database.
    pub async fn cold_link(&self) -> Link {
        Link::to(self.ports.cold.unwrap()).await
    }

    /// Starts `run`. Its log is appended to a file beside the configuration, of which the end is shown when the test fails.
    pub fn run(&self, config: &Path) -> Running {
        let log = File::options().create(true).append(true).open(log_of(config)).unwrap();
        let target = || Stdio::from(log.try_clone().unwrap());
        Running(self.central("run", config).stdout(target()).stderr(target()).spawn().unwrap())
    }

    /// What the centrals with a configuration have logged, without colours.
    pub fn log(config: &Path) -> String {
        std::fs::read_to_string(log_of(config)).unwrap()
    }

    /// Status and body of a path of central; nothing while it does not listen.
    pub fn get(&self, path: &str) -> Option<(u16, String)> {
        Self::request(self.ports.http, "GET", path, "", "")
    }

    /// The same of a central at another port.
    pub fn get_at(port: u16, path: &str) -> Option<(u16, String)> {
        Self::request(port, "GET", path, "", "")
    }

    /// The same for a POST, with headers that each end in a line break.
    pub fn post(&self, path: &str, headers: &str, body: &str) -> Option<(u16, String)> {
        let headers = format!("{headers}Content-Length: {}\r\n", body.len());
        Self::request(self.ports.http, "POST", path, &headers, body)
    }

    fn request(port: u16, method: &str, path: &str, headers: &str, body: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
        let head =
            format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n");
        // A server that refuses a large body may close before it is sent.
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes()));
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let status = answer.split(' ').nth(1)?.parse().ok()?;
        Some((status, answer.split_once("\r\n\r\n")?.1.to_owned()))
    }

    /// A client of the ClickHouse of the hot database.
    pub fn clickhouse(&self) -> clickhouse::Client {
        self.client(self.ports.clickhouse)
    }

    /// A client of the ClickHouse of the cold database.
    pub fn cold_clickhouse(&self) -> clickhouse::Client {
        self.client(self.ports.cold.unwrap_or(self.ports.clickhouse))
    }

    fn client(&self, port: u16) -> clickhouse::Client {
        clickhouse::Client::default()
            .with_url(format!("http://127.0.0.1:{port}"))
            .with_compression(clickhouse::Compression::None)
    }

    /// Runs a statement.
    pub async fn execute(&self, sql: &str) {
        self.clickhouse().query_raw(sql).execute().await.unwrap();
    }

    /// Rows and distinct events of a hot table at one moment. Nothing while ClickHouse or the table is not there.
    pub async fn counts(&self, table: &str) -> Option<(u64, u64)> {
        let sql = format!("SELECT count(), uniqExact(event_id) FROM marketprism_hot.{table}");
        self.clickhouse().query_raw(&sql).fetch_one::<(u64, u64)>().await.ok()
    }

    /// One number.
    pub async fn number(&self, sql: &str) -> Option<u64> {
        self.clickhouse().query_raw(sql).fetch_one::<u64>().await.ok()
    }

    /// Messages in `copies`: one that was delivered again is one.
    pub async fn copies(&self) -> Option<u64> {
        self.number("SELECT uniqExact(stream, stream_seq, event_id) FROM marketprism_hot.copies").await
    }

    /// Waits until a table holds so many events, and holds none twice at any moment looked at.
    pub async fn holds_once(&self, table: &str, events: u64) {
        until(&format!("{events} rows in {table}"), || async {
            let (rows, distinct) = self.counts(table).await?;
            assert_eq!(rows, distinct, "{table} shows an event twice");
            assert!(rows <= events, "{table} has {rows} rows of {events}");
            (rows == events).then_some(())
        })
        .await;
    }

    /// The broker's JetStream.
    pub async fn jetstream(&self) -> jetstream::Context {
        let nodes: Vec<async_nats::ServerAddr> =
            self.nats.urls().iter().map(|url| url.parse().unwrap()).collect();
        jetstream::new(async_nats::connect(nodes).await.unwrap())
    }
}
