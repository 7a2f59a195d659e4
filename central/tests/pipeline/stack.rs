//! Broker, ClickHouse engines and configurations of the centrals under test.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use async_nats::jetstream;
use marketprism_tests::broker::{Broker, free_port};
use marketprism_tests::clickhouse::ClickHouse;
use marketprism_tests::laid_out;
use marketprism_tests::link::Link;
use marketprism_tests::parts;
use marketprism_tests::process::Process;
pub use marketprism_tests::process::contains_all;
pub use marketprism_tests::wait::PATIENCE;
use marketprism_tests::wait::eventually;
use tempfile::TempDir;

/// Each test has its own processes, ports and folder.
pub struct Stack {
    pub broker: Broker,
    /// The hot database; the cold one too, unless it has an engine of its own.
    pub engine: ClickHouse,
    cold_engine: Option<ClickHouse>,
    http: u16,
    folder: TempDir,
}

impl Stack {
    /// With the databases that `init` makes. `None` when a part is not installed.
    pub async fn start() -> Option<Self> {
        Self::with_nodes(1).await
    }

    /// Without databases.
    pub async fn empty() -> Option<Self> {
        Self::with_engine(1, ClickHouse::start).await
    }

    /// As [`Self::start`], with the cold database on an engine of its own.
    pub async fn on_two_engines() -> Option<Self> {
        let mut stack = Self::with_engine(1, laid_out::hot_engine).await?;
        stack.cold_engine = Some(laid_out::cold_engine(stack.folder.path(), "clickhouse-cold").await);
        Some(stack)
    }

    /// With a central that is ready.
    pub async fn ready(more: &str) -> Option<(Self, Process, jetstream::Context)> {
        let stack = Self::with_databases(more).await?;
        let (central, jetstream) = (stack.central(more).await, stack.jetstream().await);
        Some((stack, central, jetstream))
    }

    /// As [`Self::ready`], for exact counts of messages: see [`Self::redeliver_late`].
    pub async fn ready_for_counts(more: &str) -> Option<(Self, Process, jetstream::Context)> {
        let (stack, config) = Self::laid_out_for_counts(more).await?;
        let central = stack.run(&config);
        stack.is_ready().await;
        let jetstream = stack.jetstream().await;
        Some((stack, central, jetstream))
    }

    /// With the databases of a configuration.
    pub async fn laid_out(more: &str) -> Option<(Self, PathBuf)> {
        let stack = Self::with_databases(more).await?;
        let config = stack.configure(more);
        stack.init(&config, &[], 0);
        Some((stack, config))
    }

    /// As [`Self::laid_out`], for exact counts of messages: see [`Self::redeliver_late`].
    pub async fn laid_out_for_counts(more: &str) -> Option<(Self, PathBuf)> {
        let stack = Self::with_databases(more).await?;
        let config = stack.configure(more);
        Self::redeliver_late(&config);
        stack.init(&config, &[], 0);
        Some((stack, config))
    }

    /// With the databases that `init` makes, unless it makes others with this part of a configuration.
    async fn with_databases(more: &str) -> Option<Self> {
        if laid_out::is_default(more) { Self::start().await } else { Self::empty().await }
    }

    pub async fn with_nodes(nodes: usize) -> Option<Self> {
        Self::with_engine(nodes, laid_out::engine).await
    }

    async fn with_engine(nodes: usize, engine: impl AsyncFnOnce(&Path) -> ClickHouse) -> Option<Self> {
        if let Some(missing) = parts::missing() {
            eprintln!("SKIPPED: {} is missing; `make deps` installs it", missing.display());
            return None;
        }
        let folder = TempDir::new().unwrap();
        let (broker, engine) = tokio::join!(Broker::cluster(folder.path(), nodes), engine(folder.path()));
        Some(Self { broker, engine, cold_engine: None, http: free_port(), folder })
    }

    /// Starts an empty engine for the cold database alone. Configurations written afterwards use it.
    pub async fn start_cold_engine(&mut self) {
        self.cold_engine = Some(ClickHouse::named(self.folder.path(), "clickhouse-cold").await);
    }

    pub fn cold_engine(&mut self) -> &mut ClickHouse {
        self.cold_engine.as_mut().unwrap()
    }

    /// Writes a configuration with short waits and small batches. `more` is appended.
    pub fn configure(&self, more: &str) -> PathBuf {
        self.configure_as("central", self.http, more)
    }

