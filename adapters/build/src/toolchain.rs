//! Finds a toolchain that compiles for WebAssembly, and runs programs.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

pub(crate) const TARGET: &str = "wasm32-unknown-unknown";

const DEBIAN_PACKAGES: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_CARGO: &str = "/usr/bin/cargo";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Toolchain {
    /// The active toolchain has the target's standard library.
    Plain,
    /// Debian's compiler and the source of its standard library, with the linker of the active toolchain.
    Debian {
        /// Folder of `rust-lld`.
        linker_folder: PathBuf,
        /// Folder of the standard library's source.
        library: PathBuf,
    },
}

impl Toolchain {
    /// Finds a toolchain; installs Debian's packages if needed and permitted.
    pub(crate) fn find() -> Result<Toolchain> {
        let folder = output(Command::new("rustc").args(["--print", "target-libdir", "--target", TARGET]));
        if folder.is_ok_and(|folder| Path::new(&folder).is_dir()) {
            return Ok(Toolchain::Plain);
        }
        if debian_library().is_none() {
            install_debian_packages()?;
        }
        let library = debian_library()
            .context("rust-web-src is installed, but holds no source of the standard library")?;
        Ok(Toolchain::Debian { linker_folder: linker_folder()?, library })
    }

    /// A cargo command with this toolchain.
    pub(crate) fn cargo(&self) -> Result<Command> {
        let Toolchain::Debian { linker_folder, .. } = self else {
            let mut cargo = Command::new("cargo");
            unwrap_compiler(&mut cargo);
            return Ok(cargo);
        };
        let mut paths = vec![linker_folder.clone()];
        paths.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
        let path: OsString = std::env::join_paths(paths).context("PATH")?;
        let mut cargo = Command::new(DEBIAN_CARGO);
        cargo.env("PATH", path).env("RUSTC", DEBIAN_RUSTC).env_remove("RUSTUP_TOOLCHAIN");
        // Debian has no standard library for this target: it is built from source, which only a nightly allows
        // by default.
        cargo.env("RUSTC_BOOTSTRAP", "1");
        unwrap_compiler(&mut cargo);
        Ok(cargo)
    }

    /// Further arguments of `cargo build`.
    pub(crate) fn arguments(&self) -> &'static [&'static str] {
        match self {
            Toolchain::Plain => &[],
            Toolchain::Debian { .. } => &["-Zbuild-std=std,panic_abort"],
        }
    }
}

/// A wrapper of the environment, such as Clippy in CI, belongs to one version of the compiler.
fn unwrap_compiler(cargo: &mut Command) {
    cargo.env_remove("RUSTC_WRAPPER").env_remove("RUSTC_WORKSPACE_WRAPPER");
}

/// Source of the standard library of Debian's compiler, if it is complete.
fn debian_library() -> Option<PathBuf> {
    if !Path::new(DEBIAN_CARGO).is_file() {
        return None;
    }
    let sysroot = output(Command::new(DEBIAN_RUSTC).args(["--print", "sysroot"])).ok()?;
    let library = Path::new(&sysroot).join("lib/rustlib/src/rust/library");
    library.join("std/Cargo.toml").is_file().then_some(library)
}

fn install_debian_packages() -> Result<()> {
    let packages = DEBIAN_PACKAGES.join(" ");
    let by_hand = format!("rustup target add {TARGET}` or `apt-get install -y {packages}");
    let root = output(Command::new("id").arg("-u")).is_ok_and(|id| id == "0");
    if !root || output(Command::new("apt-get").arg("--version")).is_err() {
        bail!("no toolchain here compiles for {TARGET}; run `{by_hand}` and try again");
    }
    let apt_get = |arguments: &[&str]| {
        run(Command::new("apt-get").env("DEBIAN_FRONTEND", "noninteractive").args(arguments))
    };
    let mut install = vec!["install", "-y", "--no-install-recommends"];
    install.extend(DEBIAN_PACKAGES);
    // Package lists are updated only if the first attempt fails.
    apt_get(&install)
        .or_else(|_| apt_get(&["update"]).and_then(|()| apt_get(&install)))
        .with_context(|| format!("no toolchain here compiles for {TARGET}; run `{by_hand}` and try again"))
}

fn linker_folder() -> Result<PathBuf> {
    let sysroot = output(Command::new("rustc").args(["--print", "sysroot"]))?;
    let version = output(Command::new("rustc").arg("-vV"))?;
    let host =
        version.lines().find_map(|line| line.strip_prefix("host: ")).context("`rustc -vV` names no host")?;
    let folder = Path::new(&sysroot).join("lib/rustlib").join(host).join("bin");
    if !folder.join("rust-lld").is_file() {
        bail!("no rust-lld in {}; install a rustup toolchain, which brings it", folder.display());
    }
    Ok(folder)
}

/// Runs a program; returns its standard output.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let shown = shown(command);
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run `{shown}`"))?;
    if !output.status.success() {
        bail!("`{shown}` failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Runs a program whose messages go to the user.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let shown = shown(command);
    // Standard output is reserved for the digests.
    let status = command.stdin(Stdio::null()).stdout(std::io::stderr()).status();
    let status = status.with_context(|| format!("cannot run `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` failed ({status})");
    }
    Ok(())
}

fn shown(command: &Command) -> String {
    let arguments = command.get_args().map(|argument| argument.to_string_lossy());
    std::iter::once(command.get_program().to_string_lossy()).chain(arguments).collect::<Vec<_>>().join(" ")
}
