//! A `marketprism-edge` process.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::broker::free_port;
use crate::central::get;
use crate::clickhouse::client;
use crate::compiled_adapters;
use crate::parts;
use crate::process::{Process, run};
use crate::wait::eventually;

/// Compiled adapters of an edge, in its folder.
const COMPILED: &str = "data/compiled";

/// A restart keeps port, configuration and data.
#[derive(Debug)]
pub struct Edge {
    folder: PathBuf,
    port: u16,
    adapters: BTreeSet<PathBuf>,
    variables: Vec<(String, String)>,
    process: Option<Process>,
}

/// A `[[feed]]` table of the configuration.
#[derive(Debug, Clone)]
pub struct Feed {
    pub exchange: String,
    pub adapter: PathBuf,
    pub symbols: Vec<String>,
    pub data_types: Vec<String>,
    /// Base address of the venue's WebSockets.
    pub ws: String,
    /// Base address of the venue's REST API; empty where the adapter uses none.
    pub rest: String,
    /// Off in tests of gaps: they would be filled.
    pub backfill: bool,
    pub extra: String,
}

impl Feed {
    /// Trades and books of some symbols at a simulated venue on `address` (`host:port`).
    pub fn simulated(exchange: &str, address: &str, symbols: &[&str]) -> Self {
        Self {
            exchange: exchange.to_owned(),
            adapter: parts::adapter_of(exchange),
            symbols: symbols.iter().map(|&symbol| symbol.to_owned()).collect(),
            data_types: vec!["trade".to_owned(), "orderbook".to_owned()],
            ws: format!("ws://{address}/{exchange}"),
            rest: format!("http://{address}/{exchange}"),
            backfill: false,
            extra: String::new(),
        }
    }

    pub fn toml(&self) -> String {
        let rest = if self.rest.is_empty() { String::new() } else { format!("rest = {:?}\n", self.rest) };
        format!(
            "[[feed]]\nexchange = {:?}\nadapter = {:?}\nsymbols = {:?}\ndata_types = {:?}\nbackfill = {}\n{}\n[feed.endpoints]\nws = {:?}\n{rest}",
            self.exchange, self.adapter, self.symbols, self.data_types, self.backfill, self.extra, self.ws
        )
    }
}

impl Edge {
    /// `nats`: lines of the `[nats]` table.
    pub async fn start(folder: &Path, nats: &str, feeds: &[Feed]) -> Self {
        Self::with_tables(folder, nats, "", feeds).await
    }

    /// With further tables of the configuration.
    pub async fn with_tables(folder: &Path, nats: &str, tables: &str, feeds: &[Feed]) -> Self {
        // A table's lines may follow those of `[nats]`.
        let mut edge = Self::prepared(folder, &format!("{nats}\n{tables}"), feeds);
        edge.restart().await;
        edge
    }

    /// An edge named `name`, one of several in the same folder.
    pub async fn start_as(name: &str, folder: &Path, nats: &str, feeds: &[Feed]) -> Self {
        let mut edge = Self::named(name, folder, nats, feeds);
        edge.restart().await;
        edge
    }

    /// Writes the configuration without starting the edge.
    pub fn prepared(folder: &Path, nats: &str, feeds: &[Feed]) -> Self {
        Self::named("edge-test", folder, nats, feeds)
    }

    /// As `prepared`, of another name.
    pub fn named(name: &str, folder: &Path, nats: &str, feeds: &[Feed]) -> Self {
        let folder = folder.join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let port = free_port();
        let metrics = free_port();
        let adapters: BTreeSet<PathBuf> = feeds.iter().map(|feed| feed.adapter.clone()).collect();
        compiled_adapters::take(&adapters, &folder.join(COMPILED));
        let feeds: String = feeds.iter().map(Feed::toml).collect();
        // Its requests would take faults that a test has for others.
        let clock = if nats.contains("[clock]") { "" } else { "[clock]\nenabled = false\n" };
        // Of wall time: an adapter's thread that gets no processor for the default of 100 ms would lose frames.
        let sandbox = if nats.contains("[sandbox]") { "" } else { "[sandbox]\ncall_deadline_ms = 5000\n" };
        let config = format!(
            "[edge]\nname = {name:?}\nregion = \"test\"\ndata_dir = {:?}\nwatch_config = false\n[nats]\n{nats}\n[http]\nlisten = \"127.0.0.1:{port}\"\nmetrics_listen = \"127.0.0.1:{metrics}\"\n{clock}{sandbox}{feeds}",
            folder.join("data")
        );
        std::fs::write(folder.join("edge.toml"), config).unwrap();
        Self { folder, port, adapters, variables: Vec::new(), process: None }
    }

    /// Sets a variable of the process.
    pub fn with_variable(mut self, name: &str, value: &str) -> Self {
        self.set_variable(name, value);
        self
    }

