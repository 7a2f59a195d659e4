//! Starts parts and waits until they are ready.

use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use super::{PartSpec, PortUse, ReadyCheck};
use crate::process::{self, PortHolder, ProcessIdentity, ProcessRecord, ProcessState};
use crate::{Client, Console, StackPaths, limits};

/// Starts parts and watches the ones it started.
pub struct Starter<'a> {
    paths: &'a StackPaths,
    pub(super) client: &'a Client,
    console: &'a Console,
    children: Vec<(&'static str, Child)>,
}

impl<'a> Starter<'a> {
    pub const fn new(paths: &'a StackPaths, client: &'a Client, console: &'a Console) -> Self {
        Self { paths, client, console, children: Vec::new() }
    }

    pub fn running(&self, part: &str) -> anyhow::Result<Option<ProcessRecord>> {
        let record = ProcessRecord::load(&self.paths.run(), part)?;
        Ok(record.filter(|record| record.state() == ProcessState::Alive))
    }

    /// The last record of a part, running or not.
    pub fn last(&self, part: &str) -> anyhow::Result<Option<ProcessRecord>> {
        ProcessRecord::load(&self.paths.run(), part)
    }

    pub fn started(&self) -> impl Iterator<Item = &'static str> {
        self.children.iter().map(|(part, _)| *part)
    }

    /// Starts a part unless it runs, and waits until it is ready.
    pub async fn ensure(&mut self, part: PartSpec) -> anyhow::Result<ProcessRecord> {
        if let Some(record) = self.running(part.name)? {
            return Ok(record);
        }
        let started = Instant::now();
        let log = self.fresh_log(part.name)?;
        let mut child = process::spawn(&part.program, &log)?;
        let Some(identity) = ProcessIdentity::of(child.id()) else {
            bail!("{} ended during its start{}", part.name, end_of(&mut child, &log));
        };
        let mut record = ProcessRecord {
            part: part.name.to_owned(),
            process: identity,
            address: part.address.clone(),
            ports: part.ports.iter().map(|port| port.port).collect(),
            log,
            note: part.note.clone(),
        };
        // Saved before it is ready: after an interrupt here `down` still stops it.
        record.save(&self.paths.run())?;
        self.children.push((part.name, child));
        self.wait_ready(&part, &mut record).await?;
        // A launcher script may have replaced itself by another program with exec.
        if let Some(identity) = ProcessIdentity::of(record.process.pid) {
            record.process = identity;
        }
        record.save(&self.paths.run())?;
        let took = started.elapsed().as_millis();
        self.console
            .say(format!("  {:<12} pid {:<8} {} ({took} ms)", part.name, record.process.pid, record.address));
        Ok(record)
    }

    /// Runs a program to its end; returns its exit status and log.
    pub async fn run_to_end(
        &self,
        part: &PartSpec,
        name: &str,
        wait: Duration,
    ) -> anyhow::Result<(Option<i32>, PathBuf)> {
        let log = self.fresh_log(name)?;
        let mut child = process::spawn(&part.program, &log)?;
        let deadline = Instant::now() + wait;
        loop {
            if let Some(status) =
                child.try_wait().with_context(|| format!("{name} has no readable exit status"))?
            {
                return Ok((status.code(), log));
            }
            if Instant::now() >= deadline {
                drop(child.kill());
                let tail = end_of(&mut child, &log);
                bail!("{name} did not end within {} s and was killed{tail}", wait.as_secs());
            }
            tokio::time::sleep(limits::PART_POLL).await;
        }
    }

    /// Fails with the first started part that has ended.
    pub fn check_alive(&mut self) -> anyhow::Result<()> {
        for (part, child) in &mut self.children {
            if child.try_wait().with_context(|| format!("{part} has no readable exit status"))?.is_some() {
                let log = log_of(self.paths, part);
                bail!("{part} has ended{}", end_of(child, &log));
            }
        }
        Ok(())
    }

    async fn wait_ready(&mut self, part: &PartSpec, record: &mut ProcessRecord) -> anyhow::Result<()> {
        let deadline = Instant::now() + limits::START_WAIT;
        loop {
            self.check_alive()?;
            let why = match &part.ready {
                ReadyCheck::Healthy(url) | ReadyCheck::Answers(url) => match self.client.get(url).await {
                    Ok(answer) if answer.status == 200 || matches!(part.ready, ReadyCheck::Answers(_)) => {
                        return Ok(());
                    }
                    Ok(answer) => {
                        format!("{url} answers with status {}: {}", answer.status, answer.body.trim())
                    }
                    Err(error) => format!("{url}: {}", error.root_cause()),
                },
                ReadyCheck::Line(start) => match line_after(&record.log, start) {
                    Some(address) => {
                        record.ports = address
                            .rsplit_once(':')
                            .and_then(|(_, port)| port.parse().ok())
                            .into_iter()
                            .collect();
                        record.address = address;
                        return Ok(());
                    }
                    None => format!("no output line starts with {start:?}"),
                },
            };
            if Instant::now() >= deadline {
                let (name, wait) = (part.name, limits::START_WAIT.as_secs());
                let tail = process::tail_indented(&record.log);
                bail!(
                    "{name} is not ready after {wait} s: {why}\n  the end of {}:{tail}",
                    record.log.display()
                );
            }
            tokio::time::sleep(limits::PART_POLL).await;
        }
    }

    fn fresh_log(&self, name: &str) -> anyhow::Result<PathBuf> {
        let log = log_of(self.paths, name);
        let prepared = std::fs::create_dir_all(self.paths.logs()).and_then(|()| process::rotate(&log));
        prepared.with_context(|| format!("{} cannot be prepared", log.display()))?;
        Ok(log)
    }
}

/// Fails if a port is occupied, before anything is started; names every holder.
pub(super) fn require_free(parts: &[(&'static str, Vec<PortUse>)]) -> anyhow::Result<()> {
    let mut problems = Vec::new();
    let mut seen: Vec<(u16, &str)> = Vec::new();
    for (part, port) in parts.iter().flat_map(|(part, ports)| ports.iter().map(move |port| (*part, port))) {
        let (number, variable) = (port.port, &port.variable);
        if number == 0 {
            continue;
        }
        if let Some((_, other)) = seen.iter().find(|(taken, _)| *taken == number) {
            problems
                .push(format!("port {number} is configured for {other} and {part}; {variable} changes it"));
        }
        seen.push((number, part));
        match process::is_free(number) {
            Ok(true) => {}
            Ok(false) => {
                let holder: PortHolder = process::holder_of(number);
                problems
                    .push(format!("port {number} ({part}) is occupied by {holder}; {variable} changes it"));
            }
            Err(error) => problems.push(format!("port {number} ({part}): {error}; {variable} changes it")),
        }
    }
    anyhow::ensure!(problems.is_empty(), "nothing was started:\n  {}", problems.join("\n  "));
    Ok(())
}

fn log_of(paths: &StackPaths, name: &str) -> PathBuf {
    paths.logs().join(format!("{name}.log"))
}

/// Exit status and end of the log of a child.
fn end_of(child: &mut Child, log: &Path) -> String {
    let status = child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
    format!(" ({status})\n  the end of {}:{}", log.display(), process::tail_indented(log))
}

/// The rest of the first complete line with this start.
fn line_after(log: &Path, start: &str) -> Option<String> {
    let text = std::fs::read_to_string(log).ok()?;
    let line = text.split_inclusive('\n').find(|line| line.starts_with(start) && line.ends_with('\n'))?;
    line.strip_prefix(start).map(|rest| rest.trim().to_owned())
}
