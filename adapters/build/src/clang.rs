//! Adapters in C: bindings by wit-bindgen's generator, compiled without a C library.

use crate::toolchain::{output, run};
use crate::workspace::CONTRACT;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;
use wit_bindgen_core::{Files, wit_parser::Resolve};

/// Packages with the compiler, for messages.
pub(crate) const INSTALL: &str = "apt-get install -y clang lld";
const WORLD: &str = "venue-adapter";

/// Can this machine compile C for WebAssembly?
pub(crate) fn is_installed() -> bool {
    ["clang", "wasm-ld"].iter().all(|program| output(Command::new(program).arg("--version")).is_ok())
}

/// Compiles `src` and `libc` of an adapter's folder with the contract's bindings; returns the core module.
/// Intermediate files go to `work`.
pub(crate) fn compile(root: &Path, folder: &Path, work: &Path) -> Result<PathBuf> {
    std::fs::create_dir_all(work).with_context(|| format!("folder {}", work.display()))?;
    let objects = bindings(root, folder, work)?;
    let module = work.join("module.wasm");
    let mut clang = clang(folder, work);
    clang.args(["-Wall", "-Wextra"]).arg("-I").arg(folder.join("src"));
    clang.args(sources(&folder.join("src"))?).args(sources(&folder.join("libc"))?).args(objects);
    // Stack first: an overflow traps instead of overwriting data.
    for option in ["--no-entry", "--stack-first", "-zstack-size=131072", "--strip-all", "--fatal-warnings"] {
        clang.arg(format!("-Wl,{option}"));
    }
    run(clang.arg("-o").arg(&module))?;
    Ok(module)
}

/// Generates and compiles the bindings: an object with the code, and one with the contract's types.
fn bindings(root: &Path, folder: &Path, work: &Path) -> Result<[PathBuf; 2]> {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(root.join(CONTRACT))?;
    let world = resolve.select_world(&[package], Some(WORLD))?;
    let mut files = Files::default();
    wit_bindgen_c::Opts::default().build().generate(&mut resolve, world, &mut files)?;
    let (mut code, mut types) = (None, None);
    for (name, content) in files.iter() {
        let file = work.join(name);
        std::fs::write(&file, content).with_context(|| format!("file {}", file.display()))?;
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("c") => code = Some(file),
            Some("o") => types = Some(file),
            _ => {}
        }
    }
    let (Some(code), Some(types)) = (code, types) else {
        bail!("the bindings have no source or no types");
    };
    let object = work.join("bindings.o");
    // No warnings for generated code.
    run(clang(folder, work).arg("-w").arg("-c").arg(code).arg("-o").arg(&object))?;
    Ok([object, types])
}

/// Every engine has bulk memory and sign extension; without the first, `memcpy` would call itself.
fn clang(folder: &Path, work: &Path) -> Command {
    let mut clang = Command::new("clang");
    clang.args(["--target=wasm32-unknown-unknown", "-std=c17", "-O2", "-mbulk-memory", "-msign-ext"]);
    clang.args(["-ffreestanding", "-nostdlib", "-nostdlibinc", "-isystem"]).arg(folder.join("libc"));
    clang.arg("-I").arg(work);
    clang
}

/// Sorted, so that equal sources give an equal module.
fn sources(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("folder {}", folder.display()))?;
    let mut found: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    found.retain(|path| path.extension().is_some_and(|extension| extension == "c"));
    found.sort();
    Ok(found)
}
