//! The real server on a free port with a data directory of its own, and a plain HTTP client for it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use marketprism_tests::parts::{may_be_skipped, root};
use marketprism_tests::process::Process;
use marketprism_tests::wait::{PATIENCE, until_blocking};

/// A part that `make deps` installs; `None` after printing how to get it.
pub fn installed(variable: &str, cached: &str) -> Option<PathBuf> {
    let cached = root().join(".marketprism/cache").join(cached);
    let path = std::env::var_os(variable).map_or(cached, PathBuf::from);
    if path.is_file() {
        return Some(path);
    }
    may_be_skipped(&path);
    println!("SKIPPED: {} is missing; `make deps` installs it, or set {variable}", path.display());
    None
}

/// A running server, killed when dropped.
pub struct Server {
    process: Process,
    pub address: String,
    pub password: String,
    pub data: Arc<tempfile::TempDir>,
    _log: tempfile::TempDir,
}

impl Server {
    pub fn start(more: &[&str]) -> Option<Server> {
        Server::restart(&Arc::new(tempfile::tempdir().unwrap()), more)
    }

    pub fn restart(data: &Arc<tempfile::TempDir>, more: &[&str]) -> Option<Server> {
        let mut command = command(data, "127.0.0.1:0")?;
        let log = tempfile::tempdir().unwrap();
        let process = Process::start("clickhouse", command.args(more), log.path());
        let address = until_blocking("the server prints its address", PATIENCE, || {
            let output = process.output();
            let address = output.lines().find_map(|line| line.strip_prefix("listening on http://"));
            address.map(str::to_owned).ok_or(output)
        });
        let password = std::fs::read_to_string(data.path().join("password")).unwrap().trim().to_owned();
        Some(Server { process, address, password, data: Arc::clone(data), _log: log })
    }

    /// A client that is logged in.
    pub fn client(&self) -> clickhouse::Client {
        let client = clickhouse::Client::default().with_url(format!("http://{}", self.address));
        client.with_user("default").with_password(&self.password)
    }

    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    pub fn terminate(&self) {
        self.process.signal("TERM");
    }

    pub fn exit_code(&mut self) -> Option<i32> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(self.process.ended(PATIENCE)).code()
    }

    /// Sends a request with the first part of its body.
    pub fn send(&self, target: &str, headers: &[(&str, &str)], length: usize, part: &[u8]) -> TcpStream {
        let key = [("x-clickhouse-key", self.password.as_str())];
        let headers = [&key, headers].concat();
        send(&self.address, "POST", target, &headers, length, part).unwrap()
    }

    pub fn request(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let key = [("x-clickhouse-key", self.password.as_str())];
        self.anonymous(method, target, &[&key, headers].concat(), body)
    }

    /// Sends no password of its own.
    pub fn anonymous(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        Answer::read(&mut send(&self.address, method, target, headers, body.len(), body).unwrap())
    }

    pub fn post(&self, parameters: &str, body: impl AsRef<[u8]>) -> Answer {
        self.request("POST", &format!("/?{parameters}"), &[], body.as_ref())
    }

    /// Posts a query that must succeed; returns its text.
    pub fn ask(&self, query: &str) -> String {
        let answer = self.post("", query);
        assert_eq!(answer.status, 200, "{query}: {}", answer.text());
        answer.text().trim_end().to_owned()
    }
}

/// The command of a server; `None` without the engine's library.
pub fn command(data: &tempfile::TempDir, listen: &str) -> Option<Command> {
    let library = installed("MARKETPRISM_LIBCHDB", "libchdb-26.5.3/libchdb.so")?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_marketprism-clickhouse"));
    command.args(["--listen", listen, "--data"]).arg(data.path()).arg("--library").arg(library);
    Some(command)
}

/// Sends a request; a `host` header in `headers` replaces the address.
pub fn send(
    address: &str,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    length: usize,
    part: &[u8],
) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let mut head = format!("{method} {target} HTTP/1.1\r\nconnection: close\r\ncontent-length: {length}\r\n");
    let host = [("host", address)];
    let host = if headers.iter().any(|(name, _)| *name == "host") { &[][..] } else { &host[..] };
    for (name, value) in host.iter().chain(headers) {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    stream.write_all(part)?;
    Ok(stream)
}

/// A response, with the chunks of its body joined.
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
    pub complete: bool,
}

impl Answer {
    pub fn read(stream: &mut TcpStream) -> Answer {
        let mut raw = Vec::new();
        stream.read_to_end(&mut raw).expect("the response is read");
        let split = raw.windows(4).position(|w| w == b"\r\n\r\n").expect("the response has a head");
        let head = String::from_utf8(raw[..split].to_vec()).unwrap();
        let status = head.split_whitespace().nth(1).unwrap().parse().unwrap();
        let body = &raw[split + 4..];
        let (body, complete) = match head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
            true => dechunk(body),
            false => (body.to_vec(), true),
        };
        Answer { status, head, body, complete }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|l| l.split_once(": "));
        lines.find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub fn code(&self) -> Option<&str> {
        self.header("x-clickhouse-exception-code")
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

fn dechunk(mut rest: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    loop {
        let Some(end) = rest.windows(2).position(|w| w == b"\r\n") else { return (body, false) };
        let length = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap().trim(), 16).unwrap();
        if length == 0 {
            return (body, true);
        }
        let Some(chunk) = rest.get(end + 2..end + 2 + length) else { return (body, false) };
        body.extend_from_slice(chunk);
        rest = &rest[end + 2 + length + 2..];
    }
}

pub fn eventually(what: &str, holds: impl FnMut() -> bool) {
    until_blocking(what, PATIENCE, holds);
}
