//! Promise: systemd runs the programs as the units of `deploy/systemd` say, and hears from them that they are ready and go on.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use marketprism_tests::central::{Central, Settings};
use marketprism_tests::edge::{Edge, Feed};
use marketprism_tests::parts;
use marketprism_tests::process::run;
use marketprism_tests::stack::Stack;
use marketprism_tests::wait::{PATIENCE, eventually};
use tempfile::TempDir;

const UNITS: [&str; 3] = ["marketprism-edge.service", "marketprism-central@.service", "nats-server.service"];
/// From 0 (closed) to 10; see `systemd-analyze security`.
const EXPOSURE_MAX: &str = "20";

/// The place at which systemd listens for what a service says. Like systemd it always reads: a full socket would hold the service up.
struct Manager {
    words: Receiver<String>,
    path: String,
    _reader: JoinHandle<()>,
}

impl Manager {
    fn new(folder: &Path, name: &str) -> Self {
        let path = folder.join(name);
        let socket = UnixDatagram::bind(&path).unwrap();
        let (sender, words) = channel();
        // Ends with the test's process.
        let reader = std::thread::spawn(move || {
            let mut bytes = [0; 1024];
            while let Ok(length) = socket.recv(&mut bytes) {
                let word = std::str::from_utf8(&bytes[..length]).unwrap().trim().to_owned();
                if sender.send(word).is_err() {
                    return;
                }
            }
        });
        Self { words, path: path.to_str().unwrap().to_owned(), _reader: reader }
    }

