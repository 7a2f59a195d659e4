//! The real ClickHouse engine behind its HTTP server.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::broker::free_port;
use crate::parts;
use crate::process::Process;
use crate::wait::until;

/// An engine with its own data folder. A restart keeps port and data.
#[derive(Debug)]
pub struct ClickHouse {
    folder: PathBuf,
    port: u16,
    process: Option<Process>,
    client: reqwest::Client,
}

impl ClickHouse {
    /// Starts an engine whose files are in `folder`.
    pub async fn start(folder: &Path) -> Self {
        Self::named(folder, "clickhouse").await
    }

    /// Starts an engine whose files are in a folder of that name, so that several can stand side by side.
    pub async fn named(folder: &Path, name: &str) -> Self {
        let folder = folder.join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let mut engine = Self { folder, port: free_port(), process: None, client: client() };
        engine.restart().await;
        engine
    }

    /// Address of its HTTP interface.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The running process.
    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().unwrap()
    }

    /// Ends it as a power cut would.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// Starts it again on the same port and data.
    pub async fn restart(&mut self) {
        self.kill();
        let mut command = Command::new(parts::binary("marketprism-clickhouse"));
        command
            .arg("--data")
            .arg(self.folder.join("data"))
            .arg("--listen")
            .arg(format!("127.0.0.1:{}", self.port))
            .arg("--library")
            .arg(parts::clickhouse_library());
        self.process = Some(Process::start("clickhouse", &mut command, &self.folder));
        let url = format!("{}/ping", self.url());
        let client = self.client.clone();
        until("the engine answers /ping", Duration::from_secs(60), || {
            let request = client.get(&url).send();
            async move { request.await.map(drop).map_err(|e| e.to_string()) }
        })
        .await;
    }

    /// Runs a query; the answer's rows as JSON objects, 64-bit numbers as text.
    pub async fn rows(&self, query: &str) -> Result<Vec<Value>, String> {
        let text = self.text(&format!("{query} FORMAT JSONEachRow")).await?;
        text.lines().map(|line| serde_json::from_str(line).map_err(|e| format!("{e}: {line}"))).collect()
    }

    /// Runs a query that gives one number.
    pub async fn number(&self, query: &str) -> Result<u64, String> {
        let text = self.text(query).await?;
        text.trim().parse().map_err(|e| format!("{e}: {text}"))
    }

    /// Runs a query and gives the answer's text.
    pub async fn text(&self, query: &str) -> Result<String, String> {
        let answer =
            self.client.post(self.url()).body(query.to_owned()).send().await.map_err(|e| e.to_string())?;
        let status = answer.status();
        let text = answer.text().await.map_err(|e| e.to_string())?;
        if status.is_success() { Ok(text) } else { Err(format!("{status}: {text}")) }
    }
}

/// A client for plain HTTP on this machine.
#[must_use]
pub fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().timeout(Duration::from_secs(120)).no_proxy().build().unwrap()
}
