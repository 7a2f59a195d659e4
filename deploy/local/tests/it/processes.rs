//! Started parts keep running, are restarted after they died, and are the only ones ever stopped.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use marketprism_local::process::{self, ProcessIdentity, ProcessRecord, ProcessState, Program, StopResult};
use marketprism_local::stack::{self, DataAfterStop, PartSpec, PortUse, ReadyCheck, SIMULATOR, Starter};
use marketprism_local::{Client, Console, StackPaths};
use marketprism_service::FileLock;
use marketprism_tests::broker::free_port;
use marketprism_tests::wait::{PATIENCE, until_blocking};

struct Guarded(Child);

impl Drop for Guarded {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits for the new command line, which the kernel shows only after the start has returned.
fn sleeper() -> Guarded {
    let sleeper = Guarded(Command::new("sleep").arg("600").stdin(Stdio::null()).spawn().unwrap());
    let pid = sleeper.0.id();
    until_blocking("the command line", PATIENCE, || {
        process::command_of(pid).is_some_and(|line| line.contains("sleep 600"))
    });
    sleeper
}

fn record(process: ProcessIdentity, folder: &Path) -> ProcessRecord {
    ProcessRecord {
        part: SIMULATOR.to_owned(),
        process,
        address: String::new(),
        ports: Vec::new(),
        log: folder.join("log"),
        note: String::new(),
    }
}

fn shell_part(paths: &StackPaths, script: &str) -> PartSpec {
    PartSpec {
        name: SIMULATOR,
        program: Program {
            path: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into()],
            variables: Vec::new(),
            sections: &[],
            folder: paths.root.clone(),
        },
        address: String::new(),
        ports: vec![PortUse { port: 0, variable: "NONE".to_owned() }],
        ready: ReadyCheck::Line("listening on "),
        note: String::new(),
    }
}

/// Records of a foreign process with another start time, another boot, another program.
#[test]
fn a_process_with_a_reused_id_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let paths = StackPaths::of(folder.path());
    let mut foreign = sleeper();
    let real = ProcessIdentity::of(foreign.0.id()).unwrap();
    for stale in [
        ProcessIdentity { start_ticks: real.start_ticks - 1, ..real.clone() },
        ProcessIdentity { boot_id: "another".to_owned(), ..real.clone() },
        ProcessIdentity { program: "/usr/bin/another".into(), ..real.clone() },
    ] {
        let stale = record(stale, folder.path());
        assert!(matches!(stale.state(), ProcessState::Reused { command } if command.contains("sleep 600")));
        stale.save(&paths.run()).unwrap();
        stack::down(&paths, DataAfterStop::Keep, &Console::silent()).unwrap();
        assert!(ProcessRecord::load(&paths.run(), SIMULATOR).unwrap().is_none(), "the record was kept");
        assert!(foreign.0.try_wait().unwrap().is_none(), "the foreign process was stopped");
    }
}

#[test]
fn an_ending_process_keeps_its_identity() {
    let sleeper = sleeper();
    let whole = ProcessIdentity::of(sleeper.0.id()).unwrap();
    let ending = ProcessIdentity { program: "".into(), ..whole.clone() };
    assert!(ending.is_the_same_process(&whole) && whole.is_the_same_process(&ending));
    assert!(!ProcessIdentity { start_ticks: whole.start_ticks + 1, ..ending }.is_the_same_process(&whole));
}

#[test]
fn started_parts_are_stopped_and_killed_only_if_necessary() {
    let folder = tempfile::tempdir().unwrap();
    let willing = sleeper();
    let ours = record(ProcessIdentity::of(willing.0.id()).unwrap(), folder.path());
    assert!(matches!(process::stop(&ours, Duration::from_secs(10)).unwrap(), StopResult::Ended(_)));
    assert_eq!(process::stop(&ours, Duration::from_secs(10)).unwrap(), StopResult::WasGone);

    let mark = folder.path().join("deaf");
    let script = format!("trap '' TERM; touch '{}'; while :; do sleep 1; done", mark.display());
    let unwilling =
        Command::new("/bin/sh").args(["-c", &script]).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let unwilling = Guarded(unwilling.unwrap());
    until_blocking("the trap", PATIENCE, || mark.exists());
    let ours = record(ProcessIdentity::of(unwilling.0.id()).unwrap(), folder.path());
    assert!(matches!(process::stop(&ours, Duration::from_millis(200)).unwrap(), StopResult::Killed(_)));
}

