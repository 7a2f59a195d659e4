//! Debian's compilers for arm64, linker, binutils and emulator, unpacked into a folder of their own: nothing is installed on this machine,
//! no architecture is added to it, and root is not needed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

use crate::architecture::Architecture;
use crate::tools::{files, run, run_shown, write};

/// Taken with what they depend on and this machine lacks.
const PACKAGES: [&str; 4] =
    ["rustc-web", "gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross", "qemu-user-static"];

/// The standard library. It is linked statically, so nothing that it depends on is taken.
const STANDARD_LIBRARY: &str = "libstd-rust-web-dev:arm64";

/// Packages with such names are taken even if this machine has them, so that the folder is complete.
const OWN: [&str; 6] = ["rustc-web", "rust-web", "cargo-web", "aarch64", "arm64", "qemu-user-static"];

const BY_HAND: &str =
    "the packages are those of Debian 12; they are downloaded by apt-get from the sources of this machine";

/// Folder of a toolchain and of what it builds, below the root of the repository.
pub fn folder(root: &Path, architecture: Architecture) -> PathBuf {
    root.join("target").join(architecture.debian())
}

#[derive(Debug)]
pub struct CrossToolchain {
    /// As the packages would fill `/`.
    root: PathBuf,
}

impl CrossToolchain {
    /// Of a folder that `install` filled.
    pub fn open(folder: &Path) -> anyhow::Result<Self> {
        let root = folder.join("root");
        if !root.is_dir() {
            bail!("{}: no compilers for arm64; run `marketprism-dist build --arch arm64`", root.display());
        }
        Ok(Self { root: fs::canonicalize(&root).with_context(|| root.display().to_string())? })
    }

    /// Downloads and unpacks the packages, unless they are there.
    pub fn install(folder: &Path) -> anyhow::Result<Self> {
        if let Ok(present) = Self::open(folder) {
            return Ok(present);
        }
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        let folder = fs::canonicalize(folder).with_context(|| folder.display().to_string())?;
        let (apt, unpacked) = (folder.join("apt"), folder.join("unpacked"));
        for leftover in [&apt, &unpacked] {
            if leftover.exists() {
                fs::remove_dir_all(leftover).with_context(|| leftover.display().to_string())?;
            }
        }
        let archives = download(&apt).context(BY_HAND)?;
        for package in files(&archives, "deb")? {
            run(Command::new("dpkg-deb").arg("--extract").arg(package).arg(&unpacked))?;
        }
        fs::remove_dir_all(&apt).with_context(|| apt.display().to_string())?;
        // Last: a folder of this name is complete.
        fs::rename(&unpacked, folder.join("root")).with_context(|| unpacked.display().to_string())?;
        Self::open(&folder)
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Of `name`, such as `aarch64-linux-gnu-gcc`.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join("usr/bin").join(name)
    }

    /// Shared libraries of its programs.
    pub fn libraries(&self) -> PathBuf {
        self.root.join("usr/lib/x86_64-linux-gnu")
    }

    pub fn tool(&self, name: &str) -> Command {
        let mut command = Command::new(self.path(name));
        command.env("LD_LIBRARY_PATH", self.libraries());
        command
    }

    /// Runs a program of arm64 in the emulator.
    pub fn emulated(&self, program: &Path) -> Command {
        let mut command = Command::new(self.path("qemu-aarch64-static"));
        command.arg("-L").arg(self.root.join("usr/aarch64-linux-gnu")).arg(program);
        command
    }
}

/// With lists and a status of apt's own below `apt`. Returns the folder of the packages.
fn download(apt: &Path) -> anyhow::Result<PathBuf> {
    let archives = apt.join("archives");
    for folder in [apt.join("lists/partial"), archives.join("partial")] {
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    }
    let status = "/var/lib/dpkg/status";
    let installed = fs::read_to_string(status).context(status)?;
    write(&apt.join("status"), without_own(&installed))?;
    run_shown(apt_get(apt).arg("update"))?;
    run_shown(
        apt_get(apt).args(["install", "--yes", "--download-only", "--no-install-recommends"]).args(PACKAGES),
    )?;
    run_shown(apt_get(apt).args(["download", STANDARD_LIBRARY]).current_dir(&archives))?;
    Ok(archives)
}

fn apt_get(apt: &Path) -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").arg("--quiet");
    for (option, folder) in [
        ("Dir::State::lists", "lists"),
        ("Dir::State::status", "status"),
        ("Dir::Cache::archives", "archives"),
    ] {
        command.arg("-o").arg(format!("{option}={}", apt.join(folder).display()));
    }
    for cache in ["pkgcache", "srcpkgcache"] {
        command.arg("-o").arg(format!("Dir::Cache::{cache}="));
    }
    command.args(["-o", "APT::Architectures::=amd64", "-o", "APT::Architectures::=arm64"]);
    // As root apt would download as a user that may not write to this folder.
    command.args(["-o", "APT::Sandbox::User=root"]);
    command
}

/// The status file of dpkg without the packages of this toolchain.
fn without_own(status: &str) -> String {
    let is_other = |package: &&str| {
        let name = package.lines().find_map(|line| line.strip_prefix("Package: ")).unwrap_or_default();
        !OWN.iter().any(|own| name.contains(own))
            && !package.lines().any(|line| line == "Architecture: arm64")
    };
    status.split_inclusive("\n\n").filter(is_other).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_that_the_machine_has_already_are_downloaded_too() {
        let package = |name: &str, architecture: &str| {
            format!("Package: {name}\nStatus: install ok installed\nArchitecture: {architecture}\n\n")
        };
        let kept = package("libz3-4", "amd64") + &package("gcc", "amd64");
        let own = [
            package("rustc-web", "amd64"),
            package("libstd-rust-web-dev", "amd64"),
            package("gcc-12-aarch64-linux-gnu", "amd64"),
            package("libc6-arm64-cross", "all"),
            package("libc6", "arm64"),
        ];
        let status = format!("{}{kept}{}", own[..2].concat(), own[2..].concat());
        assert_eq!(without_own(&status), kept);
    }

    #[test]
    fn nothing_of_this_machine_is_changed_by_apt() {
        let command = apt_get(Path::new("/folder/apt"));
        let arguments: Vec<String> =
            command.get_args().map(|argument| argument.to_string_lossy().into_owned()).collect();
        for kept_apart in ["Dir::State::lists=", "Dir::State::status=", "Dir::Cache::archives="] {
            let folder = arguments.iter().find_map(|argument| argument.strip_prefix(kept_apart)).unwrap();
            assert!(folder.starts_with("/folder/apt/"), "{arguments:?}");
        }
    }
}