    /// For another central of the same stack, which listens on `port`.
    pub fn configure_as(&self, name: &str, port: u16, more: &str) -> PathBuf {
        let (urls, hot) = (self.broker.urls(), self.engine.url());
        let cold = self.cold_engine.as_ref();
        let cold =
            cold.map(|cold| format!("[clickhouse.cold]\nurl = {:?}\n", cold.url())).unwrap_or_default();
        let text = format!(
            "[nats]\nurls = {urls:?}\n\
             [clickhouse]\nurl = {hot:?}\ninsert_timeout_ms = 1000\n{cold}\
             [consumers]\nack_wait_ms = 3000\n\
             [lease]\ntime_ms = 4000\n\
             [http]\nlisten = \"127.0.0.1:{port}\"\nhealth_grace_seconds = 0\n{more}"
        );
        self.write(&format!("{name}.toml"), &text)
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file into the test's folder.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    pub fn central_command(command: &str, config: &Path) -> Command {
        let mut central = Command::new(env!("CARGO_BIN_EXE_marketprism-central"));
        central.arg(command).arg("--config").arg(config);
        for name in ["NATS_URL", "MARKETPRISM_NATS_URL", "HEALTH_GRACE_SECONDS"] {
            central.env_remove(name);
        }
        // Tests have a `[batch]` of their own.
        central.env("MARKETPRISM_BATCH__MAX_AGE_OTHERS_MS", "50");
        central
    }

    /// Runs a command of central to its end.
    pub fn command(&self, command: &str, config: &Path, more: &[&str]) -> Output {
        Self::central_command(command, config).args(more).output().unwrap()
    }

    /// Runs a command of central whose reader has closed its output, to its end.
    pub fn unread(&self, command: &str, config: &Path, more: &[&str]) -> Option<i32> {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        Self::central_command(command, config).args(more).stdout(writer).status().unwrap().code()
    }

    /// Runs `init`, which must end with a status; returns what it writes.
    pub fn init(&self, config: &Path, more: &[&str], status: i32) -> String {
        let output = self.command("init", config, more);
        assert_eq!(output.status.code(), Some(status), "{output:?}");
        String::from_utf8(if status == 1 { output.stderr } else { output.stdout }).unwrap()
    }

    /// Hot's trades were kept for a day, and are for three from now on.
    pub async fn raise_hot_ttl(&self, config: &Path) {
        let ttl = "toDateTime(timestamp) + INTERVAL 1 DAY DELETE";
        self.execute(&format!("ALTER TABLE marketprism_hot.trades MODIFY TTL {ttl}")).await;
        let raised = self.init(config, &["--apply"], 0);
        assert!(raised.contains("toIntervalDay(1)"), "{raised}");
    }

    /// `init` finds no difference.
    pub fn is_as_wanted(&self, config: &Path) {
        let found = self.init(config, &[], 0);
        assert!(found.lines().all(|line| line.ends_with(": as wanted")), "{found}");
    }

    /// Starts `run`.
    pub fn run(&self, config: &Path) -> Process {
        self.run_with(config, &[])
    }

    /// Starts `run` with variables of the environment.
    pub fn run_with(&self, config: &Path, variables: &[(&str, PathBuf)]) -> Process {
        let name = config.file_stem().unwrap().to_str().unwrap();
        let mut command = Self::central_command("run", config);
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        Process::start(name, &mut command, self.folder.path())
    }

    /// Starts `run` with a configuration, and waits until it is ready.
    pub async fn central(&self, more: &str) -> Process {
        let central = self.run(&self.configure(more));
        self.is_ready().await;
        central
    }

    pub async fn is_ready(&self) {
        eventually("central is ready", async || self.get("/ready").filter(|(status, _)| *status == 200))
            .await;
    }

