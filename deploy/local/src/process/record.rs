//! What is known of a part that was started.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::{Identity, command_of};

/// What is known of a part that was started; kept as JSON in the run folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The part.
    pub part: String,
    /// Its process.
    pub process: Identity,
    /// Where it listens, for people.
    pub address: String,
    /// Ports that it was given.
    pub ports: Vec<u16>,
    /// Its output.
    pub log: PathBuf,
    /// What it was started for, such as which venues.
    pub note: String,
}

/// Whether the process of a record still runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Liveness {
    /// It runs.
    Alive,
    /// It has ended.
    Gone,
    /// It has ended, and its id is another process's now.
    Reused {
        /// That one's command line.
        command: String,
    },
}

impl Record {
    /// Writes the record, whole or not at all.
    pub fn save(&self, folder: &Path) -> anyhow::Result<()> {
        let path = path_of(folder, &self.part);
        let write = || -> anyhow::Result<()> {
            std::fs::create_dir_all(folder)?;
            let fresh = path.with_extension("new");
            std::fs::write(&fresh, serde_json::to_vec_pretty(self)?)?;
            std::fs::rename(&fresh, &path)?;
            Ok(())
        };
        write().with_context(|| format!("{} cannot be written", path.display()))
    }

    /// Reads the record of a part; nothing where it was not started.
    pub fn load(folder: &Path, part: &str) -> anyhow::Result<Option<Self>> {
        let path = path_of(folder, part);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("{} cannot be read", path.display())),
        };
        let record = serde_json::from_str(&text)
            .with_context(|| format!("{} is no record of a process", path.display()))?;
        Ok(Some(record))
    }

    /// Forgets the part.
    pub fn remove(folder: &Path, part: &str) -> anyhow::Result<()> {
        let path = path_of(folder, part);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("{} cannot be deleted", path.display()))
            }
            _ => Ok(()),
        }
    }

    /// Whether its process still runs.
    #[must_use]
    pub fn liveness(&self) -> Liveness {
        match Identity::of(self.process.pid) {
            None => Liveness::Gone,
            Some(found) if found.is_the_same_process(&self.process) => Liveness::Alive,
            Some(found) => {
                let command = command_of(found.pid).unwrap_or_else(|| found.program.display().to_string());
                Liveness::Reused { command }
            }
        }
    }
}

fn path_of(folder: &Path, part: &str) -> PathBuf {
    folder.join(format!("{part}.json"))
}
