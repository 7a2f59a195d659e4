//! The workspace and its adapters.

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};

/// The contract, in a workspace of adapters: the SDK's own, so that it is complete wherever it is.
pub(crate) const CONTRACT: &str = "adapters/sdk/wit";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AdapterSource {
    /// Name of its folder and of its component.
    pub(crate) name: String,
    pub(crate) language: Language,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Language {
    Rust {
        package: String,
        /// File name of the core module.
        module: String,
    },
    C {
        folder: PathBuf,
    },
}

/// The nearest folder from `start` upwards with the adapter contract.
pub(crate) fn find_root(start: &Path) -> Result<PathBuf> {
    let start = start.canonicalize().with_context(|| format!("folder {}", start.display()))?;
    let root = start.ancestors().find(|folder| folder.join(CONTRACT).is_dir());
    root.map(Path::to_path_buf)
        .with_context(|| format!("no workspace with {CONTRACT} at or above {}", start.display()))
}

/// The adapters, by name: folders of `adapters/` and `tests/` marked by `[package.metadata.marketprism]
/// adapter = true` in `Cargo.toml`, or with a language in `adapter.toml`. Without names all of `adapters/`;
/// with `tests` also those of `tests/`.
pub(crate) fn adapters(root: &Path, names: &[String], tests: bool) -> Result<Vec<AdapterSource>> {
    let shipped = sources(&root.join("adapters"))?;
    let for_tests = sources(&root.join("tests"))?;
    let mut found: Vec<AdapterSource> = shipped.iter().chain(&for_tests).cloned().collect();
    if let Some(unknown) = names.iter().find(|name| !found.iter().any(|source| source.name == **name)) {
        let known: Vec<&str> = found.iter().map(|source| source.name.as_str()).collect();
        bail!("no adapter `{unknown}` in {}; there are: {}", root.display(), known.join(", "));
    }
    found.retain(|source| match names {
        [] => tests || shipped.contains(source),
        names => names.contains(&source.name),
    });
    Ok(found)
}

fn sources(folder: &Path) -> Result<Vec<AdapterSource>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("folder {}", folder.display()))? {
        let folder = entry.with_context(|| format!("folder {}", folder.display()))?.path();
        let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        for (manifest, read) in MANIFESTS {
            let manifest = folder.join(manifest);
            if manifest.is_file() {
                let text = std::fs::read_to_string(&manifest);
                let language = text.map_err(anyhow::Error::from).and_then(|text| read(&folder, &text));
                let language = language.with_context(|| format!("file {}", manifest.display()))?;
                found.extend(language.map(|language| AdapterSource { name: name.clone(), language }));
            }
        }
    }
    found.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(found)
}

/// Language of the adapter in a folder, from its manifest; `None` if it is no adapter.
type ReadManifest = fn(&Path, &str) -> Result<Option<Language>>;

const MANIFESTS: [(&str, ReadManifest); 2] = [("Cargo.toml", rust), ("adapter.toml", other)];

fn rust(_: &Path, manifest: &str) -> Result<Option<Language>> {
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
    let package = package.get("name").and_then(toml::Value::as_str).context("no package.name")?;
    let library = manifest.get("lib").and_then(|library| library.get("name"));
    let library = library.and_then(toml::Value::as_str).unwrap_or(package);
    let module = format!("{}.wasm", library.replace('-', "_"));
    Ok(Some(Language::Rust { package: package.to_owned(), module }))
}

fn other(folder: &Path, manifest: &str) -> Result<Option<Language>> {
    let manifest: toml::Table = manifest.parse().context("not TOML")?;
    match manifest.get("language").and_then(toml::Value::as_str) {
        Some("c") => Ok(Some(Language::C { folder: folder.to_owned() })),
        language => bail!("language is {language:?}, allowed is \"c\""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adapters_are_recognized_by_their_manifest() {
        let marked = "[package]\nname = \"x-y\"\n[package.metadata.marketprism]\nadapter = true\n";
        let read = |manifest: &str| rust(Path::new("y"), manifest);
        let (package, module) = ("x-y".to_owned(), "x_y.wasm".to_owned());
        assert_eq!(read(marked).unwrap(), Some(Language::Rust { package, module }));
        assert_eq!(read("[package]\nname = \"sdk\"\n").unwrap(), None);
        assert!(read("[package]\n[package.metadata.marketprism]\nadapter = true\n").is_err());
        assert!(read("[workspace]\n").is_err());
        let c = other(Path::new("y"), "language = \"c\"").unwrap();
        assert_eq!(c, Some(Language::C { folder: PathBuf::from("y") }));
        assert!(other(Path::new("y"), "language = \"cobol\"").unwrap_err().to_string().contains("cobol"));
        assert!(other(Path::new("y"), "").is_err());
    }

    #[test]
    fn adapters_of_tests_are_built_on_demand() {
        let root = tempfile::tempdir().unwrap();
        for name in ["adapters/b", "adapters/a", "tests/t"] {
            std::fs::create_dir_all(root.path().join(name)).unwrap();
            std::fs::write(root.path().join(name).join("adapter.toml"), "language = \"c\"").unwrap();
        }
        let built = |names: &[&str], tests: bool| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            adapters(root.path(), &names, tests)
                .map(|found| found.into_iter().map(|source| source.name).collect::<Vec<_>>().join(" "))
        };
        assert_eq!(built(&[], false).unwrap(), "a b");
        assert_eq!(built(&[], true).unwrap(), "a b t");
        assert_eq!(built(&["t", "a"], false).unwrap(), "a t");
        let message = built(&["x"], false).unwrap_err().to_string();
        assert!(message.contains("`x`") && message.contains("a, b, t"), "{message}");
    }
}
