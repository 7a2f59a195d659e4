//! The token that central requires for requests that change state.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::StackPaths;

const RANDOM_BYTES: usize = 32;

/// Creates the file, readable for its owner only, unless it exists: a running central has read it.
pub(super) fn ensure(paths: &StackPaths) -> anyhow::Result<PathBuf> {
    let path = paths.token();
    make(&path).with_context(|| format!("cannot create {}", path.display()))?;
    Ok(path)
}

fn make(path: &Path) -> anyhow::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut random = [0; RANDOM_BYTES];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut random)?;
    let mut token: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    token.push('\n');
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(mut file) => Ok(file.write_all(token.as_bytes())?),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn the_token_is_made_once_and_for_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let paths = StackPaths::of(folder.path());
        let path = ensure(&paths).unwrap();
        let token = std::fs::read_to_string(&path).unwrap();
        assert_eq!(token.trim().len(), 2 * RANDOM_BYTES);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        ensure(&paths).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), token);
    }
}
