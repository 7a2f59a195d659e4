//! `make dist`: packs binaries and adapters that are built already. It compiles nothing and changes nothing outside its folder.

mod adapter_kit;
mod adapters;
mod binaries;
mod checksums;
mod debian;
mod distribution;
mod elf;
mod sbom;
mod tools;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use marketprism_service::{Exit, FailureContext as _, print, report};

#[derive(Debug, Parser)]
#[command(name = "marketprism-dist", version, about = "Packs built binaries and adapters")]
pub struct Options {
    /// Root of the repository.
    #[arg(long, value_name = "DIR", default_value = ".")]
    root: PathBuf,
    /// Folder with the built programs.
    #[arg(long, value_name = "DIR", default_value = "target/release")]
    binaries: PathBuf,
    /// Folder with the built adapters.
    #[arg(long, value_name = "DIR", default_value = "target/adapters")]
    adapters: PathBuf,
    /// Adapter to pack; may be given several times. Default: every one of a venue.
    #[arg(long = "adapter", value_name = "NAME")]
    only: Vec<String>,
    /// Secret key of `marketprism-edge adapter keygen` that signs the adapters. It is drawn if the file is missing.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Folder for the packages; what it holds is replaced.
    #[arg(long, value_name = "DIR", default_value = "target/dist-packages")]
    out: PathBuf,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let packed = distribution::pack(&options).and_then(|summary| Ok(print(&summary)?));
    report(packed.map(|()| Exit::SUCCESS).or_exit(Exit::FAILED))
}
