//! A real central.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::broker::free_port;
use crate::clickhouse::client;
use crate::parts;
use crate::process::Process;
use crate::wait::until;

/// A central with its configuration file. A restart keeps both.
#[derive(Debug)]
pub struct Central {
    folder: PathBuf,
    port: u16,
    process: Option<Process>,
}

impl Central {
    /// Writes a configuration for the broker and the engine, runs `init`, then starts `run`. Redelivery waits are short, so that a
    /// test sees what follows a crash.
    pub async fn start(folder: &Path, nats_url: &str, clickhouse_url: &str) -> Self {
        Self::with_nats(folder, &format!("urls = [{nats_url:?}]"), clickhouse_url).await
    }

    /// The same with the lines of the `[nats]` table given.
    pub async fn with_nats(folder: &Path, nats: &str, clickhouse_url: &str) -> Self {
        let folder = folder.join("central");
        std::fs::create_dir_all(&folder).unwrap();
        let port = free_port();
        let config = format!(
            "[nats]\n{nats}\n[clickhouse]\nurl = {clickhouse_url:?}\ninsert_timeout_ms = 2000\n[consumers]\nack_wait_ms = 4000\n[http]\nlisten = \"127.0.0.1:{port}\"\n"
        );
        std::fs::write(folder.join("central.toml"), config).unwrap();
        let mut central = Self { folder, port, process: None };
        central.init().await;
        central.restart().await;
        central
    }

    /// Runs `init` to its end.
    pub async fn init(&self) {
        let mut command = self.command("init");
        let mut process = Process::start("central-init", &mut command, &self.folder);
        let status = process.ended(Duration::from_secs(60)).await;
        assert!(status.success(), "central init: {status}: {}", process.output());
    }

    /// Ends it as a power cut would.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// Starts it (again) and waits until it is ready.
    pub async fn restart(&mut self) {
        self.start_without_waiting();
        let url = format!("http://127.0.0.1:{}/ready", self.port);
        until("central is ready", Duration::from_secs(60), || get(url.clone())).await;
    }

    /// Starts it (again) and returns at once.
    pub fn start_without_waiting(&mut self) {
        self.kill();
        let mut command = self.command("run");
        self.process = Some(Process::start("central", &mut command, &self.folder));
    }

    /// An answer of its HTTP interface.
    pub async fn get(&self, path: &str) -> Result<String, String> {
        get(format!("http://127.0.0.1:{}{path}", self.port)).await
    }

    /// The running process.
    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().unwrap()
    }

    fn command(&self, action: &str) -> Command {
        let mut command = Command::new(parts::binary("marketprism-central"));
        command.arg(action).arg("--config").arg(self.folder.join("central.toml"));
        command.env_remove("MARKETPRISM_NATS_URL").env_remove("NATS_URL").env_remove("CLICKHOUSE_URL");
        command
    }
}

/// The body of a successful answer; the status and the body otherwise.
pub async fn get(url: String) -> Result<String, String> {
    let answer = client().get(&url).send().await.map_err(|e| e.to_string())?;
    let status = answer.status();
    let text = answer.text().await.map_err(|e| e.to_string())?;
    if status.is_success() { Ok(text) } else { Err(format!("{status}: {text}")) }
}