    /// Of the process from its next start on.
    pub fn set_variable(&mut self, name: &str, value: &str) {
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Writes other feeds into the configuration.
    pub fn set_feeds(&self, feeds: &[Feed]) {
        let path = self.folder.join("edge.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        let (head, _) = text.split_once("[[feed]]").unwrap();
        let feeds: String = feeds.iter().map(Feed::toml).collect();
        std::fs::write(&path, format!("{head}{feeds}")).unwrap();
    }

    /// `POST` with a token: status and answer.
    pub async fn post(&self, path: &str, token: &str) -> (u16, serde_json::Value) {
        let url = format!("http://127.0.0.1:{}{path}", self.port);
        let answer = client().post(url).bearer_auth(token).send().await.unwrap();
        (answer.status().as_u16(), serde_json::from_str(&answer.text().await.unwrap()).unwrap())
    }

    /// Starts it (again); returns when it answers `/metrics`.
    pub async fn restart(&mut self) {
        self.start_without_waiting();
        let url = format!("http://127.0.0.1:{}/metrics", self.port);
        eventually("the edge answers /metrics", || get(url.clone())).await;
        compiled_adapters::keep(&self.adapters, &self.folder.join(COMPILED));
    }

    /// Starts it (again), whatever becomes of it.
    pub fn start_without_waiting(&mut self) {
        self.kill();
        let mut command = command("run", &self.folder.join("edge.toml"));
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        self.process = Some(Process::start("edge", &mut command, &self.folder));
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// See [`check`].
    pub fn check(&self) -> (bool, String) {
        checked(command("check", &self.folder.join("edge.toml")).envs(self.variables.iter().cloned()))
    }

    pub async fn get(&self, path: &str) -> Result<String, String> {
        get(format!("http://127.0.0.1:{}{path}", self.port)).await
    }

    /// The page `/coverage`.
    pub async fn coverage(&self) -> serde_json::Value {
        serde_json::from_str(&self.get("/coverage").await.unwrap()).unwrap()
    }

    /// Sum of a metric over the series that contain `label`. A series may come with its first event, but a name that no edge has would be 0
    /// for ever.
    pub async fn metric(&self, name: &str, label: &str) -> u64 {
        let documented = format!("| `{name}` |");
        let readme = parts::text("edge/README.md");
        assert!(readme.contains(&documented), "{name} is no metric of an edge");
        let text = self.get("/metrics").await.unwrap();
        let values = text.lines().filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let series_name = series.split('{').next()?;
            (series_name == name && series.contains(label))
                .then(|| value.split('.').next()?.parse::<u64>().ok())?
        });
        values.sum()
    }

    /// Waits until a metric is `least` or more; see [`Self::metric`].
    pub async fn reaches(&self, name: &str, label: &str, least: u64) {
        eventually(&format!("{name} of {label:?}"), || async {
            let found = self.metric(name, label).await;
            if found >= least { Ok(()) } else { Err(format!("{found}, wanted {least}")) }
        })
        .await;
    }

    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().unwrap()
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

/// Runs `check` with a configuration: success, and what it says.
pub fn check(config: &Path) -> (bool, String) {
    checked(&mut command("check", config))
}

/// See [`check`].
pub fn check_online(config: &Path) -> (bool, String) {
    checked(command("check", config).arg("--online"))
}

fn checked(command: &mut Command) -> (bool, String) {
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

fn command(action: &str, config: &Path) -> Command {
    let mut command = Command::new(parts::binary("marketprism-edge"));
    command.arg(action).arg("--config").arg(config);
    command.env_remove("MARKETPRISM_NATS_URL").env_remove("NATS_URL");
    for name in ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"] {
        command.env_remove(name).env_remove(name.to_lowercase());
    }
    command
}

/// Generates a signer's private key in the file `path`; returns its public key.
pub fn keygen(path: &Path) -> String {
    signer(&["keygen", "--out"], path, &[]).trim().to_owned()
}

/// Writes a component to `folder/NAME.wasm`, signed with the key in `folder/KEY` and with the reference answers to the frames in `golden`.
pub fn sign(folder: &Path, component: &[u8], name: &str, key: &str, golden: Option<&Path>) -> PathBuf {
    let file = folder.join(format!("{name}.wasm"));
    std::fs::write(&file, component).unwrap();
    let key = format!("--key={}", folder.join(key).display());
    let golden = golden.map(|frames| format!("--frames={}", frames.display()));
    signer(&["sign"], &file, &[Some(key), golden].into_iter().flatten().collect::<Vec<_>>());
    file
}

fn signer(action: &[&str], file: &Path, options: &[String]) -> String {
    let mut command = Command::new(parts::binary("marketprism-edge"));
    run(command.arg("adapter").args(action).arg(file).args(options))
}
