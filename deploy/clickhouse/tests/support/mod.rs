//! Starts the real server on a free port over a data directory of its own, and speaks plain HTTP to it.
#![allow(dead_code, clippy::print_stdout)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The engine's library, or nothing after saying how to get it.
pub fn library() -> Option<PathBuf> {
    let cached =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.marketprism/cache/libchdb-26.5.3/libchdb.so");
    let path = std::env::var_os("MARKETPRISM_LIBCHDB").map_or(cached, PathBuf::from);
    if path.is_file() {
        return Some(path);
    }
    println!("SKIPPED: no engine at {}; `make deps` gets it, or set MARKETPRISM_LIBCHDB", path.display());
    None
}

/// A running server. Killed when dropped.
pub struct Server {
    child: Child,
    /// `127.0.0.1:PORT`
    pub address: String,
}

impl Server {
    /// Starts a server over the directory.
    pub fn start(library: &Path, data: &Path, more: &[&str]) -> Server {
        let mut child =
            command(library, data, more).stdout(Stdio::piped()).spawn().expect("the server starts");
        let stdout = child.stdout.take().expect("stdout is piped");
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).expect("the server says where it listens");
        let address = line
            .trim()
            .strip_prefix("listening on http://")
            .unwrap_or_else(|| panic!("said {line:?}"))
            .to_owned();
        Server { child, address }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills the process as a power cut would.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends SIGTERM and gives the exit code.
    pub fn stop(self) -> Option<i32> {
        self.signal("TERM");
        self.wait()
    }

    /// Waits for the end of the process and gives the exit code.
    pub fn wait(mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    pub fn signal(&self, name: &str) {
        let status =
            Command::new("kill").args([format!("-{name}"), self.pid().to_string()]).status().unwrap();
        assert!(status.success());
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
    }

    /// Sends one request and reads the response.
    pub fn request(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut stream = self.connect();
        stream.write_all(&head(method, target, &self.address, headers, body.len())).unwrap();
        stream.write_all(body).unwrap();
        Answer::read(&mut stream)
    }

    /// Posts a query with parameters of the URL.
    pub fn post(&self, parameters: &str, body: impl AsRef<[u8]>) -> Answer {
        self.request("POST", &format!("/?{parameters}"), &[], body.as_ref())
    }

    /// Posts a query that must succeed, gives its text.
    pub fn ask(&self, query: &str) -> String {
        let answer = self.post("", query);
        assert_eq!(answer.status, 200, "{query}: {}", answer.text());
        answer.text().trim_end().to_owned()
    }

    /// Resident memory in MiB.
    pub fn resident_mib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn command(library: &Path, data: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_marketprism-clickhouse"));
    command
        .arg("--data")
        .arg(data)
        .args(["--listen", "127.0.0.1:0"])
        .arg("--library")
        .arg(library)
        .args(more);
    command
}

pub fn head(method: &str, target: &str, host: &str, headers: &[(&str, &str)], length: usize) -> Vec<u8> {
    let mut text = format!(
        "{method} {target} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: {length}\r\n"
    );
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    (text + "\r\n").into_bytes()
}

/// A response, with the chunks of its body joined.
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
    /// The body ended as it should.
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

    pub fn header(&self, name: &str) -> Option<String> {
        let lines = self.head.lines().filter_map(|l| l.split_once(": "));
        lines.filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.to_owned()).next()
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

/// Polls until the condition holds.
pub fn eventually(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
