//! A real nats-server with JetStream.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::parts;
use crate::process::Process;
use crate::wait::until;

/// A broker on a free port with its own store. A restart keeps port and store.
#[derive(Debug)]
pub struct Broker {
    folder: PathBuf,
    port: u16,
    extra: String,
    process: Option<Process>,
}

impl Broker {
    /// Starts a broker whose files are in `folder`.
    pub async fn start(folder: &Path) -> Self {
        Self::with_settings(folder, "").await
    }

    /// Starts a broker with further lines of configuration, such as TLS and users.
    pub async fn with_settings(folder: &Path, extra: &str) -> Self {
        let folder = folder.join("nats");
        std::fs::create_dir_all(&folder).unwrap();
        let mut broker = Self { folder, port: free_port(), extra: extra.to_owned(), process: None };
        broker.restart().await;
        broker
    }

    /// Address without TLS.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Port of the clients.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
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

    /// Starts it again on the same port and store.
    pub async fn restart(&mut self) {
        self.kill();
        let config = self.folder.join("nats.conf");
        let text = format!(
            "listen: 127.0.0.1:{}\njetstream {{ store_dir: {:?}, max_file_store: 20GB }}\n{}\n",
            self.port,
            self.folder.join("store"),
            self.extra
        );
        std::fs::write(&config, text).unwrap();
        let mut command = Command::new(parts::nats_server());
        command.arg("--config").arg(&config);
        self.process = Some(Process::start("nats-server", &mut command, &self.folder));
        let port = self.port;
        until("nats-server accepts connections", Duration::from_secs(20), || async move {
            tokio::net::TcpStream::connect(("127.0.0.1", port)).await.map(drop).map_err(|e| e.to_string())
        })
        .await;
    }
}

/// A port that was free a moment ago.
#[must_use]
pub fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}
