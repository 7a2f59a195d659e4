//! Settings and helpers of all installs.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use marketprism_service::FileLock;

use super::InstallError;
use crate::{Console, StackPaths};

pub struct Installer<'a> {
    pub cache: PathBuf,
    /// Search path for programs, as in `PATH`.
    pub search: OsString,
    pub console: &'a Console,
}

impl<'a> Installer<'a> {
    /// Uses the stack's cache and this process's `PATH`.
    pub fn new(paths: &StackPaths, console: &'a Console) -> Self {
        Self { cache: paths.cache.clone(), search: std::env::var_os("PATH").unwrap_or_default(), console }
    }

    /// Finds a program in the search path.
    pub fn find(&self, program: &str) -> Option<PathBuf> {
        let candidates = std::env::split_paths(&self.search).map(|folder| folder.join(program));
        candidates.into_iter().find(|path| is_executable(path))
    }

    pub(super) fn lock(&self) -> Result<FileLock, InstallError> {
        let path = self.cache.join("install.lock");
        crate::lock(&path, self.console).map_err(InstallError::at(&path))
    }
}

pub(super) fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path)
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

pub(super) fn remove_folder(folder: &Path) -> Result<(), InstallError> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(InstallError::at(folder)(error)),
        _ => Ok(()),
    }
}
