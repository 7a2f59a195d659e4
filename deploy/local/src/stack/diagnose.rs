//! Checks of this machine: ports, disks, locks, ended parts; then those of central.

use std::path::Path;
use std::process::Command;

use marketprism_service::{DiskSpace, Exit, FileLock};

use super::plan::Plan;
use super::{CENTRAL, STOP_ORDER};
use crate::process::{self, PortHolder, ProcessRecord, ProcessState};
use crate::{Console, Engine, Settings, StackPaths};

/// Result of a check: what is well, or what is wrong and the remedy.
type Finding = Result<String, (String, String)>;

/// Prints every check; fails if one of them or of central's does.
pub fn diagnose(paths: &StackPaths, settings: &Settings, console: &Console) -> anyhow::Result<Exit> {
    let plan = Plan::new(paths, settings, console);
    let mut findings = Vec::new();
    for part in STOP_ORDER.iter().rev() {
        if let Some(record) = ProcessRecord::load(&paths.run(), part)? {
            findings.push((format!("process {part}"), process_of(&record)));
        }
    }
    for (part, ports) in plan.required_parts() {
        let record = ProcessRecord::load(&paths.run(), part)?;
        for port in ports {
            findings.push((
                format!("port {} ({part})", port.port),
                port_of(port.port, &port.variable, record.as_ref()),
            ));
        }
    }
    for folder in [&paths.state, &paths.cache] {
        findings.push((format!("disk of {}", paths.shown(folder)), disk_of(folder)));
    }
    let engines = [Engine::Hot, Engine::Cold].map(|engine| paths.engine_data(engine));
    let locks = engines.into_iter().flatten().map(|data| data.join("marketprism-clickhouse.lock"));
    for lock in locks.chain([paths.run().join("lock")]).filter(|lock| lock.is_file()) {
        findings.push((format!("lock {}", paths.shown(&lock)), lock_of(paths, &lock)?));
    }
    let mut is_good = true;
    for (object, finding) in findings {
        match finding {
            Ok(text) => console.say(format!("ok    {object}: {text}")),
            Err((text, remedy)) => {
                is_good = false;
                console.say(format!("FAIL  {object}: {text}\n      {remedy}"));
            }
        }
    }
    let is_central_good = central(paths, console)?;
    Ok(if is_good && is_central_good { Exit::SUCCESS } else { Exit::FAILED })
}

fn process_of(record: &ProcessRecord) -> Finding {
    let pid = record.process.pid;
    match record.state() {
        ProcessState::Alive => Ok(format!("runs as pid {pid}")),
        ProcessState::Gone | ProcessState::Reused { .. } => {
            let text =
                format!("has ended without `make down` (pid {pid}); its log: {}", record.log.display());
            Err((text, "`make up` starts it again".to_owned()))
        }
    }
}

fn port_of(port: u16, variable: &str, record: Option<&ProcessRecord>) -> Finding {
    if process::is_free(port).unwrap_or(false) {
        return Ok("free".to_owned());
    }
    let holder = process::holder_of(port);
    let ours = record.filter(|record| record.state() == ProcessState::Alive).map(|record| record.process.pid);
    match (&holder, ours) {
        (PortHolder::Process { pid, .. }, Some(ours)) if *pid == ours => {
            Ok(format!("held by the part, pid {pid}"))
        }
        _ => Err((
            format!("occupied by {holder}"),
            format!("stop that process, or move the port with {variable}"),
        )),
    }
}

fn disk_of(folder: &Path) -> Finding {
    match DiskSpace::of(folder) {
        Err(error) => Err((error.to_string(), "check the folder's file system".to_owned())),
        Ok(space) => {
            let text = format!("{} of {} MiB free", space.free_bytes >> 20, space.total_bytes >> 20);
            if space.is_low() { Err((text, "free disk space".to_owned())) } else { Ok(text) }
        }
    }
}

/// Held locks name their holder, which must be a part of this stack or a command that is running.
fn lock_of(paths: &StackPaths, lock: &Path) -> anyhow::Result<Finding> {
    let holder = match FileLock::try_take(lock)? {
        Ok(_free) => return Ok(Ok("free".to_owned())),
        Err(holder) => holder,
    };
    let mut records = Vec::new();
    for part in STOP_ORDER {
        records.extend(ProcessRecord::load(&paths.run(), part)?);
    }
    let command = holder.parse().ok().and_then(process::command_of).unwrap_or_else(|| "?".to_owned());
    let part = records.iter().find(|record| record.process.pid.to_string() == holder);
    Ok(match part {
        Some(record) => Ok(format!("held by {}, pid {holder}", record.part)),
        None if command.contains("marketprism-local") => Ok(format!("held by pid {holder}: {command}")),
        None => {
            let text = format!("held by pid {holder}, which this stack did not start: {command}");
            Err((text, "end that process: the data can be used by one at a time".to_owned()))
        }
    })
}

/// Central's own checks; none before its first start.
fn central(paths: &StackPaths, console: &Console) -> anyhow::Result<bool> {
    let (binary, config) =
        (paths.binaries().join("marketprism-central"), paths.config().join("central.toml"));
    if !binary.is_file() || !config.is_file() {
        console.say("central was never started: its checks are left out");
        return Ok(true);
    }
    let mut command = Command::new(binary);
    command.arg("diagnose").arg("--config").arg(config).current_dir(&paths.root);
    process::keep_sections(&mut command, super::plan::CENTRAL_SECTIONS);
    if let Some(record) = ProcessRecord::load(&paths.run(), CENTRAL)? {
        console.say(format!("central ({}) says:", record.address));
    }
    Ok(command.status()?.success())
}
