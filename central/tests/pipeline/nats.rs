//! One broker, or a cluster of them.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::running::{Running, free_port, wait_for};

/// One broker, or a cluster of them.
pub struct Nats {
    server: PathBuf,
    folder: PathBuf,
    nodes: Vec<Node>,
}

struct Node {
    port: u16,
    route: u16,
    running: Option<Running>,
}

impl Nats {
    /// Starts so many.
    pub fn start(server: &Path, folder: &Path, nodes: usize) -> Self {
        let node = |_| Node { port: free_port(), route: free_port(), running: None };
        let nodes: Vec<Node> = (0..nodes).map(node).collect();
        let mut nats = Self { server: server.to_owned(), folder: folder.to_owned(), nodes };
        for i in 0..nats.nodes.len() {
            nats.restart(i);
        }
        nats
    }

    /// Starts one, with what it stored before.
    pub fn restart(&mut self, i: usize) {
        let name = format!("nats-{i}");
        let mut command = Command::new(&self.server);
        command.args(["-js", "-a", "127.0.0.1", "-n", &name, "-p", &self.nodes[i].port.to_string(), "-sd"]);
        command.arg(self.folder.join(&name));
        if self.nodes.len() > 1 {
            let address = |node: &Node| format!("nats://127.0.0.1:{}", node.route);
            let routes: Vec<String> = self.nodes.iter().map(address).collect();
            command.args(["--cluster_name", "test", "--cluster", &routes[i], "--routes", &routes.join(",")]);
        }
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        self.nodes[i].running = Some(Running(child));
        let port = self.nodes[i].port;
        wait_for("the broker to listen", || TcpStream::connect(("127.0.0.1", port)).ok());
    }

    /// Ends one as a power cut would.
    pub fn kill(&mut self, i: usize) {
        self.nodes[i].running.take().unwrap().kill();
    }

    /// Ends the one with this name, and gives its number.
    pub fn kill_named(&mut self, name: &str) -> usize {
        let i = name.strip_prefix("nats-").unwrap().parse().unwrap();
        self.kill(i);
        i
    }

    /// The port of the only one.
    pub fn port(&self) -> u16 {
        assert_eq!(self.nodes.len(), 1, "which?");
        self.nodes[0].port
    }

    /// The addresses of all.
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(|node| format!("nats://127.0.0.1:{}", node.port)).collect()
    }
}
