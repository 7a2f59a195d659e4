//! Golden frames and their expected output, carried in a component.

use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use marketprism_adapter_conformance::check_golden;
use marketprism_adapter_host::{Adapter, Limits};

/// Bytes of all golden files of a component, unpacked. More: the component is refused.
const GOLDEN_BYTES_MAX: u64 = 64 << 20;

/// Folders of golden files.
const FOLDERS: [&str; 2] = ["frames", "expected"];

/// Content of the section, from a folder that holds `frames` and `expected`.
pub fn pack_golden(folder: &Path) -> anyhow::Result<Vec<u8>> {
    let mut files = BTreeMap::new();
    for part in FOLDERS {
        let path = folder.join(part);
        let entries = fs::read_dir(&path).with_context(|| path.display().to_string())?;
        for entry in entries {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            files.insert(format!("{part}/{name}"), text);
        }
    }
    Ok(zstd::encode_all(serde_json::to_vec(&files)?.as_slice(), 19)?)
}

/// Runs the golden frames of a section. `scratch` is a folder for their files; it is removed.
///
/// # Errors
/// The section cannot be read, or the adapter makes something else of the frames.
pub(super) fn run_golden(
    adapter: &Adapter,
    limits: &Limits,
    section: &[u8],
    scratch: &Path,
) -> anyhow::Result<()> {
    let files = unpack(section).context("section of golden frames")?;
    remove(scratch)?;
    let result = write(&files, scratch).and_then(|()| check_golden(adapter, limits, scratch));
    remove(scratch)?;
    let causes = result?;
    if let Some(first) = causes.first() {
        bail!(
            "{first}{}",
            if causes.len() > 1 { format!(" (and {} more)", causes.len() - 1) } else { String::new() }
        );
    }
    Ok(())
}

fn unpack(section: &[u8]) -> anyhow::Result<BTreeMap<String, String>> {
    let mut bytes = Vec::new();
    zstd::Decoder::new(section)?.take(GOLDEN_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    let is_bounded = u64::try_from(bytes.len())? <= GOLDEN_BYTES_MAX;
    ensure!(is_bounded, "more than {GOLDEN_BYTES_MAX} bytes");
    let files: BTreeMap<String, String> = serde_json::from_slice(&bytes)?;
    for name in files.keys() {
        let is_legal = name.split_once('/').is_some_and(|(folder, file)| {
            let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
            FOLDERS.contains(&folder) && !file.starts_with('.') && file.chars().all(is_plain)
        });
        ensure!(is_legal, "file {name:?}, allowed are plain names in frames/ and expected/");
    }
    Ok(files)
}

fn write(files: &BTreeMap<String, String>, scratch: &Path) -> anyhow::Result<()> {
    for folder in FOLDERS {
        let path: PathBuf = scratch.join(folder);
        fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
    }
    for (name, text) in files {
        let path = scratch.join(name);
        fs::write(&path, text).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

fn remove(scratch: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(scratch) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| scratch.display().to_string())
        }
        _ => Ok(()),
    }
}
