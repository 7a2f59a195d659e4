//! `make dist`: packs programs and adapters that are built already, and builds the programs for arm64 on amd64.
//! Neither changes anything outside its folder.

mod adapter_kit;
mod adapters;
mod architecture;
mod binaries;
mod checksums;
mod cross_build;
mod cross_toolchain;
mod debian;
mod distribution;
mod elf;
mod platform;
mod sbom;
mod tools;

use std::path::PathBuf;
use std::process::ExitCode;

use architecture::Architecture;
use clap::{Args, Parser, Subcommand};
use marketprism_service::{Exit, FailureContext as _, print, report};

#[derive(Debug, Parser)]
#[command(name = "marketprism-dist", version, about = "Makes the packages of a release")]
struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build the programs for another architecture than this machine's, with Debian's compilers.
    Build(TargetOptions),
    /// Pack built programs and adapters.
    Pack(PackOptions),
}

#[derive(Debug, Args)]
struct TargetOptions {
    /// Architecture of the programs. Default: that of this machine.
    #[arg(long, value_name = "ARCH")]
    arch: Option<Architecture>,
    /// Root of the repository.
    #[arg(long, value_name = "DIR", default_value = ".")]
    root: PathBuf,
}

#[derive(Debug, Args)]
struct PackOptions {
    #[command(flatten)]
    target: TargetOptions,
    /// Folder with the built programs, which may have any size. Default: target/release, for arm64 on amd64 that of `build`.
    #[arg(long, value_name = "DIR")]
    binaries: Option<PathBuf>,
    /// Folder with the built adapters.
    #[arg(long, value_name = "DIR", default_value = "target/adapters")]
    adapters: PathBuf,
    /// Adapter to pack; may be given several times. Default: every one of a venue.
    #[arg(long = "adapter", value_name = "NAME")]
    only: Vec<String>,
    /// Secret key of `marketprism-edge adapter keygen` that signs the adapters. It is drawn if the file is missing.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Folder for the packages; what it holds is replaced. Default: target/dist-packages, for another architecture target/dist-packages-ARCH.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl TargetOptions {
    fn arch(&self) -> anyhow::Result<Architecture> {
        self.arch.map_or_else(Architecture::of_host, Ok)
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    let done = match &options.command {
        Command::Build(target) => target.arch().and_then(|arch| cross_build::build(&target.root, arch)),
        Command::Pack(options) => distribution::pack(options),
    };
    let shown = done.and_then(|summary| Ok(print(&summary)?));
    report(shown.map(|()| Exit::SUCCESS).or_exit(Exit::FAILED))
}
