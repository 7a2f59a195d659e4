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
    /// Of a machine with the architecture `host`.
    pub fn new(root: &Path, host: Architecture, architecture: Architecture) -> anyhow::Result<Self> {
        let toolchain = if architecture.is_foreign(host)? {
            Some(CrossToolchain::open(&folder(root, architecture))?)
        } else {
            None
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::architecture::Architecture::{Amd64, Arm64};

    #[test]
    fn an_architecture_that_cannot_be_built_here_is_refused_without_a_build_to_run() {
        let root = tempfile::tempdir().unwrap();
        let refused = Platform::new(root.path(), Arm64, Amd64).unwrap_err().to_string();
        assert!(
            refused.contains("amd64 packages cannot be made on arm64 (allowed here: arm64)"),
            "{refused}"
        );
        assert!(!refused.contains("marketprism-dist build"), "{refused}");
        let unbuilt = Platform::new(root.path(), Amd64, Arm64).unwrap_err().to_string();
        assert!(unbuilt.contains("run `marketprism-dist build --arch arm64`"), "{unbuilt}");
        assert!(Platform::new(root.path(), Arm64, Arm64).is_ok());
    }
}