    /// Waits for `last`; before it come only progress messages.
    fn wait_for(&self, last: &str) {
        loop {
            let word = self.words.recv_timeout(PATIENCE).unwrap();
            if word == last {
                return;
            }
            assert_eq!(word, "WATCHDOG=1", "before {last}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn edge_and_central_say_that_they_are_ready_go_on_and_stop() {
    let mut stack = Stack::start().await;
    let folder = tempfile::tempdir().unwrap();
    let (edge_manager, central_manager) =
        (Manager::new(folder.path(), "edge"), Manager::new(folder.path(), "central"));
    stack.central.set_variables(&[("NOTIFY_SOCKET", central_manager.path.clone())]);
    stack.central.restart().await;
    // A venue that cannot be reached keeps an edge from nothing.
    let feed = Feed::simulated("binance_spot", "127.0.0.1:9", &["BTC-USDT"]);
    let nats = stack.broker.nats();
    let mut edge = Edge::prepared(stack.folder.path(), &nats, &[feed])
        .with_variable("NOTIFY_SOCKET", &edge_manager.path);
    edge.restart().await;
    let heard = tokio::task::spawn_blocking(move || {
        for manager in [&edge_manager, &central_manager] {
            // Self-care may be at work before the feeds are.
            manager.wait_for("READY=1");
            manager.wait_for("WATCHDOG=1");
        }
        (edge_manager, central_manager)
    });
    let (edge_manager, central_manager) = heard.await.unwrap();
    edge.process().terminate(PATIENCE).await;
    stack.central.process().terminate(PATIENCE).await;
    for manager in [edge_manager, central_manager] {
        manager.wait_for("STOPPING=1");
    }
}

/// Systemd kills what does not end after `STOPPING=1`, and takes no `READY=1` of it any more: every restart ended in a SIGKILL a minute later.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_by_self_care_is_no_stop_and_has_a_time_of_its_own() {
    const READY: &str = "READY=1\nWATCHDOG_USEC=60000000";
    let folder = tempfile::tempdir().unwrap();
    let manager = Manager::new(folder.path(), "edge");
    let feed = Feed::simulated("binance_spot", "127.0.0.1:9", &["BTC-USDT"]);
    let nats = "urls = [\"nats://127.0.0.1:9\"]\n[selfcare]\nauto_restart = true\nmemory_mb = 1\n\
                monitor_interval_seconds = 1\nrestart_cooldown_seconds = 6\n";
    let mut edge = Edge::prepared(folder.path(), nats, &[feed])
        .with_variable("NOTIFY_SOCKET", &manager.path)
        .with_variable("WATCHDOG_USEC", "60000000");
    let file = edge.folder().join("edge.toml");
    edge.start_without_waiting();
    let heard = tokio::task::spawn_blocking(move || {
        manager.wait_for(READY);
        // The next process reads it: its own restart may be due while the test stops it.
        let text = std::fs::read_to_string(&file).unwrap();
        let next = file.with_extension("next");
        std::fs::write(&next, text.replace("auto_restart = true", "auto_restart = false")).unwrap();
        std::fs::rename(&next, &file).unwrap();
        for word in ["WATCHDOG_USEC=180000000", READY] {
            manager.wait_for(word);
        }
        manager
    });
    let manager = heard.await.unwrap();
    edge.process().terminate(PATIENCE).await;
    manager.wait_for("STOPPING=1");
}

/// A machine whose ClickHouse was down at its start never reached `multi-user.target`.
#[tokio::test(flavor = "multi_thread")]
async fn central_is_ready_while_its_servers_are_unreachable() {
    let folder = tempfile::tempdir().unwrap();
    let manager = Manager::new(folder.path(), "notify");
    let settings = Settings::plain("urls = [\"nats://127.0.0.1:9\"]", "http://127.0.0.1:9");
    let mut central = Central::prepared(folder.path(), &settings);
    central.set_variables(&[("NOTIFY_SOCKET", manager.path.clone())]);
    central.start_without_waiting();
    let heard = tokio::task::spawn_blocking(move || {
        manager.wait_for("READY=1");
        manager.wait_for("WATCHDOG=1");
    });
    heard.await.unwrap();
    assert!(central.get("/ready").await.is_err());
    assert!(central.process().terminate(PATIENCE).await.success());
}

/// An edge that has neither venue nor broker, not started, and its folder.
fn edge_alone() -> (TempDir, Edge) {
    let folder = tempfile::tempdir().unwrap();
    let feed = Feed::simulated("binance_spot", "127.0.0.1:9", &["BTC-USDT"]);
    let edge = Edge::prepared(folder.path(), "urls = [\"nats://127.0.0.1:9\"]", &[feed]);
    (folder, edge)
}

/// Systemd tries status 3 never again: it is for what only a person can change.
#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_a_failure_that_is_tried_again() {
    let (_folder, mut edge) = edge_alone();
    let _held = std::net::TcpListener::bind(("127.0.0.1", edge.port())).unwrap();
    edge.start_without_waiting();
    let status = edge.process().ended(PATIENCE).await;
    let said = edge.process().output();
    assert!(status.code() == Some(1) && said.contains("http.listen cannot listen on"), "{status}: {said}");
    let unit = parts::text("deploy/systemd/marketprism-edge.service");
    assert!(unit.contains("\nRestart=on-failure\n") && unit.contains("\nRestartPreventExitStatus=2 3\n"));
}

/// All lines had the priority of INFO: `journalctl -p warning` and alerts on priorities found none.
#[tokio::test(flavor = "multi_thread")]
async fn lines_for_the_journal_have_their_priority_and_others_have_none() {
    use std::os::unix::fs::MetadataExt as _;
    let (_folder, mut edge) = edge_alone();
    let log = edge.folder().join("edge.log");
    let found = std::fs::File::create(&log).unwrap().metadata().unwrap();
    edge.set_variable("JOURNAL_STREAM", &format!("{}:{}", found.dev(), found.ino()));
    edge.restart().await;
    edge.process().terminate(PATIENCE).await;
    let held = std::net::TcpListener::bind(("127.0.0.1", edge.port())).unwrap();
    edge.start_without_waiting();
    edge.process().ended(PATIENCE).await;
    drop(held);
    let said = edge.process().output();
    let last = said.lines().last().unwrap();
    assert!(said.lines().count() > 1 && last.starts_with("<3>error: http.listen"), "{said}");
    let is_marked = |line: &str| {
        let level = line.split_whitespace().nth(1).unwrap_or_default();
        let wanted = [("INFO", "<6>"), ("WARN", "<4>"), ("ERROR", "<3>"), ("http.listen", "<3>")];
        wanted.iter().any(|(name, mark)| *name == level && line.starts_with(mark))
    };
    assert!(said.lines().all(is_marked), "{said}");
    // Of another stream, as a shell that was started from a unit has it.
    std::fs::remove_file(&log).unwrap();
    edge.set_variable("JOURNAL_STREAM", "1:1");
    edge.restart().await;
    edge.process().terminate(PATIENCE).await;
    let said = edge.process().output();
    assert!(said.lines().count() > 1 && !said.lines().any(|line| line.starts_with('<')), "{said}");
}

/// Systemd does not learn from a signal whether the edge could read the file.
#[test]
fn a_reload_checks_the_file_that_the_edge_runs_with_before_it_signals() {
    let unit = parts::text("deploy/systemd/marketprism-edge.service");
    let values = |key: &str| unit.lines().filter_map(|line| line.strip_prefix(key)).collect::<Vec<_>>();
    let check = values("ExecStart=")[0].replace(" run ", " check ");
    assert_eq!(values("ExecReload="), [check.as_str(), "/bin/kill -HUP $MAINPID"]);
}

/// logrotate empties the file that the program has open: without O_APPEND it would go on behind a hole.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_file_is_rotated_under_a_running_edge_without_losing_a_line() {
    if Command::new("logrotate").arg("--version").output().is_err() {
        eprintln!("SKIPPED: logrotate is missing");
        return;
    }
    let (folder, mut edge) = edge_alone();
    edge.restart().await;
    let before = edge.process().output();
    let first = before.lines().next().unwrap().to_owned();
    let shipped = parts::text("deploy/systemd/marketprism.logrotate");
    let logs = edge.folder().to_str().unwrap().to_owned();
    let mut rules = shipped.replace("/var/log/marketprism", &logs);
    if Command::new("id").arg("-u").output().unwrap().stdout != b"0\n" {
        rules = rules.replace("    su root root\n", "");
    }
    let config = folder.path().join("rules");
    std::fs::write(&config, rules).unwrap();
    let mut logrotate = Command::new("logrotate");
    run(logrotate.arg("--force").arg("--state").arg(folder.path().join("state")).arg(&config));
    edge.process().terminate(PATIENCE).await;

