//! `sdk`: a workspace for adapters outside of the repository, with the SDK, the contract in it, and the template.

use std::path::Path;
use std::process::Command;

use anyhow::Context as _;
use toml::Table;

use crate::binaries;
use crate::platform::Platform;
use crate::tools::{copy, copy_tracked, run, write};

/// Dependencies of SDK and template.
const DEPENDENCIES: [&str; 3] = ["marketprism-adapter-sdk", "serde_json", "wit-bindgen"];
pub const BUILD_TOOL: &str = "marketprism-adapter-build";

pub fn pack(root: &Path, platform: &Platform, built: &Path, folder: &Path) -> anyhow::Result<()> {
    let kit = folder.join("sdk");
    // In the repository the SDK has a link to the contract.
    for (part, place) in [
        ("adapters/sdk/src", "adapters/sdk/src"),
        ("wit/marketprism-adapter", "adapters/sdk/wit"),
        ("adapters/template", "adapters/template"),
    ] {
        copy_tracked(root, part, &kit.join(place))?;
    }
    for file in ["adapters/sdk/Cargo.toml", "Cargo.lock", "LICENSE"] {
        copy(&root.join(file), &kit.join(file))?;
    }
    copy(&root.join("adapters/README.md"), &kit.join("README.md"))?;
    let manifest = root.join("Cargo.toml");
    let text = std::fs::read_to_string(&manifest).with_context(|| manifest.display().to_string())?;
    write(&kit.join("Cargo.toml"), workspace(&text).with_context(|| manifest.display().to_string())?)?;
    // Takes from the lock file what the kit does not use, and changes no version.
    let mut cargo = Command::new("cargo");
    cargo.args(["metadata", "--offline", "--format-version", "1", "--manifest-path"]);
    run(cargo.arg(kit.join("Cargo.toml")))?;
    binaries::place(BUILD_TOOL, platform, built, folder).map(drop)
}

/// The kit's manifest, from that of the repository: its versions, lints and profile.
fn workspace(repository: &str) -> anyhow::Result<String> {
    let mut manifest: Table = repository.parse()?;
    let mut workspace = table(&mut manifest, "workspace")?;
    workspace.insert("members".to_owned(), vec!["adapters/*"].into());
    workspace.remove("exclude");
    let mut dependencies = table(&mut workspace, "dependencies")?;
    dependencies.retain(|name, _| DEPENDENCIES.contains(&name));
    workspace.insert("dependencies".to_owned(), dependencies.into());
    let mut profiles = table(&mut manifest, "profile")?;
    let (mut release, adapter) = (table(&mut profiles, "release")?, table(&mut profiles, "adapter")?);
    release.remove("package");
    let profiles =
        Table::from_iter([("release".to_owned(), release.into()), ("adapter".to_owned(), adapter.into())]);
    let kit = Table::from_iter([
        ("workspace".to_owned(), workspace.into()),
        ("profile".to_owned(), profiles.into()),
    ]);
    Ok(toml::to_string_pretty(&kit)?)
}

fn table(of: &mut Table, name: &str) -> anyhow::Result<Table> {
    let value = of.remove(name).with_context(|| format!("no [{name}]"))?;
    value.try_into().with_context(|| format!("[{name}] is no table"))
}
