//! A child process that ends with the test.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::wait::until;

/// Killed when dropped. Its output goes to a file, whose end is shown when the test fails.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with its output appended to `folder/<name>.log`.
    pub fn start(name: &str, command: &mut Command, folder: &Path) -> Self {
        let log = folder.join(format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&log).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: {command:?}: {error}"));
        Self { name: name.to_owned(), child, log }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL; returns when the process has ended.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM.
    pub async fn terminate(&mut self, limit: Duration) -> ExitStatus {
        self.signal("TERM");
        self.ended(limit).await
    }

    /// SIGSTOP: like a suspended machine, it keeps its connections and reacts to nothing.
    pub fn suspend(&self) {
        self.signal("STOP");
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.signal("CONT");
    }

    /// `signal` without its `SIG`.
    pub fn signal(&self, signal: &str) {
        let pid = self.pid().to_string();
        let sent = Command::new("kill").args([&format!("-{signal}"), &pid]).status().unwrap();
        assert!(sent.success(), "kill -{signal} {pid} ({})", self.name);
    }

    /// Waits for its end.
    pub async fn ended(&mut self, limit: Duration) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(started.elapsed() < limit, "{} did not end within {limit:?}", self.name);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }

    /// Number of handles that it has open, by kind: of TCP connections the port of the other end, 0 for a listener.
    pub fn open_files(&self) -> BTreeMap<String, usize> {
        let folder = Path::new("/proc").join(self.child.id().to_string());
        let connections = std::fs::read_to_string(folder.join("net/tcp")).unwrap_or_default();
        let peers: BTreeMap<&str, u16> = connections.lines().skip(1).filter_map(tcp_peer).collect();
        let mut kinds = BTreeMap::new();
        for handle in std::fs::read_dir(folder.join("fd")).unwrap() {
            let target = std::fs::read_link(handle.unwrap().path()).unwrap_or_default();
            let target = target.to_string_lossy();
            let inode = target.strip_prefix("socket:[").map(|inode| inode.trim_end_matches(']'));
            let kind = match (inode.and_then(|inode| peers.get(inode)), inode) {
                (Some(port), _) => format!("tcp:{port}"),
                (None, Some(_)) => "socket".to_owned(),
                (None, None) => target.into_owned(),
            };
            *kinds.entry(kind).or_default() += 1;
        }
        kinds
    }

    pub fn threads(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap().count()
    }

    /// CPU time of all its threads so far.
    pub fn cpu_time(&self) -> Duration {
        cpu_time_of(self.child.id())
    }

    pub fn output(&self) -> String {
        let mut text = String::new();
        File::open(&self.log).unwrap().read_to_string(&mut text).unwrap();
        text
    }

    /// Waits for an output line that starts with `prefix`; returns the rest of the newest such line.
    pub async fn line_after(&mut self, prefix: &str, limit: Duration) -> String {
        let log = self.log.clone();
        until(&format!("{} says {prefix:?}", self.name), limit, || async {
            let text = std::fs::read_to_string(&log).unwrap();
            let found = text.lines().rev().find_map(|line| line.strip_prefix(prefix));
            found.map(|rest| rest.trim().to_owned()).ok_or(text)
        })
        .await
    }
}

/// True in a process that runs the test `name` only, as nextest starts one for each. `cargo test` runs all tests in one process: there the test
/// is run in a process of its own.
pub fn is_alone(name: &str) -> bool {
    let alone = ["--exact", name];
    if alone.iter().all(|wanted| std::env::args().any(|argument| argument == *wanted)) {
        return true;
    }
    let test = std::env::current_exe().unwrap();
    let ended = Command::new(test).args(alone).arg("--nocapture").status().unwrap();
    assert!(ended.success(), "{name}: {ended}");
    false
}

/// Runs a command, which must succeed: its standard output.
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let [out, errors] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert!(output.status.success(), "{command:?}: {}: {out}{errors}", output.status);
    out
}

/// Each part is in a text that was printed.
pub fn contains_all(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
}

/// CPU time of this process so far.
pub fn own_cpu_time() -> Duration {
    cpu_time_of(std::process::id())
}

fn cpu_time_of(id: u32) -> Duration {
    // In ticks of which Linux reports 100 a second to user space, whatever its own clock.
    const TICK: Duration = Duration::from_millis(10);
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
    // The name in brackets may hold blanks; user and system time are fields 14 and 15.
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let ticks = fields.split(' ').skip(11).take(2).map(|field| field.parse::<u32>().unwrap());
    TICK * ticks.sum::<u32>()
}

impl Drop for Process {
    fn drop(&mut self) {
        let ended = self.child.kill().and_then(|()| self.child.wait());
        if std::thread::panicking() {
            let text = std::fs::read_to_string(&self.log).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            let tail = lines[lines.len().saturating_sub(40)..].join("\n");
            eprintln!("---- {} ({ended:?}), last lines ----\n{tail}", self.name);
        }
    }
}

/// Inode and port of the other end of a line of `/proc/PID/net/tcp`.
fn tcp_peer(line: &str) -> Option<(&str, u16)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (_, port) = fields.get(2)?.rsplit_once(':')?;
    Some((fields.get(9)?, u16::from_str_radix(port, 16).ok()?))
}
