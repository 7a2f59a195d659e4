//! A real nats-server with JetStream, alone or as a cluster.

use std::hash::{BuildHasher as _, RandomState};
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use crate::parts;
use crate::process::Process;
use crate::wait::eventually;

/// Brokers on free ports, each with its own store. A restart keeps port and store.
#[derive(Debug)]
pub struct Broker {
    folder: PathBuf,
    settings: String,
    nodes: Vec<Node>,
}

#[derive(Debug)]
struct Node {
    port: u16,
    route: u16,
    process: Option<Process>,
}

impl Broker {
    pub async fn start(folder: &Path) -> Self {
        Self::launch(folder, 1, "").await
    }

    /// With further lines of configuration, such as TLS and users.
    pub async fn with_settings(folder: &Path, settings: &str) -> Self {
        Self::launch(folder, 1, settings).await
    }

    /// Brokers named `nats-0`, `nats-1`, ..., joined by routes.
    pub async fn cluster(folder: &Path, nodes: usize) -> Self {
        Self::launch(folder, nodes, "").await
    }

    /// A server of the JetStream domain `hub`, and its leaf node of the domain `leaf`.
    pub async fn hub_and_leaf(folders: [&Path; 2]) -> (Self, Self) {
        let port = free_port();
        let settings = |domain: &str, leafnodes: &str, folder: &Path| {
            let store = folder.join("jetstream");
            format!("jetstream {{ store_dir: {store:?}, domain: {domain} }}\nleafnodes {{ {leafnodes} }}\n")
        };
        let listen = settings("hub", &format!("listen: \"127.0.0.1:{port}\""), folders[0]);
        let remote = format!("reconnect: 1, remotes: [{{ url: \"nats-leaf://127.0.0.1:{port}\" }}]");
        let hub = Self::with_settings(folders[0], &listen).await;
        let leaf = Self::with_settings(folders[1], &settings("leaf", &remote, folders[1])).await;
        (hub, leaf)
    }

    async fn launch(folder: &Path, nodes: usize, settings: &str) -> Self {
        let folder = folder.join("nats");
        std::fs::create_dir_all(&folder).unwrap();
        let node = |_| Node { port: free_port(), route: free_port(), process: None };
        let nodes: Vec<Node> = (0..nodes).map(node).collect();
        let mut broker = Self { folder, settings: settings.to_owned(), nodes };
        for index in 0..broker.nodes.len() {
            broker.restart_node(index).await;
        }
        broker
    }

    /// Address of the first node, without TLS.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port())
    }

    /// Lines of a `[nats]` table with this address.
    pub fn nats(&self) -> String {
        format!("urls = [{:?}]", self.url())
    }

    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(|node| format!("nats://127.0.0.1:{}", node.port)).collect()
    }

    /// Client port of the first node.
    pub fn port(&self) -> u16 {
        self.nodes[0].port
    }

    pub fn process(&mut self) -> &mut Process {
        self.nodes[0].process.as_mut().unwrap()
    }

    /// SIGKILL to the first node.
    pub fn kill(&mut self) {
        self.kill_node(0);
    }

    /// SIGKILL.
    pub fn kill_node(&mut self, index: usize) {
        self.nodes[index].process = None;
    }

    /// SIGKILL to the node with this server name; returns its index.
    pub fn kill_named(&mut self, name: &str) -> usize {
        let index = name.strip_prefix("nats-").unwrap().parse().unwrap();
        self.kill_node(index);
        index
    }

    /// Further lines of configuration from the next restart on.
    pub fn set_settings(&mut self, settings: &str) {
        settings.clone_into(&mut self.settings);
    }

    /// Deletes everything that the first node stores; it must not run.
    pub fn delete_store(&self) {
        assert!(self.nodes[0].process.is_none(), "the broker runs");
        std::fs::remove_dir_all(self.folder.join("store-0")).unwrap();
    }

    /// Copies everything that the first node stores, in the place of an earlier copy; it must not run.
    pub fn copy_store(&self, to: &Path) {
        assert!(self.nodes[0].process.is_none(), "the broker runs");
        copy_folder(&self.folder.join("store-0"), to);
    }

    /// Puts a copy in the place of everything that the first node stores.
    pub fn restore_store(&self, from: &Path) {
        self.delete_store();
        copy_folder(from, &self.folder.join("store-0"));
    }

    pub async fn restart(&mut self) {
        self.restart_node(0).await;
    }

    pub async fn restart_node(&mut self, index: usize) {
        self.kill_node(index);
        let name = format!("nats-{index}");
        let config = self.folder.join(format!("{name}.conf"));
        std::fs::write(&config, self.configuration(index)).unwrap();
        let mut command = Command::new(parts::nats_server());
        command.arg("--config").arg(&config);
        self.nodes[index].process = Some(Process::start(&name, &mut command, &self.folder));
        let port = self.nodes[index].port;
        eventually("nats-server accepts connections", || async move {
            tokio::net::TcpStream::connect(("127.0.0.1", port)).await.map(drop).map_err(|e| e.to_string())
        })
        .await;
    }

    fn configuration(&self, index: usize) -> String {
        let mut text = format!(
            "server_name: nats-{index}\nlisten: 127.0.0.1:{}\njetstream {{ store_dir: {:?}, max_file_store: 20GB }}\n{}\n",
            self.nodes[index].port,
            self.folder.join(format!("store-{index}")),
            self.settings
        );
        if self.nodes.len() > 1 {
            let routes: Vec<_> =
                self.nodes.iter().map(|node| format!("nats://127.0.0.1:{}", node.route)).collect();
            text += &format!(
                "cluster {{ name: test, listen: 127.0.0.1:{}, routes: {routes:?} }}\n",
                self.nodes[index].route
            );
        }
        text
    }
}

/// Puts a copy of a folder, with its symbolic links, in the place of another.
pub fn copy_folder(from: &Path, to: &Path) {
    if to.exists() {
        std::fs::remove_dir_all(to).unwrap();
    }
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(copied.success(), "cp -a {from:?} {to:?}");
}

/// UDP sockets on the TCP ports that [`free_port`] gave out.
static RESERVED: Mutex<Vec<UdpSocket>> = Mutex::new(Vec::new());

/// A free port of loopback, below the range from which the kernel takes ports for outgoing connections. No other call, in this process or
/// in a thread of its own, returns it as long as this process lives: its listener may start late, and stop for a while.
#[must_use]
pub fn free_port() -> u16 {
    let random = || RandomState::new().hash_one(std::process::id()) % 20_000;
    let mut ports = std::iter::repeat_with(|| 10_000 + u16::try_from(random()).unwrap()).take(1_000);
    let reserved = ports.find_map(|port| {
        let reservation = UdpSocket::bind(("127.0.0.1", port)).ok()?;
        TcpListener::bind(("127.0.0.1", port)).ok()?;
        RESERVED.lock().unwrap_or_else(PoisonError::into_inner).push(reservation);
        Some(port)
    });
    reserved.unwrap()
}
