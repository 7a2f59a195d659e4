//! A `marketprism-central` process.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::broker::free_port;
use crate::clickhouse::{answer_to, client};
use crate::parts;
use crate::process::Process;
use crate::wait::{PATIENCE, eventually};

/// Token that requests with side effects must carry.
pub const TOKEN: &str = "a token for tests only";

#[derive(Debug, Clone, Copy)]
pub struct Settings<'a> {
    pub nats: &'a str,
    pub hot: &'a str,
    /// `None`: the hot server holds the cold database too.
    pub cold: Option<&'a str>,
    /// Further lines of the `[clickhouse]` table.
    pub clickhouse: &'a str,
    pub more: &'a str,
}

impl<'a> Settings<'a> {
    /// Default settings except for the addresses.
    pub const fn plain(nats: &'a str, hot: &'a str) -> Self {
        Self { nats, hot, cold: None, clickhouse: "", more: "" }
    }

    /// Short redelivery waits, so that a test sees recovery from a crash soon.
    pub const fn impatient(nats: &'a str, hot: &'a str) -> Self {
        let clickhouse = "insert_timeout_ms = 2000";
        Self {
            clickhouse,
            more: "[consumers]\nack_wait_ms = 4000\n[batch]\nmax_age_others_ms = 1000",
            ..Self::plain(nats, hot)
        }
    }
}

/// A restart keeps port and configuration.
#[derive(Debug)]
pub struct Central {
    folder: PathBuf,
    port: u16,
    binary: PathBuf,
    variables: Vec<(String, String)>,
    process: Option<Process>,
}

impl Central {
    /// Runs `init`, then `run`, with `Settings::impatient`.
    pub async fn start(folder: &Path, nats_url: &str, clickhouse_url: &str) -> Self {
        Self::with_nats(folder, &format!("urls = [{nats_url:?}]"), clickhouse_url).await
    }

    /// `nats`: lines of the `[nats]` table.
    pub async fn with_nats(folder: &Path, nats: &str, clickhouse_url: &str) -> Self {
        Self::with_settings(folder, &Settings { nats, ..Settings::impatient("", clickhouse_url) }).await
    }

    pub async fn with_settings(folder: &Path, settings: &Settings<'_>) -> Self {
        let mut central = Self::prepared(folder, settings);
        central.init().await;
        central.restart().await;
        central
    }

    /// Writes the configuration without starting anything.
    pub fn prepared(folder: &Path, settings: &Settings<'_>) -> Self {
        let folder = folder.join("central");
        std::fs::create_dir_all(&folder).unwrap();
        let token = folder.join("token");
        std::fs::write(&token, TOKEN).unwrap();
        let port = free_port();
        let Settings { nats, hot, cold, clickhouse, more } = settings;
        let cold = cold.map(|url| format!("[clickhouse.cold]\nurl = {url:?}\n")).unwrap_or_default();
        let config = format!(
            "[nats]\n{nats}\n[clickhouse]\nurl = {hot:?}\n{clickhouse}\n{cold}[http]\nlisten = \"127.0.0.1:{port}\"\ntoken_file = {token:?}\n{more}\n"
        );
        std::fs::write(folder.join("central.toml"), config).unwrap();
        let binary = parts::binary("marketprism-central");
        Self { folder, port, binary, variables: Vec::new(), process: None }
    }

    /// Of another build.
    pub fn with_binary(self, binary: PathBuf) -> Self {
        Self { binary, ..self }
    }

    /// Variables of the environment of later starts and commands.
    pub fn set_variables(&mut self, variables: &[(&str, String)]) {
        self.variables = variables.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    }

    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Runs another command to its end: exit code, standard output, standard error.
    pub async fn ask(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let mut command = self.command(arguments[0]);
        command.args(&arguments[1..]);
        let output = tokio::process::Command::from(command).output().await.unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    }

    /// Runs another command whose reader has closed its output: exit code.
    pub async fn ask_unread(&self, arguments: &[&str]) -> Option<i32> {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = self.command(arguments[0]);
        command.args(&arguments[1..]).stdout(writer);
        tokio::process::Command::from(command).status().await.unwrap().code()
    }

    pub async fn init(&self) {
        let mut command = self.command("init");
        let mut process = Process::start("central-init", &mut command, &self.folder);
        let status = process.ended(PATIENCE).await;
        assert!(status.success(), "central init: {status}: {}", process.output());
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Starts it (again); returns when it is ready.
    pub async fn restart(&mut self) {
        self.start_without_waiting();
        let url = self.url("/ready");
        eventually("central is ready", || get(url.clone())).await;
    }

    /// Starts it (again) without waiting for readiness.
    pub fn start_without_waiting(&mut self) {
        self.kill();
        let mut command = self.command("run");
        self.process = Some(Process::start("central", &mut command, &self.folder));
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub async fn get(&self, path: &str) -> Result<String, String> {
        get(self.url(path)).await
    }

    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().unwrap()
    }

    fn command(&self, action: &str) -> Command {
        let mut command = Command::new(&self.binary);
        command.arg(action).arg("--config").arg(self.folder.join("central.toml"));
        command.env_remove("MARKETPRISM_NATS_URL").env_remove("NATS_URL").env_remove("CLICKHOUSE_URL");
        command.envs(self.variables.iter().cloned());
        command
    }
}

/// Body of a successful response; status and body as the error otherwise.
pub async fn get(url: String) -> Result<String, String> {
    answer_to(client().get(&url)).await
}
