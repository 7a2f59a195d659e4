//! A Python environment for the tests: the ClickHouse client, and schemathesis for HTTP interfaces.

use std::path::PathBuf;
use std::process::Command;

use super::installer::{is_executable, remove_folder};
use super::{InstallError, Installer, fetch};

const PACKAGES: [&str; 2] = ["clickhouse-connect==1.12.0", "schemathesis==4.32.5"];
const TITLE: &str = "python with clickhouse-connect 1.12.0 and schemathesis 4.32.5";
const OTHERWISE: &str = "go without: only the tests with python's client and with schemathesis need it";
/// Written last: without it the install was interrupted.
const MARK: &str = "installed";

/// Creates the environment unless it is complete; returns its interpreter.
pub(super) fn install(installer: &Installer<'_>) -> Result<PathBuf, InstallError> {
    let folder = installer.cache.join("python");
    let (interpreter, mark) = (folder.join("bin/python"), folder.join(MARK));
    let is_whole = || {
        std::fs::read_to_string(&mark).is_ok_and(|found| found == PACKAGES.join("\n"))
            && is_executable(&interpreter)
    };
    if is_whole() {
        return Ok(interpreter);
    }
    let _lock = installer.lock()?;
    if is_whole() {
        return Ok(interpreter);
    }
    let python = installer.find("python3").ok_or_else(|| InstallError::ToolMissing {
        title: TITLE.to_owned(),
        tool: "python3",
        debian: "python3 python3-venv",
        otherwise: OTHERWISE.to_owned(),
    })?;
    // A venv contains its own path, so it is created in place and completed by its mark.
    remove_folder(&folder)?;
    std::fs::create_dir_all(&folder).map_err(|source| InstallError::disk(&folder, source))?;
    let mut make = Command::new(python);
    make.args(["-m", "venv"]).arg(&folder);
    fetch::run(installer, TITLE, OTHERWISE, make, &folder, None)?;
    let mut fill = Command::new(&interpreter);
    fill.args(["-m", "pip", "install", "--only-binary=:all:", "--no-input", "--disable-pip-version-check"]);
    fill.args(PACKAGES);
    fetch::run(installer, TITLE, OTHERWISE, fill, &folder, None)?;
    std::fs::write(&mark, PACKAGES.join("\n")).map_err(|source| InstallError::disk(&mark, source))?;
    installer.console.say(format!("{TITLE}: installed in {}", folder.display()));
    Ok(interpreter)
}
