//! Starts a part unless it runs, and waits until it is ready.

use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use super::{PartSpec, PortUse, Ready};
use crate::process::{self, Identity, Liveness, PortHolder, Record};
use crate::{Client, Console, Home, limits};

/// Starts parts, and watches those that it started.
#[derive(Debug)]
pub struct Starter<'a> {
    home: &'a Home,
    client: &'a Client,
    console: &'a Console,
    children: Vec<(&'static str, Child)>,
}

impl<'a> Starter<'a> {
    /// A starter that has started nothing.
    #[must_use]
    pub const fn new(home: &'a Home, client: &'a Client, console: &'a Console) -> Self {
        Self { home, client, console, children: Vec::new() }
    }

    /// The record of a part that runs.
    pub fn running(&self, part: &str) -> anyhow::Result<Option<Record>> {
        let record = Record::load(&self.home.run(), part)?;
        Ok(record.filter(|record| record.liveness() == Liveness::Alive))
    }

    /// What was last known of a part, whether it runs or not.
    pub fn last(&self, part: &str) -> anyhow::Result<Option<Record>> {
        Record::load(&self.home.run(), part)
    }

    /// The parts that it started, in order.
    pub fn started(&self) -> impl Iterator<Item = &'static str> {
        self.children.iter().map(|(part, _)| *part)
    }

    /// Who asks the parts.
    #[must_use]
    pub const fn client(&self) -> &Client {
        self.client
    }

    /// Starts a part unless it runs, and waits until it is ready.
    pub async fn ensure(&mut self, part: PartSpec) -> anyhow::Result<Record> {
        if let Some(record) = self.running(part.name)? {
            return Ok(record);
        }
        let begun = Instant::now();
        let log = self.fresh_log(part.name)?;
        let mut child = process::spawn(&part.program, &log)?;
        let Some(identity) = Identity::of(child.id()) else {
            bail!("{} ended at once{}", part.name, end_of(&mut child, &log));
        };
        let mut record = Record {
            part: part.name.to_owned(),
            process: identity,
            address: part.address.clone(),
            ports: part.ports.iter().map(|port| port.port).collect(),
            log,
            note: part.note.clone(),
        };
        // Saved before it is ready: an `up` that is interrupted here leaves nothing that `down` does not know.
        record.save(&self.home.run())?;
        self.children.push((part.name, child));
        self.wait_ready(&part, &mut record).await?;
        // A script that became the program by exec is the same process with another program.
        if let Some(identity) = Identity::of(record.process.pid) {
            record.process = identity;
        }
        record.save(&self.home.run())?;
        let took = begun.elapsed().as_millis();
        self.console
            .say(format!("  {:<12} pid {:<8} {} ({took} ms)", part.name, record.process.pid, record.address));
        Ok(record)
    }

    /// Runs a program to its end and gives its exit status and the log of its output.
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
            if let Some(status) = child.try_wait().with_context(|| format!("{name} cannot be waited for"))? {
                return Ok((status.code(), log));
            }
            if Instant::now() >= deadline {
                drop(child.kill());
                let tail = end_of(&mut child, &log);
                bail!("{name} did not end within {} s and was stopped{tail}", wait.as_secs());
            }
            tokio::time::sleep(limits::PART_POLL).await;
        }
    }

    /// An error that tells the first part that ended since it was started.
    pub fn check_alive(&mut self) -> anyhow::Result<()> {
        for (part, child) in &mut self.children {
            if child.try_wait().with_context(|| format!("{part} cannot be watched"))?.is_some() {
                let log = log_of(self.home, part);
                bail!("{part} has ended{}", end_of(child, &log));
            }
        }
        Ok(())
    }

    async fn wait_ready(&mut self, part: &PartSpec, record: &mut Record) -> anyhow::Result<()> {
        let deadline = Instant::now() + limits::START_WAIT;
        loop {
            self.check_alive()?;
            let why = match &part.ready {
                Ready::Healthy(url) | Ready::Answers(url) => match self.client.get(url).await {
                    Ok(answer) if answer.status == 200 || matches!(part.ready, Ready::Answers(_)) => {
                        return Ok(());
                    }
                    Ok(answer) => {
                        format!("{url} answers with status {}: {}", answer.status, answer.body.trim())
                    }
                    Err(error) => format!("{url}: {}", error.root_cause()),
                },
                Ready::Line(start) => match line_after(&record.log, start) {
                    Some(address) => {
                        record.ports = address
                            .rsplit_once(':')
                            .and_then(|(_, port)| port.parse().ok())
                            .into_iter()
                            .collect();
                        record.address = address;
                        return Ok(());
                    }
                    None => format!("no line {start:?} in its output"),
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
        let log = log_of(self.home, name);
        let prepared = std::fs::create_dir_all(self.home.logs()).and_then(|()| process::rotate(&log));
        prepared.with_context(|| format!("{} cannot be prepared", log.display()))?;
        Ok(log)
    }
}

/// Refuses when one of the ports is taken, naming who holds each, before anything is started.
pub(super) fn require_free(parts: &[(&'static str, Vec<PortUse>)]) -> anyhow::Result<()> {
    let mut problems = Vec::new();
    let mut seen: Vec<(u16, &str)> = Vec::new();
    for (part, port) in parts.iter().flat_map(|(part, ports)| ports.iter().map(move |port| (*part, port))) {
        let (number, variable) = (port.port, &port.variable);
        if number == 0 {
            continue;
        }
        if let Some((_, other)) = seen.iter().find(|(taken, _)| *taken == number) {
            problems.push(format!("port {number} is asked for by {other} and {part}; {variable} changes it"));
        }
        seen.push((number, part));
        match process::is_free(number) {
            Ok(true) => {}
            Ok(false) => {
                let holder: PortHolder = process::holder_of(number);
                problems.push(format!("port {number} ({part}) is held by {holder}; {variable} changes it"));
            }
            Err(error) => problems.push(format!("port {number} ({part}): {error}; {variable} changes it")),
        }
    }
    anyhow::ensure!(problems.is_empty(), "nothing was started:\n  {}", problems.join("\n  "));
    Ok(())
}

fn log_of(home: &Home, name: &str) -> PathBuf {
    home.logs().join(format!("{name}.log"))
}

/// How a child ended, and the end of its log.
fn end_of(child: &mut Child, log: &Path) -> String {
    let status = child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
    format!(" ({status})\n  the end of {}:{}", log.display(), process::tail_indented(log))
}

/// The rest of the first whole line that starts so.
fn line_after(log: &Path, start: &str) -> Option<String> {
    let text = std::fs::read_to_string(log).ok()?;
    let line = text.split_inclusive('\n').find(|line| line.starts_with(start) && line.ends_with('\n'))?;
    line.strip_prefix(start).map(|rest| rest.trim().to_owned())
}
