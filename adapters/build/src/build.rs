//! Builds components from sources.

use crate::clang;
use crate::component::{encode, inspect};
use crate::toolchain::run;
use crate::toolchain::{TARGET, Toolchain};
use crate::workspace::{AdapterSource, Language, adapters, find_root};
use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Builds adapters as WebAssembly components; prints name, size, SHA-256 digest and file of each
#[derive(Clone, Debug, clap::Parser)]
#[command(version)]
pub struct Options {
    /// Adapters to build, by folder name; default: all
    pub names: Vec<String>,
    /// Also build the adapters that only tests use
    #[arg(long)]
    pub tests: bool,
    /// Folder of the components, relative to the workspace
    #[arg(long, default_value = "target/adapters")]
    pub out: PathBuf,
    /// Cargo's target folder, apart from the workspace's own so that neither waits for the other
    #[arg(long, default_value = "target/adapters-build")]
    pub target_dir: PathBuf,
    /// The workspace; default: searched from the current folder upwards
    #[arg(long)]
    pub root: Option<PathBuf>,
}

#[derive(Clone, Debug)]
pub struct BuiltAdapter {
    pub name: String,
    pub size: usize,
    /// SHA-256 in hexadecimal.
    pub digest: String,
    pub file: PathBuf,
}

#[derive(Clone, Debug, Default)]
pub struct BuildReport {
    pub built: Vec<BuiltAdapter>,
    /// Skipped adapters, each with the remedy.
    pub skipped: Vec<String>,
}

/// Builds the adapters. One in C that was not asked for by name is skipped if this machine has no compiler
/// for it.
pub fn build(options: &Options) -> Result<BuildReport> {
    let root = match &options.root {
        Some(root) => root.clone(),
        None => std::env::current_dir().context("current folder")?,
    };
    let root = find_root(&root)?;
    let sources = adapters(&root, &options.names, options.tests)?;
    if sources.is_empty() {
        bail!("no adapter in {}", root.join("adapters").display());
    }
    let target_dir = root.join(&options.target_dir);
    compile(&root, &target_dir, &sources)?;
    let out = root.join(&options.out);
    std::fs::create_dir_all(&out).with_context(|| format!("folder {}", out.display()))?;
    let mut report = BuildReport::default();
    for source in &sources {
        let module = match &source.language {
            Language::Rust { module, .. } => target_dir.join(TARGET).join("adapter").join(module),
            Language::C { folder } if clang::is_installed() => {
                clang::compile(&root, folder, &target_dir.join("c").join(&source.name))
                    .with_context(|| format!("adapter {}", source.name))?
            }
            Language::C { .. } => {
                let missing = format!("{} needs clang and lld: `{}`", source.name, clang::INSTALL);
                if !options.names.is_empty() {
                    bail!(missing);
                }
                report.skipped.push(missing);
                continue;
            }
        };
        report.built.push(finish(&source.name, &module, &out)?);
    }
    Ok(report)
}

/// Compiles the adapters in Rust. Their crates are plain libraries; `cargo rustc` makes a `cdylib` of them, one package a call.
fn compile(root: &Path, target_dir: &Path, sources: &[AdapterSource]) -> Result<()> {
    let is_rust = |source: &&AdapterSource| matches!(source.language, Language::Rust { .. });
    if sources.iter().filter(is_rust).count() == 0 {
        return Ok(());
    }
    let toolchain = Toolchain::find()?;
    for source in sources {
        let Language::Rust { package, .. } = &source.language else { continue };
        let mut cargo = toolchain.cargo()?;
        cargo.current_dir(root).args(["rustc", "--locked", "--lib", "--package", package]);
        cargo.args(["--crate-type", "cdylib", "--profile", "adapter", "--target", TARGET]);
        cargo.args(toolchain.arguments()).arg("--target-dir").arg(target_dir);
        // Set by the calling cargo for the host's build.
        for variable in ["RUSTFLAGS", "CARGO_BUILD_TARGET", "CARGO_BUILD_RUSTFLAGS", "CARGO_TARGET_DIR"] {
            cargo.env_remove(variable);
        }
        cargo.env("CARGO_ENCODED_RUSTFLAGS", flags(root, &toolchain));
        run(&mut cargo).with_context(|| format!("compiling adapter {}", source.name))?;
    }
    Ok(())
}

/// Compiler flags: WebAssembly features that every engine supports, and no path of this machine in the
/// output, so that equal sources give equal bytes.
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

fn finish(name: &str, module: &Path, out: &Path) -> Result<BuiltAdapter> {
    let bytes = std::fs::read(module).with_context(|| format!("file {}", module.display()))?;
    let component = encode(&bytes).with_context(|| format!("adapter {name}"))?;
    inspect(&component).with_context(|| format!("adapter {name}"))?;
    let file = out.join(format!("{name}.wasm"));
    write(&file, out, &component).with_context(|| format!("file {}", file.display()))?;
    let digest = Sha256::digest(&component);
    let digest = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(BuiltAdapter { name: name.to_owned(), size: component.len(), digest, file })
}

/// Replaces the file atomically; an unchanged one keeps its time.
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