/// The part prints its address, and its script becomes another program, as a launcher on `PATH` may.
#[tokio::test]
async fn a_part_is_started_once_and_again_when_it_died() {
    let folder = tempfile::tempdir().unwrap();
    let paths = StackPaths::of(folder.path());
    let (client, console) = (Client::new().unwrap(), Console::silent());
    let mut starter = Starter::new(&paths, &client, &console);
    let said = folder.path().join("said");
    std::fs::write(&said, "noise\nlistening on 127.0.0.1:4567\n").unwrap();
    let part = shell_part(&paths, &format!("sleep 0.1; exec tail -f '{}'", said.display()));
    let first = starter.ensure(part.clone()).await.unwrap();
    assert_eq!((first.address.as_str(), first.ports.as_slice()), ("127.0.0.1:4567", [4567].as_slice()));

    let mut second_up = Starter::new(&paths, &client, &console);
    assert_eq!(second_up.ensure(part.clone()).await.unwrap(), first);
    assert_eq!(second_up.started().count(), 0);
    process::stop(&first, Duration::from_secs(10)).unwrap();
    let again = second_up.ensure(part).await.unwrap();
    assert_ne!(again.process, first.process);
    assert!(paths.logs().join("venue-sim.previous.log").is_file(), "the log of the first run was not kept");
    stack::down(&paths, DataAfterStop::Keep, &console).unwrap();
    assert_eq!(again.state(), ProcessState::Gone);
}

#[tokio::test]
async fn a_crash_is_reported_with_the_end_of_its_log() {
    let folder = tempfile::tempdir().unwrap();
    let paths = StackPaths::of(folder.path());
    let (client, console) = (Client::new().unwrap(), Console::silent());
    let mut starter = Starter::new(&paths, &client, &console);
    let error =
        starter.ensure(shell_part(&paths, "echo cannot go on; exit 3")).await.unwrap_err().to_string();
    assert!(
        error.contains("venue-sim") && error.contains("status: 3") && error.contains("cannot go on"),
        "{error}"
    );
}

/// A repository with only the feeds' file, the command run in it, and unused ports.
fn command(root: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_marketprism-local"));
    std::fs::create_dir_all(root.join("deploy/local")).unwrap();
    std::fs::copy(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("venues.toml"),
        root.join("deploy/local/venues.toml"),
    )
    .unwrap();
    command.current_dir(root).args(arguments).stdin(Stdio::null());
    for name in ["MARKETPRISM_NATS_URL", "NATS_URL", "CLICKHOUSE_URL", "MARKETPRISM_CACHE"] {
        command.env_remove(name);
    }
    for name in ["NATS", "NATS_MONITORING", "CLICKHOUSE", "CENTRAL", "EDGE", "EDGE_METRICS"] {
        command.env(format!("MARKETPRISM_LOCAL__{name}_PORT"), free_port().to_string());
    }
    command
}

#[test]
fn an_occupied_port_is_reported_with_its_holder_before_anything_starts() {
    let folder = tempfile::tempdir().unwrap();
    let held: Vec<TcpListener> = (0..2).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let ports: Vec<u16> = held.iter().map(|listener| listener.local_addr().unwrap().port()).collect();
    let output = command(folder.path(), &["up"])
        .env("MARKETPRISM_LOCAL__NATS_PORT", ports[0].to_string())
        .env("MARKETPRISM_LOCAL__EDGE_PORT", ports[1].to_string())
        .output()
        .unwrap();
    assert!(!output.status.success());
    let told = String::from_utf8(output.stderr).unwrap();
    for (port, part, variable) in [
        (ports[0], "nats-server", "MARKETPRISM_LOCAL__NATS_PORT"),
        (ports[1], "edge", "MARKETPRISM_LOCAL__EDGE_PORT"),
    ] {
        let expected = format!("port {port} ({part}) is occupied by pid {}: ", std::process::id());
        assert!(told.contains(&expected) && told.contains(variable), "{expected:?} is not in {told}");
    }
    let paths = StackPaths::of(folder.path());
    assert!(!paths.logs().exists() && !paths.config().exists(), "something was started");
}

