//! The programs: stripped, below their size, with the man pages and completions that they write themselves.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

use crate::elf::BinaryNeeds;
use crate::platform::Platform;
use crate::tools::{copy, run};

/// An edge runs on small machines, and is copied to many.
pub const EDGE_BYTES_MAX: u64 = 40_000_000;

pub const PROGRAMS: [&str; 2] = ["marketprism-edge", "marketprism-central"];

#[derive(Debug)]
pub struct PackedBinary {
    pub name: &'static str,
    pub bytes: u64,
    pub needs: BinaryNeeds,
}

/// Copies a program to `bin`, strips it, and writes its pages to `share`.
pub fn pack(
    name: &'static str,
    platform: &Platform,
    built: &Path,
    folder: &Path,
) -> anyhow::Result<PackedBinary> {
    let from = built.join(name);
    let to = place(name, platform, built, folder)?;
    let version = run(platform.program(&to).arg("--version"))?;
    let expected = format!("{name} {}", env!("CARGO_PKG_VERSION"));
    ensure!(version.trim() == expected, "{} says it is {version:?} (expected: {expected})", from.display());
    let bytes = std::fs::metadata(&to).with_context(|| to.display().to_string())?.len();
    let pages = folder.join("share");
    std::fs::create_dir_all(&pages).with_context(|| pages.display().to_string())?;
    run(platform.program(&to).arg("pages").arg(&pages))?;
    Ok(PackedBinary { name, bytes, needs: BinaryNeeds::of(platform, &to)? })
}

/// Copies a program to `bin` and strips it.
pub fn place(name: &str, platform: &Platform, built: &Path, folder: &Path) -> anyhow::Result<PathBuf> {
    let (from, to) = (built.join(name), folder.join("bin").join(name));
    platform.architecture.check(&from).context("build it first")?;
    copy(&from, &to)?;
    run(platform.tool("strip").arg("--strip-all").arg(&to))?;
    Ok(to)
}

/// Of a release: a development build is larger.
pub fn check_size(name: &str, bytes: u64) -> anyhow::Result<()> {
    let is_edge = name == "marketprism-edge";
    ensure!(
        !is_edge || bytes < EDGE_BYTES_MAX,
        "{name} has {bytes} bytes stripped (allowed: below {EDGE_BYTES_MAX})"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edge_that_grew_is_not_packed() {
        assert!(check_size("marketprism-edge", EDGE_BYTES_MAX - 1).is_ok());
        let error = check_size("marketprism-edge", EDGE_BYTES_MAX).unwrap_err().to_string();
        assert!(error.contains("40000000"), "{error}");
        assert!(check_size("marketprism-central", EDGE_BYTES_MAX).is_ok());
    }
}
