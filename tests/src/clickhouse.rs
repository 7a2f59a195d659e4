//! A `marketprism-clickhouse` process: the ClickHouse engine behind its HTTP interface.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::broker::{copy_folder, free_port};
use crate::parts;
use crate::process::Process;
use crate::wait::{PATIENCE, eventually};

/// A restart keeps port and data.
#[derive(Debug)]
pub struct ClickHouse {
    folder: PathBuf,
    port: u16,
    arguments: Vec<String>,
    process: Option<Process>,
    client: reqwest::Client,
}

impl ClickHouse {
    pub async fn start(folder: &Path) -> Self {
        Self::named(folder, "clickhouse").await
    }

    /// Keeps its files in `folder/<name>`, so that one test can run several.
    pub async fn named(folder: &Path, name: &str) -> Self {
        let folder = folder.join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let (port, client) = (free_port(), client());
        let mut engine = Self { folder, port, arguments: Vec::new(), process: None, client };
        engine.restart().await;
        engine
    }

    /// Address with user and password, for everything that takes them from there.
    pub fn url(&self) -> String {
        format!("http://default:{}@127.0.0.1:{}", self.password(), self.port)
    }

    /// Address without user and password.
    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Password of the user `default`; the first start made it.
    pub fn password(&self) -> String {
        std::fs::read_to_string(self.data().join("password")).unwrap().trim().to_owned()
    }

    /// Folder of its data.
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    pub const fn port(&self) -> u16 {
        self.port
    }

    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().unwrap()
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// With further arguments, for this and all later starts.
    pub async fn restart_with(&mut self, arguments: &[&str]) {
        self.arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        self.restart().await;
    }

    pub async fn restart(&mut self) {
        self.kill();
        let mut command = Command::new(parts::binary("marketprism-clickhouse"));
        command
            .arg("--data")
            .arg(self.data())
            .arg("--listen")
            .arg(format!("127.0.0.1:{}", self.port))
            .arg("--library")
            .arg(parts::clickhouse_library())
            .args(&self.arguments);
        self.process = Some(Process::start("clickhouse", &mut command, &self.folder));
        let url = format!("{}/ping", self.address());
        let client = self.client.clone();
        eventually("the engine answers /ping", || {
            let request = client.get(&url).send();
            async move { request.await.map(drop).map_err(|e| e.to_string()) }
        })
        .await;
    }

    /// SIGTERM; returns when it has ended, with everything on disk.
    pub async fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.terminate(PATIENCE).await;
        }
    }

    /// Copies the data of a stopped engine; see [`Self::put_back`].
    pub fn copy_data(&self) {
        assert!(self.process.is_none(), "the engine runs");
        copy_folder(&self.data(), &self.folder.join("copy"));
    }

    /// Replaces the data of a stopped engine by its copy.
    pub fn put_back(&self) {
        assert!(self.process.is_none(), "the engine runs");
        copy_folder(&self.folder.join("copy"), &self.data());
    }

    /// Rows of a query as JSON objects; 64-bit numbers are strings.
    pub async fn rows(&self, query: &str) -> Result<Vec<Value>, String> {
        let text = self.text(&format!("{query} FORMAT JSONEachRow")).await?;
        text.lines().map(|line| serde_json::from_str(line).map_err(|e| format!("{e}: {line}"))).collect()
    }

    /// The one number that a query returns.
    pub async fn number(&self, query: &str) -> Result<u64, String> {
        let text = self.text(query).await?;
        text.trim().parse().map_err(|e| format!("{e}: {text}"))
    }

    /// Waits until the one number that a query returns is `least` or larger.
    pub async fn reaches(&self, query: &str, least: u64) {
        eventually(query, || async {
            let found = self.number(query).await?;
            if found >= least { Ok(()) } else { Err(format!("{found}, wanted {least}")) }
        })
        .await;
    }

    /// Response of a query as text.
    pub async fn text(&self, query: &str) -> Result<String, String> {
        answer_to(self.client.post(self.url()).body(query.to_owned())).await
    }
}

/// As [`get`](crate::central::get), of any request.
pub(crate) async fn answer_to(request: reqwest::RequestBuilder) -> Result<String, String> {
    let answer = request.send().await.map_err(|e| e.to_string())?;
    let status = answer.status();
    let text = answer.text().await.map_err(|e| e.to_string())?;
    if status.is_success() { Ok(text) } else { Err(format!("{status}: {text}")) }
}

/// HTTP client without proxies and TLS: to read the certificates of the system would take longer than a request.
pub fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = reqwest::Client::builder().timeout(Duration::from_secs(120)).no_proxy();
    builder.tls_certs_only([]).build().unwrap()
}
