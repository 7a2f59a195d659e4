//! Promise: two commands start and stop the whole system on one machine, and touch no other process.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use marketprism_tests::broker::free_port;
use marketprism_tests::clickhouse::client;
use marketprism_tests::parts;
use marketprism_tests::wait::eventually;
use serde_json::Value;
use tempfile::TempDir;

const PORTS: [&str; 7] =
    ["NATS", "NATS_MONITORING", "CLICKHOUSE", "CLICKHOUSE_COLD", "CENTRAL", "EDGE", "EDGE_METRICS"];

/// A checkout with its own ports that shares the built parts. Drop stops its stack; where the test is killed, its watchdog does.
struct Checkout {
    root: TempDir,
    ports: BTreeMap<&'static str, u16>,
    watchdog: Option<Child>,
}

impl Checkout {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let venues = Path::new("deploy/local/venues.toml");
        std::fs::create_dir_all(root.path().join(venues).parent().unwrap()).unwrap();
        std::fs::copy(parts::root().join(venues), root.path().join(venues)).unwrap();
        std::os::unix::fs::symlink(parts::root().join("target"), root.path().join("target")).unwrap();
        let ports = PORTS.iter().map(|&name| (name, free_port())).collect();
        let mut checkout = Self { root, ports, watchdog: None };
        checkout.watchdog = Some(checkout.watched().spawn().unwrap());
        checkout
    }

    /// Runs `down` when this process has ended. In a group of its own, as the parts are, which the end of a killed test's group leaves running.
    fn watched(&self) -> Command {
        let down = self.command(&["down"]);
        let mut watchdog = Command::new("sh");
        watchdog.args([
            "-c",
            "while kill -0 $0; do sleep 1; done; exec \"$@\"",
            &std::process::id().to_string(),
        ]);
        watchdog.arg(down.get_program()).args(down.get_args()).current_dir(self.root.path()).process_group(0);
        watchdog.envs(down.get_envs().filter_map(|(name, value)| Some((name, value?))));
        watchdog.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        watchdog
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.run_with(arguments, &[])
    }

    fn run_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
        self.command(arguments).envs(variables.iter().copied()).output().unwrap()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(parts::binary("marketprism-local"));
        command.args(arguments).current_dir(self.root.path());
        for variable in ["MARKETPRISM_NATS_URL", "NATS_URL", "CLICKHOUSE_URL", "MARKETPRISM_LOCAL__COLD"] {
            command.env_remove(variable);
        }
        command.env("MARKETPRISM_NATS_SERVER", parts::nats_server());
        command.env("MARKETPRISM_LIBCHDB", parts::clickhouse_library());
        for (name, port) in &self.ports {
            command.env(format!("MARKETPRISM_LOCAL__{name}_PORT"), port.to_string());
        }
        command
    }

    fn up(&self) -> String {
        self.up_with(&[])
    }

    fn up_with(&self, more: &[&str]) -> String {
        let output = self.run(&[&["up", "--venues", "simulated"], more].concat());
        let text = shown(&output);
        assert!(output.status.success(), "up: {text}");
        text
    }

    /// Process ids by part, from the files of `up`.
    fn pids(&self) -> BTreeMap<String, u64> {
        let files = std::fs::read_dir(self.root.path().join(".marketprism/run")).unwrap();
        let mut pids = BTreeMap::new();
        for file in files.map(|file| file.unwrap().path()) {
            if file.extension().is_some_and(|extension| extension == "json") {
                let record: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
                let pid = record["process"]["pid"].as_u64().unwrap_or_else(|| panic!("no pid in {record}"));
                pids.insert(file.file_stem().unwrap().to_string_lossy().into_owned(), pid);
            }
        }
        pids
    }

    fn up_restarts(&self, part: &str, before: &BTreeMap<String, u64>) {
        self.up();
        let after = self.pids();
        let changed: Vec<_> = before.keys().filter(|part| before[*part] != after[*part]).collect();
        assert_eq!(changed, [part], "{before:?} {after:?}");
    }

    fn down_stops_all(&self) {
        let pids = self.pids();
        let down = self.run(&["down"]);
        assert!(down.status.success(), "{}", shown(&down));
        let left: Vec<_> = pids.iter().filter(|(_, pid)| lives(**pid)).collect();
        assert!(left.is_empty(), "still running after down: {left:?}");
    }

    async fn rows(&self, table: &str) -> u64 {
        self.ask("CLICKHOUSE", &format!("SELECT count() FROM marketprism_hot.{table}")).await
    }

    /// 1 when the database exists on this engine.
    async fn tables(&self, engine: &str, database: &str) -> u64 {
        let query =
            format!("SELECT count() FROM system.tables WHERE database = '{database}' AND name = 'trades'");
        self.ask(engine, &query).await
    }

    async fn ask(&self, engine: &str, query: &str) -> u64 {
        let url = format!("http://127.0.0.1:{}/", self.ports[engine]);
        let file = self.root.path().join(".marketprism/config/clickhouse-password");
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let password = std::fs::read_to_string(file).unwrap();
        let text = client()
            .post(url)
            .basic_auth("default", Some(password.trim()))
            .body(query.to_owned())
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        text.trim().parse().unwrap_or_else(|_| panic!("{text}"))
    }
}

