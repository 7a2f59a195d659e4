use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, ensure};
use marketprism_service::Exit;

use super::STOP_ORDER;
use crate::{StackPaths, limits};

/// Prints the end of the parts' logs, and what follows with `follow`. `tail` also follows a log that is rotated.
pub fn logs(paths: &StackPaths, parts: &[String], follow: bool) -> anyhow::Result<Exit> {
    for part in parts {
        let known = STOP_ORDER.join(", ");
        ensure!(STOP_ORDER.contains(&part.as_str()), "part {part:?} is not known (allowed: {known})");
    }
    let wanted =
        STOP_ORDER.iter().rev().filter(|name| parts.is_empty() || parts.iter().any(|part| part == *name));
    let files: Vec<PathBuf> = wanted.map(|name| paths.logs().join(format!("{name}.log"))).collect();
    let files: Vec<PathBuf> = files.into_iter().filter(|file| file.is_file()).collect();
    ensure!(!files.is_empty(), "no log in {}: start the parts with `make up`", paths.logs().display());
    let mut arguments: Vec<OsString> =
        vec!["-n".into(), limits::LOG_TAIL_LINES.to_string().into(), "-v".into()];
    if follow {
        arguments.push("-F".into());
    }
    let status =
        Command::new("tail").args(arguments).args(files).status().context("tail cannot be started")?;
    Ok(if status.success() { Exit::SUCCESS } else { Exit::FAILED })
}
