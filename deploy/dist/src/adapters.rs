//! The adapters: signed by the packed edge, each with a file of its digest.

use std::path::Path;

use anyhow::{Context as _, ensure};

use crate::checksums::sha256;
use crate::platform::Platform;
use crate::tools::{copy, run, write};

/// Adapters of venues, by the folders of the repository that describe one.
pub fn of_venues(root: &Path) -> anyhow::Result<Vec<String>> {
    let folder = root.join("adapters");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        if entry.path().join("VENUE.md").exists()
            && !entry.file_name().to_string_lossy().starts_with("template")
        {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    ensure!(!names.is_empty(), "{}: no folder with a VENUE.md", folder.display());
    Ok(names)
}

/// Signs into `adapters`; `DIGESTS` there has one line per file, `signer.pub` the key for `adapters.trusted_keys`.
pub fn pack(
    names: &[String],
    platform: &Platform,
    built: &Path,
    root: &Path,
    key: &Path,
    folder: &Path,
) -> anyhow::Result<()> {
    let edge = folder.join("bin/marketprism-edge");
    let adapters = folder.join("adapters");
    if !key.exists() {
        let above = key.parent().with_context(|| key.display().to_string())?;
        std::fs::create_dir_all(above).with_context(|| above.display().to_string())?;
        run(platform.program(&edge).args(["adapter", "keygen", "--out"]).arg(key))?;
    }
    let (mut digests, mut signer) = (String::new(), String::new());
    for name in names {
        let file = adapters.join(format!("{name}.wasm"));
        copy(&built.join(format!("{name}.wasm")), &file)
            .context("build it first: marketprism-adapter-build")?;
        let frames = root.join("adapters").join(name);
        let mut sign = platform.program(&edge);
        sign.args(["adapter", "sign"]).arg(&file).arg("--key").arg(key).arg("--frames").arg(frames);
        let said = run(&mut sign)?;
        let by = said.lines().find_map(|line| line.strip_prefix("signed by "));
        signer = by.with_context(|| format!("{name}: not signed: {said}"))?.to_owned();
        digests.push_str(&format!("sha256:{}  {name}.wasm\n", sha256(&file)?));
    }
    write(&adapters.join("DIGESTS"), digests)?;
    write(&adapters.join("signer.pub"), signer + "\n")
}
