//! The workspace and its adapters.

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};

/// An adapter of the workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AdapterCrate {
    /// Name of its folder, and of its component.
    pub(crate) name: String,
    /// Cargo's name of the package.
    pub(crate) package: String,
    /// File name of the core module that cargo makes.
    pub(crate) module: String,
}

/// The nearest folder from `start` upwards that holds the adapter contract.
pub(crate) fn find_root(start: &Path) -> Result<PathBuf> {
    let start = start.canonicalize().with_context(|| format!("folder {}", start.display()))?;
    let root = start.ancestors().find(|folder| folder.join("wit/marketprism-adapter").is_dir());
    root.map(Path::to_path_buf)
        .with_context(|| format!("no workspace with wit/marketprism-adapter at or above {}", start.display()))
}

/// The adapters in `adapters/` whose `Cargo.toml` says so with `[package.metadata.marketprism] adapter =
/// true`, by name; all of them when `names` is empty.
pub(crate) fn adapters(root: &Path, names: &[String]) -> Result<Vec<AdapterCrate>> {
    let folder = root.join("adapters");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| format!("folder {}", folder.display()))? {
        let folder = entry.with_context(|| format!("folder {}", folder.display()))?.path();
        let manifest = folder.join("Cargo.toml");
        if !manifest.is_file() {
            continue;
        }
        let text =
            std::fs::read_to_string(&manifest).with_context(|| format!("file {}", manifest.display()))?;
        let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let adapter = adapter(&name, &text).with_context(|| format!("file {}", manifest.display()))?;
        found.extend(adapter);
    }
    found.sort_by(|one, other| one.name.cmp(&other.name));
    let known: Vec<&str> = found.iter().map(|adapter| adapter.name.as_str()).collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(&name.as_str())) {
        bail!("no adapter `{unknown}` in {}; there are: {}", folder.display(), known.join(", "));
    }
    found.retain(|adapter| names.is_empty() || names.contains(&adapter.name));
    Ok(found)
}

/// None for a crate that is no adapter.
fn adapter(name: &str, manifest: &str) -> Result<Option<AdapterCrate>> {
    let manifest: toml::Table = manifest.parse().context("not TOML")?;
    let package = manifest.get("package").and_then(toml::Value::as_table).context("no [package]")?;
    let marked = package
        .get("metadata")
        .and_then(|metadata| metadata.get("marketprism"))
        .and_then(|marketprism| marketprism.get("adapter"))
        .and_then(toml::Value::as_bool);
    if marked != Some(true) {
        return Ok(None);
    }
    let library = manifest.get("lib");
    let kinds = library.and_then(|library| library.get("crate-type")).and_then(toml::Value::as_array);
    if !kinds.is_some_and(|kinds| kinds.iter().any(|kind| kind.as_str() == Some("cdylib"))) {
        bail!("an adapter needs `cdylib` in [lib] crate-type");
    }
    let package = package.get("name").and_then(toml::Value::as_str).context("no package.name")?;
    let library =
        library.and_then(|library| library.get("name")).and_then(toml::Value::as_str).unwrap_or(package);
    Ok(Some(AdapterCrate {
        name: name.to_owned(),
        package: package.to_owned(),
        module: format!("{}.wasm", library.replace('-', "_")),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: only marked crates are adapters, and a marked one that cannot be built is named. Method:
    // manifests of each kind.
    #[test]
    fn adapters_are_known_by_their_manifest() {
        let marked = "[package]\nname = \"x-y\"\n[package.metadata.marketprism]\nadapter = true\n";
        let found =
            adapter("y", &format!("{marked}[lib]\ncrate-type = [\"cdylib\", \"rlib\"]\n")).unwrap().unwrap();
        assert_eq!(
            (found.name.as_str(), found.package.as_str(), found.module.as_str()),
            ("y", "x-y", "x_y.wasm")
        );
        assert_eq!(adapter("sdk", "[package]\nname = \"sdk\"\n").unwrap(), None);
        assert!(adapter("y", marked).unwrap_err().to_string().contains("cdylib"));
        assert!(adapter("y", "[workspace]\n").is_err());
    }
}
