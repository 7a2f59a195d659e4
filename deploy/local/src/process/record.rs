use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::{ProcessIdentity, command_of};

/// A started part, kept as JSON in the run folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessRecord {
    pub part: String,
    pub process: ProcessIdentity,
    /// Where it listens, for people.
    pub address: String,
    /// Ports assigned to it.
    pub ports: Vec<u16>,
    pub log: PathBuf,
    /// Purpose of this start, such as live or simulated venues.
    pub note: String,
}

/// State of a recorded process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProcessState {
    Alive,
    Gone,
    /// It has ended and its id was reused.
    Reused {
        /// Command line of the process with this id.
        command: String,
    },
}

impl ProcessRecord {
    /// Replaces the file atomically.
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

    /// `None` if the part was not started.
    pub fn load(folder: &Path, part: &str) -> anyhow::Result<Option<Self>> {
        let path = path_of(folder, part);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("{} cannot be read", path.display())),
        };
        let record = serde_json::from_str(&text)
            .with_context(|| format!("{} is not a record of a process", path.display()))?;
        Ok(Some(record))
    }

    pub fn remove(folder: &Path, part: &str) -> anyhow::Result<()> {
        let path = path_of(folder, part);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("{} cannot be deleted", path.display()))
            }
            _ => Ok(()),
        }
    }

    pub fn state(&self) -> ProcessState {
        match ProcessIdentity::of(self.process.pid) {
            None => ProcessState::Gone,
            Some(found) if found.is_the_same_process(&self.process) => ProcessState::Alive,
            Some(found) => {
                let command = command_of(found.pid).unwrap_or_else(|| found.program.display().to_string());
                ProcessState::Reused { command }
            }
        }
    }
}

fn path_of(folder: &Path, part: &str) -> PathBuf {
    folder.join(format!("{part}.json"))
}
