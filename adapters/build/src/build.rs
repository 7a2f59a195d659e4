//! The build from sources to files.

use crate::command::run;
use crate::component::{encode, inspect};
use crate::toolchain::{TARGET, Toolchain};
use crate::workspace::{AdapterCrate, adapters, find_root};
use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};

/// What to build, and where it goes.
#[derive(Clone, Debug)]
pub struct Options {
    /// Names of adapters; empty for all.
    pub names: Vec<String>,
    /// Folder of the components; relative to the workspace.
    pub out: PathBuf,
    /// Cargo's target folder; relative to the workspace.
    pub target_dir: PathBuf,
    /// The workspace; none: found from the current folder upwards.
    pub root: Option<PathBuf>,
}

/// A component that was built.
#[derive(Clone, Debug)]
pub struct Built {
    /// The adapter's name.
    pub name: String,
    /// Size in bytes.
    pub size: usize,
    /// SHA-256 in hex.
    pub digest: String,
    /// Where it is.
    pub file: PathBuf,
}

/// Builds the adapters.
///
/// # Errors
/// No toolchain for WebAssembly, a compile error, an import that is not allowed, a file that cannot be
/// written.
pub fn build(options: &Options) -> Result<Vec<Built>> {
    let root = match &options.root {
        Some(root) => root.clone(),
        None => std::env::current_dir().context("current folder")?,
    };
    let root = find_root(&root)?;
    let crates = adapters(&root, &options.names)?;
    if crates.is_empty() {
        bail!("no adapter in {}", root.join("adapters").display());
    }
    let target_dir = root.join(&options.target_dir);
    compile(&root, &target_dir, &crates)?;
    let out = root.join(&options.out);
    std::fs::create_dir_all(&out).with_context(|| format!("folder {}", out.display()))?;
    crates.iter().map(|adapter| finish(adapter, &target_dir, &out)).collect()
}

fn compile(root: &Path, target_dir: &Path, crates: &[AdapterCrate]) -> Result<()> {
    let toolchain = Toolchain::find()?;
    let mut cargo = toolchain.cargo()?;
    cargo.current_dir(root).args(["build", "--locked", "--lib", "--profile", "adapter", "--target", TARGET]);
    cargo.args(toolchain.arguments()).arg("--target-dir").arg(target_dir);
    for adapter in crates {
        cargo.args(["-p", &adapter.package]);
    }
    // What the calling cargo set for the host's build is not for this one.
    for variable in ["RUSTFLAGS", "CARGO_BUILD_TARGET", "CARGO_BUILD_RUSTFLAGS", "CARGO_TARGET_DIR"] {
        cargo.env_remove(variable);
    }
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags(root, &toolchain));
    run(&mut cargo).context("compiling the adapters")
}

/// Compiler flags: today's WebAssembly features that every engine has, and no path of this machine in the
/// result, so that the same sources give the same bytes anywhere.
fn flags(root: &Path, toolchain: &Toolchain) -> OsString {
    let mut mappings = vec![(root.to_path_buf(), "/marketprism")];
    let cargo_home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo"));
    mappings.extend(cargo_home.or(home).map(|folder| (folder, "/cargo")));
    if let Toolchain::Debian { library, .. } = toolchain {
        mappings.push((library.clone(), "/rust/library"));
    }
    let mut flags = OsString::from("-Ctarget-feature=+simd128,+bulk-memory");
    for (from, to) in mappings {
        flags.push("\u{1f}--remap-path-prefix=");
        flags.push(from);
        flags.push("=");
        flags.push(to);
    }
    flags
}

fn finish(adapter: &AdapterCrate, target_dir: &Path, out: &Path) -> Result<Built> {
    let module = target_dir.join(TARGET).join("adapter").join(&adapter.module);
    let bytes = std::fs::read(&module).with_context(|| format!("file {}", module.display()))?;
    let component = encode(&bytes).with_context(|| format!("adapter {}", adapter.name))?;
    inspect(&component).with_context(|| format!("adapter {}", adapter.name))?;
    let file = out.join(format!("{}.wasm", adapter.name));
    write(&file, out, &component).with_context(|| format!("file {}", file.display()))?;
    let digest = Sha256::digest(&component);
    let digest = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Built { name: adapter.name.clone(), size: component.len(), digest, file })
}

/// Readers see the old component or the new one, never a part; an unchanged one keeps its time.
fn write(file: &Path, folder: &Path, component: &[u8]) -> Result<()> {
    if std::fs::read(file).is_ok_and(|present| present == component) {
        return Ok(());
    }
    let mut temporary = tempfile::Builder::new().prefix(".component-").tempfile_in(folder)?;
    temporary.write_all(component)?;
    temporary.as_file().sync_all()?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        temporary.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
    }
    temporary.persist(file)?;
    Ok(())
}