    let after = edge.process().output();
    assert!(!after.is_empty() && !after.contains('\0') && !after.contains(&first), "{after}");
    let mut names = std::fs::read_dir(&logs).unwrap().map(|entry| entry.unwrap().path());
    let archive = names.find(|path| path.extension().is_some_and(|end| end == "gz")).unwrap();
    let unpacked = Command::new("gzip").arg("-dc").arg(&archive).output().unwrap();
    assert!(String::from_utf8(unpacked.stdout).unwrap().starts_with(&first), "{}", archive.display());
}

/// A service that ignored the signal was killed by systemd a minute later.
#[tokio::test(flavor = "multi_thread")]
async fn an_edge_that_waits_for_its_address_stops_at_a_signal_and_leaves_no_run() {
    let (_folder, mut edge) = edge_alone();
    let path = edge.folder().join("edge.toml");
    let config = std::fs::read_to_string(&path).unwrap();
    // TEST-NET-1 (RFC 5737) is no machine's.
    let config = config.replace("metrics_listen = \"127.0.0.1:", "metrics_listen = \"192.0.2.1:");
    std::fs::write(&path, config).unwrap();
    edge.start_without_waiting();
    eventually("it waits for the address", || {
        let output = edge.process().output();
        std::future::ready(output.contains("does not have the address yet").then_some(()).ok_or(output))
    })
    .await;
    // It would wait without an end.
    let status = edge.process().terminate(Duration::from_secs(60)).await;
    assert!(status.success(), "{status}");
    let runs = edge.folder().join("data/runs");
    assert!(
        !runs.join("edge-test.json").exists(),
        "{:?}",
        std::fs::read_dir(runs).unwrap().collect::<Vec<_>>()
    );
}

/// As the first process of a container it would not hear the signal at all.
#[tokio::test(flavor = "multi_thread")]
async fn a_central_that_waits_for_its_address_stops_at_a_signal() {
    let folder = tempfile::tempdir().unwrap();
    let mut central = Central::prepared(
        folder.path(),
        &Settings::impatient("urls = [\"nats://127.0.0.1:9\"]", "http://127.0.0.1:9"),
    );
    let path = folder.path().join("central/central.toml");
    let config = std::fs::read_to_string(&path).unwrap();
    // Who may read it from other machines has to be said.
    let listen =
        format!("read_token_file = {:?}\nlisten = \"192.0.2.1:", folder.path().join("central/token"));
    std::fs::write(&path, config.replace("listen = \"127.0.0.1:", &listen)).unwrap();
    central.start_without_waiting();
    eventually("it waits for the address", || {
        let output = central.process().output();
        std::future::ready(output.contains("does not have the address yet").then_some(()).ok_or(output))
    })
    .await;
    let status = central.process().terminate(PATIENCE).await;
    assert_eq!(status.code(), Some(0), "{status}");
}

fn systemd_analyze(arguments: &[&str], unit: &Path) -> Option<Output> {
    let output = Command::new("systemd-analyze").args(arguments).arg(unit).output();
    if output.is_err() {
        eprintln!("SKIPPED: systemd-analyze is missing");
    }
    output.ok()
}

