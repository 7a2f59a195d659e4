//! nats-server processes started from the files of `deploy/nats` as they ship, with their variables.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::broker::free_port;
use crate::parts;
use crate::process::{Process, run};
use crate::wait::eventually;

fn shipped(name: &str) -> PathBuf {
    parts::root().join("deploy/nats").join(name)
}

/// Variables of an environment file.
pub fn variables(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.split_once('=').unwrap()).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

/// Certificates of a throw-away authority: `ca.pem`, and `NAME.pem` with `NAME-key.pem` for each name.
pub fn certificates(folder: &Path, names: &[&str]) {
    run(Command::new(shipped("try-ca.sh")).arg(folder).args(names));
}

/// Lines of a `[nats]` table with the certificates `client`.
pub fn nats_table(certificates: &Path, urls: &[String], user: &str, password: &str) -> String {
    let path = |name: &str| certificates.join(name);
    let file = certificates.join(format!("password-{user}"));
    std::fs::write(&file, password).unwrap();
    format!(
        "urls = {urls:?}\nuser = {user:?}\npassword_file = {file:?}\nca_file = {:?}\nclient_cert_file = {:?}\nclient_key_file = {:?}\n",
        path("ca.pem"),
        path("client.pem"),
        path("client-key.pem")
    )
}

/// Servers of a cluster of three, and the ports on which they take leaf nodes at the address `leaf_host`. None is started.
pub fn cluster(folder: &Path, certificates: &Path, leaf_host: &str) -> (Vec<NatsFromFiles>, Vec<u16>) {
    let routes: Vec<u16> = (0..3).map(|_| free_port()).collect();
    let leaf_ports: Vec<u16> = (0..3).map(|_| free_port()).collect();
    let urls: Vec<String> = routes.iter().map(|port| format!("tls://127.0.0.1:{port}")).collect();
    let server = |number: usize| {
        let own = [
            ("NATS_CLUSTER_LISTEN", format!("127.0.0.1:{}", routes[number])),
            ("NATS_LEAF_LISTEN", format!("{leaf_host}:{}", leaf_ports[number])),
            ("NATS_ROUTES", format!("[{}]", urls.join(", "))),
        ];
        NatsFromFiles::prepared(folder, certificates, "cluster", &format!("nats-{number}"), &own)
    };
    ((0..3).map(server).collect(), leaf_ports)
}

/// A server; a restart keeps its ports, variables and store.
#[derive(Debug)]
pub struct NatsFromFiles {
    name: String,
    folder: PathBuf,
    variables: BTreeMap<String, String>,
    port: u16,
    process: Option<Process>,
}

impl NatsFromFiles {
    /// Writes the files of a kind (`single`, `cluster`, `leaf`) under `folder/name`; a leaf node is named `leaf-REGION`. Ports and paths are the
    /// test's, everything else is shipped.
    pub fn prepared(
        folder: &Path,
        certificates: &Path,
        kind: &str,
        name: &str,
        own: &[(&str, String)],
    ) -> Self {
        let folder = folder.join(name);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::copy(shipped(&format!("{kind}.conf")), folder.join("nats-server.conf")).unwrap();
        let mut environment = std::fs::read_to_string(shipped(&format!("{kind}.env"))).unwrap();
        let (users, include) = match (kind, name.strip_prefix("leaf-")) {
            ("leaf", Some(region)) => {
                environment = environment.replace("tokyo", region).replace("TOKYO", &region.to_uppercase());
                (format!("leaf-accounts-{region}.conf"), "leaf-accounts.conf")
            }
            ("single", _) => ("authorization.conf".to_owned(), "authorization.conf"),
            _ => ("accounts.conf".to_owned(), "accounts.conf"),
        };
        std::fs::copy(shipped(&users), folder.join(include)).unwrap();
        let mut variables = variables(&environment);
        let port = free_port();
        let path = |name: &str| certificates.join(name).to_str().unwrap().to_owned();
        let given = [
            ("NATS_NAME", name.to_owned()),
            ("NATS_LISTEN", format!("127.0.0.1:{port}")),
            ("NATS_MONITOR", format!("127.0.0.1:{}", free_port())),
            ("NATS_STORE", folder.join("store").to_str().unwrap().to_owned()),
            ("NATS_CERT", path("server.pem")),
            ("NATS_KEY", path("server-key.pem")),
            ("NATS_CA", path("ca.pem")),
        ];
        for (key, value) in given.into_iter().chain(own.iter().map(|(key, value)| (*key, value.clone()))) {
            assert!(variables.insert(key.to_owned(), value).is_some(), "{kind}.env has no {key}");
        }
        Self { name: name.to_owned(), folder, variables, port, process: None }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn url(&self) -> String {
        format!("tls://127.0.0.1:{}", self.port)
    }

    pub fn password(&self, user: &str) -> &str {
        &self.variables[&format!("NATS_PASSWORD_{user}")]
    }

    pub fn start(&mut self) {
        let mut command = Command::new(parts::nats_server());
        command.arg("--config").arg(self.folder.join("nats-server.conf"));
        self.run(command);
    }

    /// As the shell script of a container says, which reads certificates in the folder `certificates`. It looks at them more often than there, and
    /// ends with the server.
    pub fn start_in_container(&mut self, script: &str, certificates: &Path) {
        let config = self.folder.join("nats-server.conf");
        let program = parts::nats_server();
        let replaced = [
            ("exec nats-server ", format!("exec {} ", program.display())),
            ("/etc/nats/nats-server.conf", config.display().to_string()),
            ("/etc/nats-tls", certificates.display().to_string()),
            ("sleep 60", "sleep 0.2 && kill -0 $$".to_owned()),
            ("kill -HUP 1", "kill -HUP $$".to_owned()),
        ];
        let script = replaced.iter().fold(script.to_owned(), |script, (from, to)| {
            assert!(script.contains(from), "no {from:?}: {script}");
            script.replace(from, to)
        });
        let mut command = Command::new("sh");
        command.args(["-c", &script]);
        self.run(command);
    }

    fn run(&mut self, mut command: Command) {
        command.env_clear().env("PATH", "/usr/bin:/bin").envs(&self.variables);
        self.process = Some(Process::start(&self.name, &mut command, &self.folder));
    }

    pub async fn listens(&mut self) {
        let port = self.port;
        eventually("nats-server accepts connections", || async move {
            tokio::net::TcpStream::connect(("127.0.0.1", port)).await.map(drop).map_err(|e| e.to_string())
        })
        .await;
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process = None;
    }

    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().unwrap()
    }
}
