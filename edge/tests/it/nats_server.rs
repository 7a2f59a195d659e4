//! A real nats-server for one test.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Names the server's binary. Without it, the one that the installer put into the repository's cache, or on PATH.
const VARIABLE: &str = "MARKETPRISM_NATS_SERVER";

pub struct NatsServer {
    binary: PathBuf,
    pub port: u16,
    dir: tempfile::TempDir,
    child: Option<Child>,
}

/// The server's binary. A test that gets none says that it was skipped.
pub fn binary() -> Option<PathBuf> {
    let cached = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.marketprism/cache/nats-server");
    let on_path = std::env::var_os("PATH").into_iter().flat_map(|paths| {
        std::env::split_paths(&paths).map(|dir| dir.join("nats-server")).collect::<Vec<_>>()
    });
    let named = std::env::var_os(VARIABLE).map(PathBuf::from);
    let found = named.into_iter().chain([cached]).chain(on_path).find(|path| path.is_file());
    if found.is_none() {
        println!("skipped: no nats-server; {VARIABLE} may name one");
    }
    found
}

impl NatsServer {
    /// A server that does not run yet, with a port of its own.
    pub fn new(binary: PathBuf) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self { binary, port, dir: tempfile::tempdir().unwrap(), child: None }
    }

    pub async fn start(&mut self) {
        let child = Command::new(&self.binary)
            .args(["--addr", "127.0.0.1", "--port", &self.port.to_string(), "--jetstream", "--store_dir"])
            .arg(self.dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.child = Some(child);
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        while tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
            assert!(tokio::time::Instant::now() < deadline, "nats-server does not listen");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// SIGKILL: nothing is said, nothing is flushed.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.kill();
    }
}
