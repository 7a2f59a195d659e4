//! The architectures that packages are made for.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use clap::ValueEnum;

/// Named as Debian names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Architecture {
    #[value(alias = "x86_64")]
    Amd64,
    #[value(alias = "aarch64")]
    Arm64,
}

impl Architecture {
    pub fn of_host() -> anyhow::Result<Self> {
        match std::env::consts::ARCH {
            "x86_64" => Ok(Self::Amd64),
            "aarch64" => Ok(Self::Arm64),
            other => bail!("this machine is {other} (packages are made for: amd64, arm64)"),
        }
    }

    /// False for programs that run on `host` itself. Fails if they can neither be built nor be started there.
    pub fn is_foreign(self, host: Self) -> anyhow::Result<bool> {
        match (host, self) {
            (host, own) if host == own => Ok(false),
            (Self::Amd64, Self::Arm64) => Ok(true),
            (host, other) => bail!(
                "{other} packages cannot be made on {host} (allowed here: {host}); make them on a machine with {other}",
                other = other.debian(),
                host = host.debian()
            ),
        }
    }

    pub fn debian(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// Name in kernel and file names.
    pub fn machine(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64",
            Self::Arm64 => "aarch64",
        }
    }

    /// Rust's name of the platform.
    pub fn target(self) -> String {
        format!("{}-unknown-linux-gnu", self.machine())
    }

    /// `e_machine` of its ELF files.
    fn elf_machine(self) -> u16 {
        match self {
            Self::Amd64 => 62,
            Self::Arm64 => 183,
        }
    }

    /// Fails if a program is for another architecture.
    pub fn check(self, program: &Path) -> anyhow::Result<()> {
        let shown = || program.display().to_string();
        let mut header = [0; 20];
        File::open(program).and_then(|mut file| file.read_exact(&mut header)).with_context(shown)?;
        let [0x7f, b'E', b'L', b'F', .., low, high] = header else {
            bail!("{}: no ELF file", shown());
        };
        let found = u16::from_le_bytes([low, high]);
        ensure!(
            found == self.elf_machine(),
            "{}: built for ELF machine {found} (expected: {}, {})",
            shown(),
            self.elf_machine(),
            self.debian()
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_of_another_architecture_is_refused() {
        let own = std::env::current_exe().unwrap();
        let (host, other) = match Architecture::of_host().unwrap() {
            Architecture::Amd64 => (Architecture::Amd64, Architecture::Arm64),
            Architecture::Arm64 => (Architecture::Arm64, Architecture::Amd64),
        };
        host.check(&own).unwrap();
        let refused = other.check(&own).unwrap_err().to_string();
        assert!(
            refused.contains(&host.elf_machine().to_string()) && refused.contains(other.debian()),
            "{refused}"
        );
        let script = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(script.path(), "#!/bin/sh\n# longer than an ELF header\n").unwrap();
        let refused = host.check(script.path()).unwrap_err().to_string();
        assert!(refused.ends_with("no ELF file"), "{refused}");
    }
}