#[test]
fn down_reports_that_nothing_runs_and_deletes_data_only_after_a_yes() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join(".marketprism/nats");
    let download = folder.path().join(".marketprism/cache/kept");
    std::fs::create_dir_all(&data).unwrap();
    std::fs::create_dir_all(&download).unwrap();
    let down = command(folder.path(), &["down"]).output().unwrap();
    assert!(down.status.success());
    assert!(String::from_utf8(down.stdout).unwrap().contains("nothing runs"));
    let status = command(folder.path(), &["status"]).output().unwrap();
    assert_eq!(status.status.code(), Some(3));
    assert!(String::from_utf8(status.stdout).unwrap().contains("not started"));
    assert!(!command(folder.path(), &["down", "--purge"]).output().unwrap().status.success());
    assert!(data.is_dir(), "deleted without a yes");
    assert!(command(folder.path(), &["down", "--purge", "--yes"]).output().unwrap().status.success());
    assert!(!data.exists() && download.is_dir());
}

#[test]
fn diagnose_names_the_holder_of_a_port_and_of_a_lock_and_shows_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = held.local_addr().unwrap().port();
    let lock = folder.path().join(".marketprism/clickhouse/marketprism-clickhouse.lock");
    let _held_lock = FileLock::try_take(&lock).unwrap().unwrap();
    let output = command(folder.path(), &["diagnose"])
        .env("MARKETPRISM_LOCAL__EDGE_PORT", port.to_string())
        .output()
        .unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{told}");
    let id = std::process::id();
    for expected in [
        format!("FAIL  port {port} (edge): occupied by pid {id}: "),
        "move the port with MARKETPRISM_LOCAL__EDGE_PORT".to_owned(),
        format!("clickhouse/marketprism-clickhouse.lock: held by pid {id}"),
        "disk of .marketprism: ".to_owned(),
        "(nats-server): free".to_owned(),
    ] {
        assert!(told.contains(&expected), "{expected:?} is not in {told}");
    }
}

#[tokio::test]
async fn a_part_of_ours_learns_the_file_of_its_log_and_logs_prints_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let paths = StackPaths::of(folder.path());
    let (client, console) = (Client::new().unwrap(), Console::silent());
    let mut starter = Starter::new(&paths, &client, &console);
    let script = "echo \"listening on $MARKETPRISM_LOG_FILE\"; exec sleep 600";
    let record = starter.ensure(shell_part(&paths, script)).await.unwrap();
    assert_eq!(Path::new(&record.address), record.log);
    let output = command(folder.path(), &["logs", SIMULATOR]).output().unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && told.contains("listening on "), "{told}");
    let unknown = command(folder.path(), &["logs", "hedge"]).output().unwrap();
    let told = String::from_utf8(unknown.stderr).unwrap();
    assert!(told.contains("part \"hedge\" is not known (allowed: edge, "), "{told}");
    stack::down(&paths, DataAfterStop::Keep, &console).unwrap();
}

/// A shell that took the status of a stack that is unwell for success would hide it from scripts.
#[test]
fn make_status_fails_when_a_part_is_unwell() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let folder = tempfile::tempdir().unwrap();
    // The exit status of `marketprism-local status` then.
    for status in ["0", "3"] {
        let program = folder.path().join(status);
        std::fs::write(&program, format!("#!/bin/sh\nexit {status}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut make = Command::new("make");
        make.arg("-s").arg("-C").arg(root).arg("status").arg(format!("LOCAL={}", program.display()));
        assert_eq!(make.output().unwrap().status.success(), status == "0", "{status}");
    }
}
