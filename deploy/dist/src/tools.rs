//! Tools of the host: binutils, tar, dpkg-deb, cargo.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};

/// Runs a tool to its end; returns its standard output.
pub fn run(command: &mut Command) -> anyhow::Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("{name}: cannot be run; is it installed?"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{name}: {}: {}", output.status, said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

pub fn is_installed(name: &str) -> bool {
    Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success())
}

/// Time of everything in the packages, seconds since 1970, so that the same content gives the same package. Not 1970: some archive tools
/// know no time before 1980.
pub fn source_date() -> String {
    std::env::var("SOURCE_DATE_EPOCH").unwrap_or_else(|_| "315532800".to_owned())
}

/// Copies a file and makes the folders above it.
pub fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    let shown = || format!("{} to {}", from.display(), to.display());
    std::fs::create_dir_all(to.parent().with_context(shown)?).with_context(shown)?;
    std::fs::copy(from, to).with_context(shown)?;
    Ok(())
}

pub fn write(path: &Path, content: impl AsRef<[u8]>) -> anyhow::Result<()> {
    let shown = || path.display().to_string();
    std::fs::create_dir_all(path.parent().with_context(shown)?).with_context(shown)?;
    std::fs::write(path, content).with_context(shown)
}

/// Copies a folder and what is below it; a link becomes what it leads to.
pub fn copy_folder(from: &Path, to: &Path) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(from).with_context(|| from.display().to_string())? {
        let entry = entry?;
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() { copy_folder(&path, &target)? } else { copy(&path, &target)? }
    }
    Ok(())
}

/// Files of a folder with an extension, by name.
pub fn files(folder: &Path, extension: &str) -> anyhow::Result<Vec<std::path::PathBuf>> {
    let entries = std::fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension() == Some(OsStr::new(extension)) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
