//! Builds the programs for another architecture than this machine's.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use crate::adapter_kit::BUILD_TOOL;
use crate::architecture::Architecture;
use crate::binaries::PROGRAMS;
use crate::cross_toolchain::{CrossToolchain, folder};
use crate::tools::run_shown;

/// The built programs.
pub fn programs(root: &Path, architecture: Architecture) -> PathBuf {
    folder(root, architecture).join(architecture.target()).join("release")
}

/// Returns a line for the terminal.
pub fn build(root: &Path, architecture: Architecture) -> anyhow::Result<String> {
    let root = std::fs::canonicalize(root).with_context(|| root.display().to_string())?;
    if !architecture.is_foreign(Architecture::of_host()?)? {
        return Ok(format!("{} is this machine's: `make build` builds for it", architecture.debian()));
    }
    let toolchain = CrossToolchain::install(&folder(&root, architecture))?;
    run_shown(&mut cargo(&toolchain, &root, architecture))?;
    Ok(format!("built for {} in {}", architecture.debian(), programs(&root, architecture).display()))
}

/// The repository's cargo with the toolchain's compilers, in a target folder of its own.
fn cargo(toolchain: &CrossToolchain, root: &Path, architecture: Architecture) -> Command {
    let target = architecture.target();
    let mut cargo = Command::new("cargo");
    cargo.current_dir(root).args(["build", "--release", "--locked", "--bins", "--target", &target]);
    cargo.arg("--target-dir").arg(folder(root, architecture));
    for package in PROGRAMS.into_iter().chain([BUILD_TOOL]) {
        cargo.args(["--package", package]);
    }
    // Set by a calling cargo or by the user for this machine.
    for variable in [
        "RUSTFLAGS",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
        "CARGO_BUILD_TARGET",
        "CARGO_BUILD_RUSTFLAGS",
        "CARGO_TARGET_DIR",
    ] {
        cargo.env_remove(variable);
    }
    let gcc = toolchain.path("aarch64-linux-gnu-gcc");
    let name = target.replace('-', "_");
    cargo.env("RUSTC", toolchain.path("rustc")).env("LD_LIBRARY_PATH", toolchain.libraries());
    cargo.env(format!("CARGO_TARGET_{}_LINKER", name.to_uppercase()), &gcc);
    cargo.env(format!("CC_{name}"), &gcc).env(format!("AR_{name}"), toolchain.path("aarch64-linux-gnu-ar"));
    // The linker's script for the C library names files below `/`.
    let mut flags = OsString::from("-Clink-arg=--sysroot=");
    flags.push(toolchain.root());
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags);
    cargo
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_in_c_and_the_linker_take_the_compilers_of_the_target() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("target/arm64/root")).unwrap();
        let toolchain = CrossToolchain::open(&super::folder(folder.path(), Architecture::Arm64)).unwrap();
        let cargo = cargo(&toolchain, folder.path(), Architecture::Arm64);
        let variable = |name: &str| {
            let value = cargo.get_envs().find(|(variable, _)| *variable == name).and_then(|(_, value)| value);
            value.unwrap_or_else(|| panic!("{name} is not set")).to_str().unwrap().to_owned()
        };
        for name in ["CC_aarch64_unknown_linux_gnu", "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER"] {
            assert!(variable(name).ends_with("root/usr/bin/aarch64-linux-gnu-gcc"), "{}", variable(name));
        }
        assert!(variable("AR_aarch64_unknown_linux_gnu").ends_with("root/usr/bin/aarch64-linux-gnu-ar"));
        assert!(variable("RUSTC").ends_with("root/usr/bin/rustc"));
        assert!(variable("CARGO_ENCODED_RUSTFLAGS").ends_with("target/arm64/root"));
        let arguments: Vec<&str> = cargo.get_args().map(|argument| argument.to_str().unwrap()).collect();
        let after = |name: &str| {
            let values = arguments.windows(2).filter(|pair| pair[0] == name).map(|pair| pair[1]);
            values.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(after("--target"), "aarch64-unknown-linux-gnu");
        assert_eq!(after("--package"), "marketprism-edge marketprism-central marketprism-adapter-build");
        // Another compiler's folder: this machine's own build is not compiled again because of it.
        assert!(after("--target-dir").ends_with("target/arm64"), "{arguments:?}");
        assert!(arguments.contains(&"--locked"));
    }

    #[test]
    fn packing_before_building_says_what_to_run() {
        let folder = tempfile::tempdir().unwrap();
        let error = CrossToolchain::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("marketprism-dist build --arch arm64"), "{error}");
    }
}
