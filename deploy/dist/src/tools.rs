//! Tools of the host: binutils, tar, dpkg-deb, cargo.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail, ensure};

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

/// Runs a tool to its end; what it says goes to standard error.
pub fn run_shown(command: &mut Command) -> anyhow::Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command.stdin(Stdio::null()).stdout(std::io::stderr()).status();
    let status = status.with_context(|| format!("{name}: cannot be run; is it installed?"))?;
    ensure!(status.success(), "{name}: {status}");
    Ok(())
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

/// Copies the files of a folder of the repository that git tracks: keys and passwords may have been generated next to them.
pub fn copy_tracked(root: &Path, part: &str, to: &Path) -> anyhow::Result<()> {
    let mut git = Command::new("git");
    git.arg("-C").arg(root).args(["ls-files", "-z", "--cached", "--", part]);
    let names = run(&mut git)?;
    ensure!(!names.is_empty(), "{}: git tracks no file of it", root.join(part).display());
    for name in names.split_terminator('\0') {
        copy(&root.join(name), &to.join(Path::new(name).strip_prefix(part)?))?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_was_drawn_beside_tracked_files_is_not_packed() {
        let folder = tempfile::tempdir().unwrap();
        let (root, to) = (folder.path().join("repository"), folder.path().join("packed"));
        let tracked = ["part/server.conf", "part/below/try.sh", "other/README.md"];
        let drawn = ["part/key.pem", "part/authority/ca.key"];
        for file in tracked.into_iter().chain(drawn) {
            write(&root.join(file), file).unwrap();
        }
        let git = |arguments: &[&str]| run(Command::new("git").arg("-C").arg(&root).args(arguments)).unwrap();
        git(&["init", "--quiet"]);
        git(&["add", "part/server.conf", "part/below", "other"]);
        copy_tracked(&root, "part", &to).unwrap();
        assert_eq!(std::fs::read_to_string(to.join("below/try.sh")).unwrap(), "part/below/try.sh");
        let names = std::fs::read_dir(&to).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        assert_eq!(names, ["below", "server.conf"]);
        let refused = copy_tracked(&root, "none", &to).unwrap_err().to_string();
        assert!(refused.ends_with("none: git tracks no file of it"), "{refused}");
    }
}