impl Drop for Checkout {
    fn drop(&mut self) {
        let output = self.run(&["down"]);
        if std::thread::panicking() {
            eprintln!("down: {}", shown(&output));
        }
        if let Some(mut watchdog) = self.watchdog.take() {
            let _ended = watchdog.kill().and_then(|()| watchdog.wait());
        }
    }
}

fn shown(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A killed process is a zombie before its last thread has ended, and that one still holds the ports.
fn lives(pid: u64) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).map_or(0, |threads| threads.count());
    threads > 1
        || std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[tokio::test(flavor = "multi_thread")]
async fn up_returns_with_data_and_restarts_only_dead_parts_and_down_stops_all() {
    let checkout = Checkout::new();
    let text = checkout.up();
    assert!(text.contains("simulated venues"), "up does not say that the data is simulated: {text}");
    for table in ["trades", "orderbooks"] {
        assert!(checkout.rows(table).await > 0, "{table} is empty");
    }
    let first = checkout.pids();
    assert!(first.len() >= 5, "{first:?}");

    checkout.up();
    assert_eq!(checkout.pids(), first, "a second up changed what runs");
    // The edge answers over the broker, whose users may do no more than they need.
    let expected = [
        "edge edge-local: healthy on ",
        "edge edge-local disk: ",
        "(edge): held by the part",
        "run/lock: free",
    ];
    eventually("diagnose shows the edge", || async {
        let told = shown(&checkout.run(&["diagnose"]));
        let missing: Vec<_> = expected.iter().filter(|part| !told.contains(**part)).collect();
        if missing.is_empty() { Ok(()) } else { Err(format!("{missing:?} are not in {told}")) }
    })
    .await;
    kill(first["edge"]).await;
    checkout.up_restarts("edge", &first);
    checkout.down_stops_all();
}

/// SIGKILL; waits until the process has ended, which takes a while for a large one.
async fn kill(pid: u64) {
    let killed = Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap();
    assert!(killed.success());
    eventually("the killed process has ended", || async {
        if lives(pid) { Err(format!("{pid} is still there")) } else { Ok(()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn split_runs_hot_and_cold_on_separate_engines_and_later_commands_remember_it() {
    let checkout = Checkout::new();
    let text = checkout.up_with(&["--split"]);
    assert!(text.contains(&format!("http://127.0.0.1:{}/integrity", checkout.ports["CENTRAL"])), "{text}");
    let token = checkout.root.path().join(".marketprism/config/token");
    assert!(text.contains(".marketprism/config/token"), "{text}");
    assert_eq!(std::fs::metadata(token).unwrap().permissions().mode() & 0o777, 0o600);

    // Two engines share the half of the memory that one would take.
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap();
    let total: u64 = meminfo.split_whitespace().nth(1).unwrap().parse().unwrap();
    for name in ["clickhouse", "clickhouse-cold"] {
        let log = checkout.root.path().join(format!(".marketprism/logs/{name}.log"));
        let log = std::fs::read_to_string(log).unwrap();
        let limit = log.split("memory_limit_mib=").nth(1).and_then(|rest| rest.split(' ').next());
        let limit: u64 = limit.unwrap_or_else(|| panic!("{log}")).parse().unwrap();
        assert!(limit > 0 && limit <= (total >> 10) / 4, "{limit} MiB of {total} KiB");
    }

    // Central creates the cold tables in the background.
    eventually("the cold tables are on the cold engine", || async {
        let places = [
            checkout.tables("CLICKHOUSE", "marketprism_hot").await,
            checkout.tables("CLICKHOUSE", "marketprism_cold").await,
            checkout.tables("CLICKHOUSE_COLD", "marketprism_hot").await,
            checkout.tables("CLICKHOUSE_COLD", "marketprism_cold").await,
        ];
        if places == [1, 0, 0, 1] { Ok(()) } else { Err(format!("{places:?}")) }
    })
    .await;

    let first = checkout.pids();
    assert_eq!(first.len(), 6, "{first:?}");
    checkout.up();
    assert_eq!(checkout.pids(), first, "a second up changed what runs");

    kill(first["clickhouse-cold"]).await;
    let status = checkout.run(&["status"]);
    assert_eq!(status.status.code(), Some(3), "{}", shown(&status));
    checkout.up_restarts("clickhouse-cold", &first);

    let together =
        checkout.run_with(&["up", "--venues", "simulated"], &[("MARKETPRISM_LOCAL__COLD", "together")]);
    assert!(
        !together.status.success() && shown(&together).contains("`make down` first"),
        "{}",
        shown(&together)
    );
    checkout.down_stops_all();
}

#[test]
fn a_port_in_use_is_reported_with_its_process_and_nothing_starts() {
    let mut checkout = Checkout::new();
    let foreign = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = foreign.local_addr().unwrap().port();
    checkout.ports.insert("EDGE", port);
    let output = checkout.run(&["up", "--venues", "simulated"]);
    let text = shown(&output);
    assert!(!output.status.success(), "{text}");
    for expected in
        [port.to_string(), std::process::id().to_string(), "MARKETPRISM_LOCAL__EDGE_PORT".to_owned()]
    {
        assert!(text.contains(&expected), "{expected} is not named: {text}");
    }
    let nats = ("127.0.0.1", checkout.ports["NATS"]);
    assert!(std::net::TcpStream::connect(nats).is_err(), "something was started: {text}");
}
