//! Tools for the programs of one architecture: this machine's own, or those of a toolchain for another with its emulator.

use std::path::Path;
use std::process::Command;

use crate::architecture::Architecture;
use crate::cross_toolchain::{CrossToolchain, folder};

#[derive(Debug)]
pub struct Platform {
    pub architecture: Architecture,
    /// None for this machine's architecture.
    toolchain: Option<CrossToolchain>,
}

impl Platform {
    pub fn new(root: &Path, architecture: Architecture) -> anyhow::Result<Self> {
        let toolchain = if architecture == Architecture::of_host()? {
            None
        } else {
            Some(CrossToolchain::open(&folder(root, architecture))?)
        };
        Ok(Self { architecture, toolchain })
    }

    /// A tool of binutils.
    pub fn tool(&self, name: &str) -> Command {
        match &self.toolchain {
            None => Command::new(name),
            Some(toolchain) => toolchain.tool(&format!("{}-linux-gnu-{name}", self.architecture.machine())),
        }
    }

    /// A command that runs a packed program.
    pub fn program(&self, path: &Path) -> Command {
        match &self.toolchain {
            None => Command::new(path),
            Some(toolchain) => toolchain.emulated(path),
        }
    }
}
