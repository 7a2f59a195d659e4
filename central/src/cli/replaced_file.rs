//! A file that takes the place of another one in one step, once all of it is written. Owner and mode stay those of the file before.

use std::fs::{self, File, Metadata, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

/// Deleted when it is dropped before its `commit`.
#[derive(Debug)]
pub struct ReplacedFile {
    file: File,
    part: PathBuf,
    place: PathBuf,
    /// The file stays, and takes the text.
    is_copied: bool,
}

impl ReplacedFile {
    /// `mode`: of a file that was not there, instead of what the process's mask leaves.
    pub fn create(path: &Path, mode: Option<u32>) -> anyhow::Result<Self> {
        // The file that a link names, not the link.
        let place = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let Some(name) = place.file_name() else { bail!("{} names no file", path.display()) };
        let part = place.with_file_name(format!(".{}.{}.part", name.to_string_lossy(), std::process::id()));
        let present = match fs::metadata(&place) {
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            found => Some(found.with_context(|| place.display().to_string())?),
        };
        // Nobody reads it before it has owner and mode of the file before.
        let first_mode = if present.is_some() || mode.is_some() { 0o600 } else { 0o666 };
        let opened = File::options().write(true).create_new(true).mode(first_mode).open(&part);
        let file = opened.with_context(|| format!("cannot write {}", part.display()))?;
        let mut replaced = Self { file, part, place, is_copied: false };
        let shown = || path.display().to_string();
        match (present, mode) {
            (Some(present), _) => replaced.is_copied = !replaced.takes_over(&present).with_context(shown)?,
            (None, Some(mode)) => {
                replaced.file.set_permissions(Permissions::from_mode(mode)).with_context(shown)?;
            }
            (None, None) => {}
        }
        Ok(replaced)
    }

    /// False for a file of another user, which this one may not give away.
    fn takes_over(&self, present: &Metadata) -> io::Result<bool> {
        match fchown(&self.file, Some(present.uid()), Some(present.gid())) {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => return Ok(false),
            owned => owned?,
        }
        self.file.set_permissions(present.permissions())?;
        Ok(true)
    }

    /// Puts it into its place. A file that is mounted by itself, as into a container, cannot be replaced: it takes the text too.
    pub fn commit(self) -> anyhow::Result<()> {
        let synced = self.file.sync_all();
        synced.and_then(|()| self.put()).with_context(|| format!("cannot write {}", self.place.display()))
    }

    fn put(&self) -> io::Result<()> {
        if self.is_copied {
            return copy_into(&self.part, &self.place);
        }
        match fs::rename(&self.part, &self.place) {
            Err(error) if error.kind() == ErrorKind::ResourceBusy => copy_into(&self.part, &self.place),
            renamed => renamed,
        }
    }
}

fn copy_into(part: &Path, place: &Path) -> io::Result<()> {
    let mut file = File::options().write(true).truncate(true).open(place)?;
    io::copy(&mut File::open(part)?, &mut file)?;
    file.sync_all()
}

impl Write for ReplacedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for ReplacedFile {
    fn drop(&mut self) {
        // It is not there any more once it was renamed.
        let _ = fs::remove_file(&self.part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_replaced_keeps_its_mode_and_one_that_is_not_written_to_its_end_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.csv");
        let read = || (fs::read_to_string(&path).unwrap(), fs::metadata(&path).unwrap().mode() & 0o777);
        fs::write(&path, "before").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o604)).unwrap();
        let mut file = ReplacedFile::create(&path, None).unwrap();
        file.write_all(b"half").unwrap();
        drop(file);
        assert_eq!(read(), ("before".to_owned(), 0o604));
        let mut file = ReplacedFile::create(&path, None).unwrap();
        file.write_all(b"after").unwrap();
        file.commit().unwrap();
        assert_eq!(read(), ("after".to_owned(), 0o604));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        fs::remove_file(&path).unwrap();
        ReplacedFile::create(&path, Some(0o640)).unwrap().commit().unwrap();
        assert_eq!(read().1, 0o640);
    }
}