    /// Waits until central is not ready because of a part; returns its reasons.
    pub async fn is_unready_for(&self, part: &str) -> String {
        let is_reported = |(status, reasons): &(u16, String)| *status == 503 && reasons.contains(part);
        eventually("readiness names the part", async || self.get("/ready").filter(is_reported)).await.1
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.http)
    }

    /// Delivers no message again while a test runs: a busy machine needs longer than 3 s for some, which would be counted twice. Batches may
    /// be as old as 60 s.
    pub fn redeliver_late(config: &Path) {
        let text = std::fs::read_to_string(config).unwrap();
        assert!(text.contains("ack_wait_ms = 3000"), "{text}");
        std::fs::write(config, text.replace("ack_wait_ms = 3000", "ack_wait_ms = 600000")).unwrap();
    }

    /// Redirects what a configuration reaches at a link's far end through the link.
    pub fn lead_through(config: &Path, link: &Link) {
        Self::lead_to(config, link.far(), link.near());
    }

    /// Redirects what a configuration reaches at a port to another one.
    pub fn lead_to(config: &Path, far: u16, near: u16) {
        let [direct, linked] = [far, near].map(|port| format!("127.0.0.1:{port}\""));
        let text = std::fs::read_to_string(config).unwrap();
        assert!(text.contains(&direct), "{direct} is not in {text}");
        std::fs::write(config, text.replace(&direct, &linked)).unwrap();
    }

    /// To the broker, and to the engine of the hot database.
    pub async fn links(&self) -> [Link; 2] {
        [Link::to(self.broker.port()).await, Link::to(self.engine.port()).await]
    }

    pub async fn cold_link(&self) -> Link {
        Link::to(self.cold_engine.as_ref().unwrap().port()).await
    }

    /// Status and body; nothing while central does not listen.
    pub fn get(&self, path: &str) -> Option<(u16, String)> {
        Self::get_at(self.http, path)
    }

    pub fn get_at(port: u16, path: &str) -> Option<(u16, String)> {
        Self::request(port, "GET", path, "", "")
    }

    /// Each header ends in a line break.
    pub fn post(&self, path: &str, headers: &str, body: &str) -> Option<(u16, String)> {
        let headers = format!("{headers}Content-Length: {}\r\n", body.len());
        Self::request(self.http, "POST", path, &headers, body)
    }

    fn request(port: u16, method: &str, path: &str, headers: &str, body: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
        let head =
            format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n");
        // A server that refuses a large body may close the connection before it is sent.
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes()));
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let status = answer.split(' ').nth(1)?.parse().ok()?;
        Some((status, answer.split_once("\r\n\r\n")?.1.to_owned()))
    }

    pub fn hot(&self) -> clickhouse::Client {
        client(&self.engine)
    }

    pub fn cold(&self) -> clickhouse::Client {
        client(self.cold_engine.as_ref().unwrap_or(&self.engine))
    }

    pub async fn execute(&self, sql: &str) {
        self.hot().query_raw(sql).execute().await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// Rows and distinct events of a hot table. Nothing while ClickHouse is unreachable or the table missing.
    pub async fn counts(&self, table: &str) -> Option<(u64, u64)> {
        let sql = format!("SELECT count(), uniqExact(event_id) FROM marketprism_hot.{table}");
        self.hot().query_raw(&sql).fetch_one::<(u64, u64)>().await.ok()
    }

    /// Rows of trades in hot, with no event twice.
    pub async fn trades(&self) -> Option<u64> {
        let (rows, distinct) = self.counts("trades").await?;
        assert_eq!(rows, distinct, "an event is stored twice");
        Some(rows)
    }

    /// Waits until hot has so many trades; returns their number.
    pub async fn has_trades(&self, least: u64) -> u64 {
        let what = format!("{least} trades in hot");
        eventually(&what, async || self.trades().await.filter(|rows| *rows >= least)).await
    }

    pub async fn number(&self, sql: &str) -> Option<u64> {
        self.hot().query_raw(sql).fetch_one::<u64>().await.ok()
    }

    /// Distinct events of messages in `copies`.
    pub async fn copies(&self) -> Option<u64> {
        self.number("SELECT uniqExact(stream, stream_seq, event_id) FROM marketprism_hot.copied_events").await
    }

    /// Waits until a table has so many events, with none twice at any time.
    pub async fn holds_once(&self, table: &str, events: u64) {
        eventually(&format!("{events} rows in {table}"), async || {
            let (rows, distinct) = self.counts(table).await.ok_or("no answer")?;
            assert_eq!(rows, distinct, "{table} has an event twice");
            assert!(rows <= events, "{table} has {rows} rows of {events}");
            if rows == events { Ok(()) } else { Err(format!("{rows} rows")) }
        })
        .await;
    }

    /// Waits for a line, or a part of it, in `/metrics`: a counter may follow what it counts.
    pub async fn metrics_contain(&self, text: &str) {
        eventually(text, async || {
            let (_, metrics) = self.get("/metrics").ok_or("no answer")?;
            if metrics.contains(text) { Ok(()) } else { Err(metrics) }
        })
        .await;
    }

    pub async fn jetstream(&self) -> jetstream::Context {
        let nodes: Vec<async_nats::ServerAddr> =
            self.broker.urls().iter().map(|url| url.parse().unwrap()).collect();
        jetstream::new(async_nats::connect(nodes).await.unwrap())
    }
}

fn client(engine: &ClickHouse) -> clickhouse::Client {
    let client = clickhouse::Client::default().with_url(engine.address()).with_user("default");
    client.with_password(engine.password()).with_compression(clickhouse::Compression::None)
}
