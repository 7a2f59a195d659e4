//! Compiled components on disk, each proven before the engine reads it: the engine would run damaged machine code.
//!
//! Beside the folder of the engine's files, each of them has its digest. A file without its digest, as after a crash of the machine, or with
//! another one is deleted, so that the component is compiled again.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use marketprism_schema::component_digest;

/// Folder of the engine's files. It deletes what it does not know in it.
const ENGINE_FILES: &str = "engine";
/// The engine's files in the layout of earlier builds.
const FORMER_ENGINE_FILES: &str = "modules";
/// Ending of the name of a digest's file.
const DIGEST: &str = "sha256";
/// Levels of folders above the engine's files.
const FOLDERS_DEEP: u32 = 3;

#[derive(Debug)]
pub(crate) struct CompileCache {
    folder: PathBuf,
    /// Held from the check of the files until new ones have their digests.
    loading: Mutex<()>,
}

impl CompileCache {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder, loading: Mutex::default() }
    }

    /// The folder that the engine gets.
    pub(crate) fn engine_folder(&self) -> PathBuf {
        self.folder.join(ENGINE_FILES)
    }

    /// Deletes the engine's files of earlier builds, which had none of their digests.
    pub(crate) fn delete_former(&self) -> Result<()> {
        removed(fs::remove_dir_all(self.folder.join(FORMER_ENGINE_FILES)))
    }

    /// Compiles or reads a component, with whole files only.
    ///
    /// # Errors
    /// A damaged file cannot be deleted, or the folder cannot be read.
    pub(crate) fn load<T>(&self, load: impl FnOnce() -> T) -> Result<T> {
        let _loading = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        self.delete_unproven()?;
        let loaded = load();
        if let Err(error) = self.note_digests() {
            tracing::warn!(folder = %self.folder.display(), %error, "compiled adapters are not kept: their digests cannot be written");
        }
        Ok(loaded)
    }

    /// Deletes files without their digest, or with another one.
    ///
    /// # Errors
    /// See [`Self::load`].
    pub(crate) fn delete_unproven(&self) -> Result<()> {
        fs::create_dir_all(&self.folder)?;
        let files = self.files()?;
        for (name, file) in &files {
            let expected = fs::read_to_string(self.digest_file(name)).ok();
            let found = fs::read(file).map(|bytes| component_digest(&bytes));
            if found.as_ref().is_ok_and(|found| expected.as_ref() == Some(found)) {
                continue;
            }
            if expected.is_some() && found.is_ok() {
                tracing::warn!(file = %file.display(), "a compiled adapter on disk is damaged: it is compiled again");
            }
            removed(fs::remove_file(file))?;
        }
        for digest in fs::read_dir(&self.folder)? {
            let digest = digest?.path();
            let name = digest.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
            if digest.extension().is_some_and(|ending| ending == DIGEST) && !files.contains_key(name) {
                removed(fs::remove_file(digest))?;
            }
        }
        Ok(())
    }

    fn note_digests(&self) -> Result<()> {
        for (name, file) in self.files()? {
            let noted = self.digest_file(&name);
            if !noted.exists() {
                fs::write(noted, component_digest(&fs::read(file)?))?;
            }
        }
        Ok(())
    }

    fn digest_file(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.{DIGEST}"))
    }

    /// The engine's files of components by their names, which it makes of all that they depend on.
    fn files(&self) -> Result<BTreeMap<String, PathBuf>> {
        let mut files = BTreeMap::new();
        add_files(&self.engine_folder(), FOLDERS_DEEP, &mut files)?;
        Ok(files)
    }
}

/// Files with an ending are the engine's own statistics.
fn add_files(folder: &Path, deep: u32, files: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() && deep > 0 {
            add_files(&path, deep - 1, files)?;
        } else if path.extension().is_none()
            && let Some(name) = path.file_name().and_then(|name| name.to_str())
            && !name.starts_with('.')
        {
            files.insert(name.to_owned(), path);
        }
    }
    Ok(())
}

/// Another process may have deleted it.
fn removed(done: Result<()>) -> Result<()> {
    done.or_else(|error: Error| if error.kind() == ErrorKind::NotFound { Ok(()) } else { Err(error) })
}
