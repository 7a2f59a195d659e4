//! A real nats-server for one test.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

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
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
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

/// Stands between a client and the server, and can take the server's words away.
pub struct Proxy {
    pub port: u16,
    mute: Arc<AtomicBool>,
    cut: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Proxy {
    pub async fn start(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (mute, cut) = (Arc::new(AtomicBool::new(false)), Arc::new(Notify::new()));
        let shared = (Arc::clone(&mute), Arc::clone(&cut));
        let task = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else { continue };
                tokio::select! {
                    () = pass(client, server, &shared.0) => {}
                    () = shared.1.notified() => {}
                }
            }
        });
        Self { port, mute, cut, task }
    }

    /// From now on the server hears the client, but the client hears nothing.
    pub fn mute(&self) {
        self.mute.store(true, Ordering::SeqCst);
    }

    /// Ends the connection; the next one is whole again.
    pub fn cut(&self) {
        self.mute.store(false, Ordering::SeqCst);
        self.cut.notify_one();
    }
}

async fn pass(client: TcpStream, server: TcpStream, mute: &AtomicBool) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let back = async {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(count @ 1..) = from_server.read(&mut buffer).await {
            if !mute.load(Ordering::SeqCst) && to_client.write_all(&buffer[..count]).await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        _ = tokio::io::copy(&mut from_client, &mut to_server) => {}
        () = back => {}
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}
