//! Gets the parts that the machine does not have: pinned by version, checked by digest, put in place whole or not at all.
//!
//! Downloads go through the ordinary clients of their registries (pip, npm), so that mirrors, proxies and certificates configured for
//! those are used, and no address stands here.

mod artifact;
mod digest;
mod error;
mod fetch;
mod python;
mod unpack;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

pub use artifact::{Artifact, CLICKHOUSE_LIBRARY, Digest, NATS_SERVER, Package};
pub use error::InstallError;

use crate::{Console, FileLock, Home};

/// Names a server binary that is to be used instead of any other.
const NATS_SERVER_VARIABLE: &str = "MARKETPRISM_NATS_SERVER";
/// Names a library that is to be used instead of any other.
const LIBRARY_VARIABLE: &str = "MARKETPRISM_LIBCHDB";

/// Finds or installs parts.
#[derive(Debug)]
pub struct Installer<'a> {
    /// Where downloads are kept.
    pub cache: PathBuf,
    /// Folders that are searched for programs, as in `PATH`.
    pub search: OsString,
    /// Where progress is told.
    pub console: &'a Console,
}

/// The broker's binary: `MARKETPRISM_NATS_SERVER`, else from `PATH`, else installed into the cache.
pub fn nats_server() -> anyhow::Result<PathBuf> {
    let console = Console::error();
    Ok(Installer::new(&Home::find()?, &console).nats_server()?)
}

/// The embedded ClickHouse engine: `MARKETPRISM_LIBCHDB`, else installed into the cache.
pub fn clickhouse_library() -> anyhow::Result<PathBuf> {
    let console = Console::error();
    Ok(Installer::new(&Home::find()?, &console).clickhouse_library()?)
}

impl<'a> Installer<'a> {
    /// Installs into the cache of a stack, with the programs of this process's `PATH`.
    #[must_use]
    pub fn new(home: &Home, console: &'a Console) -> Self {
        Self { cache: home.cache.clone(), search: std::env::var_os("PATH").unwrap_or_default(), console }
    }

    /// The broker's binary.
    pub fn nats_server(&self) -> Result<PathBuf, InstallError> {
        if let Some(named) = named_by(NATS_SERVER_VARIABLE)? {
            return Ok(named);
        }
        match self.find("nats-server") {
            Some(found) => Ok(found),
            None => self.install(&NATS_SERVER),
        }
    }

    /// The embedded ClickHouse engine.
    pub fn clickhouse_library(&self) -> Result<PathBuf, InstallError> {
        match named_by(LIBRARY_VARIABLE)? {
            Some(named) => Ok(named),
            None => self.install(&CLICKHOUSE_LIBRARY),
        }
    }

    /// A Python with the ClickHouse client, for the tests of what users run.
    pub fn python(&self) -> Result<PathBuf, InstallError> {
        python::install(self)
    }

    /// A program of the search path.
    #[must_use]
    pub fn find(&self, program: &str) -> Option<PathBuf> {
        let candidates = std::env::split_paths(&self.search).map(|folder| folder.join(program));
        candidates.into_iter().find(|path| is_executable(path))
    }

    /// Installs a pinned part unless it is there, whole.
    pub fn install(&self, artifact: &Artifact<'_>) -> Result<PathBuf, InstallError> {
        let place = self.cache.join(artifact.folder).join(artifact.file);
        if is_whole(&place, artifact) {
            return Ok(place);
        }
        artifact.require_platform()?;
        let _lock = self.lock()?;
        // Another install may have put it there while this one waited.
        if is_whole(&place, artifact) {
            return Ok(place);
        }
        let stage = self.cache.join("incoming").join(artifact.folder);
        // Left by an install that was interrupted. Nobody else is at work here: the lock is ours.
        remove_folder(&stage)?;
        let ready = stage.join("ready");
        std::fs::create_dir_all(&ready).map_err(|source| InstallError::disk(&ready, source))?;
        let package = fetch::fetch(self, artifact, &stage)?;
        self.console.progress(&format!("{}: checking", artifact.title));
        digest::check(&package, artifact)?;
        unpack::unpack(&package, artifact, &ready.join(artifact.file), self.console)?;
        let folder = self.cache.join(artifact.folder);
        remove_folder(&folder)?;
        std::fs::rename(&ready, &folder).map_err(|source| InstallError::disk(&folder, source))?;
        remove_folder(&stage)?;
        self.console.say(format!("{}: installed in {}", artifact.title, folder.display()));
        Ok(place)
    }

    fn lock(&self) -> Result<FileLock, InstallError> {
        let path = self.cache.join("install.lock");
        FileLock::take(&path, self.console).map_err(|source| InstallError::disk(&path, source))
    }
}

/// Whether the part stands there in the pinned size: a file cut short by a full disk or a copy is installed again.
fn is_whole(place: &Path, artifact: &Artifact<'_>) -> bool {
    std::fs::metadata(place).is_ok_and(|metadata| metadata.is_file() && metadata.len() == artifact.file_bytes)
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path)
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

fn named_by(variable: &'static str) -> Result<Option<PathBuf>, InstallError> {
    let Some(path) = std::env::var_os(variable).filter(|path| !path.is_empty()).map(PathBuf::from) else {
        return Ok(None);
    };
    if path.is_file() { Ok(Some(path)) } else { Err(InstallError::Named { variable, path }) }
}

fn remove_folder(folder: &Path) -> Result<(), InstallError> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(InstallError::disk(folder, error)),
        _ => Ok(()),
    }
}
