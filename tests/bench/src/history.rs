//! The figures of every run, in `target/bench-history.jsonl`: how a figure of this machine went from commit to commit.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use marketprism_tests::figures::Report;
use marketprism_tests::parts;
use serde_json::{Value, json};

fn path() -> PathBuf {
    parts::root().join("target/bench-history.jsonl")
}

/// Adds a run.
pub fn append(report: &Report, command: &str) -> Result<()> {
    let cores = std::thread::available_parallelism()?.get();
    let at = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let run = json!({
        "at": at, "commit": commit()?, "processor": processor(), "cores": cores,
        "command": command, "figures": report.to_json(),
    });
    let mut file = OpenOptions::new().create(true).append(true).open(path())?;
    writeln!(file, "{run}").with_context(|| format!("{} cannot be written", path().display()))
}

/// Prints the runs of every figure whose name contains `text`, oldest first.
// An index of JSON that is not there gives null.
#[allow(clippy::indexing_slicing)]
pub fn print(text: &str, out: &mut impl Write) -> Result<()> {
    let file = File::open(path()).with_context(|| format!("no run is in {}", path().display()))?;
    let mut lines = Vec::new();
    for (number, line) in BufReader::new(file).lines().enumerate() {
        let run: Value = serde_json::from_str(&line?)
            .with_context(|| format!("line {} of {}", number + 1, path().display()))?;
        for figure in run["figures"].as_array().into_iter().flatten() {
            let name = figure["name"].as_str().unwrap_or_default();
            if name.contains(text) {
                let [value, unit] = ["value", "unit"].map(|key| &figure[key]);
                let value = value.as_f64().map_or_else(|| "?".to_owned(), |value| format!("{value:.4}"));
                let when = format!("{} {}", run["at"], run["commit"].as_str().unwrap_or("?"));
                lines
                    .push((name.to_owned(), format!("{when} {value} {}", unit.as_str().unwrap_or_default())));
            }
        }
    }
    lines.sort_by(|(left, _), (right, _)| left.cmp(right));
    let mut last = None;
    for (name, line) in &lines {
        if last != Some(name) {
            writeln!(out, "{name}")?;
            last = Some(name);
        }
        writeln!(out, "  {line}")?;
    }
    Ok(())
}

/// With `+` where the folder differs from it.
fn commit() -> Result<String> {
    let git = |arguments: &[&str]| -> Result<String> {
        let output = Command::new("git").arg("-C").arg(parts::root()).args(arguments).output()?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let dirty = if git(&["status", "--porcelain"])?.is_empty() { "" } else { "+" };
    Ok(git(&["rev-parse", "--short=12", "HEAD"])? + dirty)
}

fn processor() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(": ")?.1.to_owned())
}
