use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use sha2::{Sha256, Sha512};

use super::{Artifact, Digest, InstallError};

const CHUNK_BYTES: usize = 1024 * 1024;

/// Compares the package's digest with the pinned one.
pub(super) fn check(package: &Path, artifact: &Artifact<'_>) -> Result<(), InstallError> {
    let disk = |source| InstallError::disk(package, source);
    let (expected, found) = match &artifact.digest {
        Digest::Sha256(expected) => (expected, of_file::<Sha256>(package).map_err(disk)?),
        Digest::Sha512(expected) => (expected, of_file::<Sha512>(package).map_err(disk)?),
    };
    if *expected == found {
        return Ok(());
    }
    Err(InstallError::Digest {
        title: artifact.title.to_string(),
        package: package.display().to_string(),
        found,
        expected: expected.to_string(),
    })
}

fn of_file<D: sha2::Digest>(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = D::new();
    let mut chunk = vec![0_u8; CHUNK_BYTES];
    loop {
        let length = file.read(&mut chunk)?;
        if length == 0 {
            break;
        }
        hasher.update(chunk.get(..length).unwrap_or_default());
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