#[test]
fn the_units_are_valid_and_closed() {
    let folder = tempfile::tempdir().unwrap();
    for unit in UNITS {
        let text = std::fs::read_to_string(parts::root().join("deploy/systemd").join(unit)).unwrap();
        // The programs are not installed here; systemd looks whether there is something to start.
        let start = text.lines().find(|line| line.starts_with("ExecStart=")).unwrap();
        let program = start.trim_start_matches("ExecStart=").split(' ').next().unwrap();
        let path = folder.path().join(unit);
        std::fs::write(&path, text.replace(program, "/bin/true")).unwrap();
        let Some(verified) = systemd_analyze(&["verify", "--man=no"], &path) else { return };
        let said = String::from_utf8_lossy(&verified.stderr);
        assert!(verified.status.success() && !said.contains(unit), "{unit}: {said}");
        let threshold = format!("--threshold={EXPOSURE_MAX}");
        let exposure = systemd_analyze(&["security", "--offline=true", &threshold], &path).unwrap();
        assert!(exposure.status.success(), "{unit}: {exposure:?}");
        let denies_new_code = text.lines().any(|line| line == "MemoryDenyWriteExecute=true");
        assert_eq!(
            denies_new_code,
            !unit.contains("edge"),
            "{unit}: the edge's sandbox makes memory executable"
        );
    }
}

fn script(name: &str, dest: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(parts::root().join("deploy/systemd").join(name));
    let binaries = parts::binary("marketprism-edge");
    command.args(arguments).env("DESTDIR", dest).env("BIN", binaries.parent().unwrap());
    command.env("ADAPTERS", parts::adapter_of("binance_spot").parent().unwrap()).output().unwrap()
}

#[test]
fn an_installation_may_be_repeated_and_its_removal_leaves_configuration_and_data() {
    let dest = tempfile::tempdir().unwrap();
    let config = dest.path().join("etc/marketprism/edge.toml");
    let installed = script("install.sh", dest.path(), &["edge", "central"]);
    assert!(installed.status.success(), "{installed:?}");
    std::fs::write(&config, "# mine").unwrap();
    let data = dest.path().join("var/lib/marketprism/edge");
    std::fs::create_dir_all(&data).unwrap();
    let again = script("install.sh", dest.path(), &["edge", "central"]);
    assert!(again.status.success(), "{again:?}");
    assert_eq!(std::fs::read_to_string(&config).unwrap(), "# mine");
    let binary = dest.path().join("usr/bin/marketprism-edge");
    assert!(Command::new(&binary).arg("--version").output().unwrap().status.success());
    let removed = script("uninstall.sh", dest.path(), &[]);
    assert!(removed.status.success() && !binary.exists(), "{removed:?}");
    assert!(config.exists() && data.exists());
    let refused = script("install.sh", dest.path(), &["edge", "centre"]);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    assert!(!binary.exists(), "a wrong word installs nothing");
}

/// Files that the examples name are not here: certificates, passwords, adapters.
fn with_files_of(folder: &Path, text: &str) -> String {
    let secrets = folder.join("secrets");
    std::fs::create_dir_all(&secrets).unwrap();
    let adapters = parts::adapter_of("binance_spot");
    let adapters = adapters.parent().unwrap().to_str().unwrap();
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    for line in text.lines().filter(|line| line.contains("/etc/marketprism/")) {
        let path = line.split('"').nth(1).unwrap();
        let content = match (path.ends_with("-key.pem"), Path::new(path).extension()) {
            (true, _) => certified.signing_key.serialize_pem(),
            (false, Some(_)) => certified.cert.pem(),
            (false, None) => "a secret of enough characters".to_owned(),
        };
        std::fs::write(secrets.join(Path::new(path).file_name().unwrap()), content).unwrap();
    }
    text.replace("/etc/marketprism", secrets.to_str().unwrap())
        .replace("/usr/lib/marketprism/adapters", adapters)
}

#[test]
fn each_example_of_a_configuration_is_valid() {
    let folder = tempfile::tempdir().unwrap();
    let mut count = 0;
    for entry in std::fs::read_dir(parts::root().join("deploy/examples")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let config = folder.path().join(&name);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&config, with_files_of(folder.path(), &text)).unwrap();
        let program = if name.starts_with("edge") { "marketprism-edge" } else { "marketprism-central" };
        let mut check = Command::new(parts::binary(program));
        // An edge without a `data_dir` caches what it compiles below the folder that it runs in.
        run(check.arg("check").arg("--config").arg(&config).current_dir(folder.path()));
        count += 1;
    }
    assert_eq!(count, 8);
}
