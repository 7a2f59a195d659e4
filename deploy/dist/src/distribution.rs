//! All steps of a distribution, in one folder: everything is in the archive, the Debian packages have the same files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use crate::PackOptions;
use crate::architecture::Architecture;
use crate::binaries::{self, PROGRAMS, PackedBinary};
use crate::checksums::sha256;
use crate::cross_build;
use crate::platform::Platform;
use crate::sbom::CrateGraph;
use crate::tools::{copy, copy_tracked, files, is_installed, run, source_date, write};
use crate::{adapter_kit, adapters, debian};

/// Files of the repository that the archive has as they are.
const FILES: [&str; 7] = [
    "LICENSE",
    "CHANGELOG.md",
    "SECURITY.md",
    "edge/README.md",
    "central/README.md",
    "deploy/README.md",
    "deploy/OPERATIONS.md",
];

/// Folders that `deploy/README.md` works with.
const FOLDERS: [&str; 7] = [
    "deploy/systemd",
    "deploy/clickhouse",
    "deploy/nats",
    "deploy/examples",
    "deploy/prometheus",
    "deploy/grafana",
    "deploy/kubernetes",
];

/// Returns a summary for the terminal.
pub fn pack(options: &PackOptions) -> anyhow::Result<String> {
    let root = &options.target.root;
    let root = fs::canonicalize(root).with_context(|| root.display().to_string())?;
    let architecture = options.target.arch()?;
    let host = Architecture::of_host()?;
    let platform = Platform::new(&root, host, architecture)?;
    let (built, out) = folders(options, &root, architecture, architecture == host);
    let name = format!("marketprism-{}-{}-linux-gnu", env!("CARGO_PKG_VERSION"), architecture.machine());
    if out.exists() {
        fs::remove_dir_all(&out).with_context(|| out.display().to_string())?;
    }
    fs::create_dir_all(&out).with_context(|| out.display().to_string())?;
    let out = fs::canonicalize(&out).with_context(|| out.display().to_string())?;
    let folder = out.join(&name);
    let mut binaries = Vec::new();
    for program in PROGRAMS {
        let packed = binaries::pack(program, &platform, &built, &folder)?;
        if options.binaries.is_none() {
            binaries::check_size(program, packed.bytes)?;
        }
        binaries.push(packed);
    }
    let names = if options.only.is_empty() { adapters::of_venues(&root)? } else { options.only.clone() };
    adapters::pack(&names, &platform, &options.adapters, &root, &options.key, &folder)?;
    adapter_kit::pack(&root, &platform, &built, &folder)?;
    let graph = CrateGraph::read(&root, architecture)?;
    let crates = names.iter().map(|name| format!("marketprism-adapter-{name}"));
    for name in PROGRAMS.map(str::to_owned).into_iter().chain(crates) {
        let bill = serde_json::to_string_pretty(&graph.bill(&name)?)?;
        write(&folder.join("sbom").join(format!("{name}.cdx.json")), bill)?;
    }
    for file in FILES {
        copy(&root.join(file), &folder.join(file))?;
    }
    for part in FOLDERS {
        copy_tracked(&root, part, &folder.join(part))?;
    }
    let needs = needs(architecture, &binaries);
    write(&folder.join("REQUIREMENTS"), &needs)?;
    let archive = archive(&out, &name)?;
    let mut packages = vec![archive];
    if is_installed("dpkg-deb") {
        for binary in &binaries {
            debian::pack(binary, architecture, &root, &folder, &out)?;
        }
        packages.extend(files(&out, "deb")?);
    }
    write(&out.join("SHA256SUMS"), sums(&out, &packages)?)?;
    let listed: Vec<String> = packages.iter().map(|path| path.display().to_string()).collect();
    let skipped = if listed.len() == 1 { "no Debian packages: dpkg-deb is missing\n" } else { "" };
    Ok(format!("{needs}{skipped}{}\n{}", listed.join("\n"), out.join("SHA256SUMS").display()))
}

/// Of the built programs, and for the packages.
fn folders(
    options: &PackOptions,
    root: &Path,
    architecture: Architecture,
    is_host: bool,
) -> (PathBuf, PathBuf) {
    let built = options.binaries.clone();
    let built = built.unwrap_or_else(|| {
        if is_host { root.join("target/release") } else { cross_build::programs(root, architecture) }
    });
    // Packages of one architecture leave those of another.
    let suffix = if is_host { String::new() } else { format!("-{}", architecture.debian()) };
    let out = options.out.clone().unwrap_or_else(|| root.join(format!("target/dist-packages{suffix}")));
    (built, out)
}

fn needs(architecture: Architecture, binaries: &[PackedBinary]) -> String {
    let line = |binary: &PackedBinary| {
        let (major, minor) = binary.needs.glibc;
        let megabytes = binary.bytes as f64 / 1e6;
        let libraries = binary.needs.libraries.join(" ");
        format!("{}: {megabytes:.1} MB, glibc {major}.{minor} or later; {libraries}\n", binary.name)
    };
    let machine = format!("Linux on {}\n", architecture.machine());
    machine + &binaries.iter().map(line).collect::<String>()
}

/// Reproducible: names in order, no owners, one time.
fn archive(out: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let archive = out.join(format!("{name}.tar.gz"));
    let mut tar = Command::new("tar");
    tar.args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--format=gnu", "-I", "gzip -n"]);
    tar.arg(format!("--mtime=@{}", source_date())).arg("-cf").arg(&archive).arg("-C").arg(out).arg(name);
    run(&mut tar)?;
    Ok(archive)
}

fn sums(out: &Path, packages: &[PathBuf]) -> anyhow::Result<String> {
    let mut text = String::new();
    for path in packages {
        let name = path.strip_prefix(out).unwrap_or(path).display();
        text.push_str(&format!("{}  {name}\n", sha256(path)?));
    }
    Ok(text)
}
