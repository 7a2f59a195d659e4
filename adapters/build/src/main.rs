use anyhow::{Context, Result};
use clap::Parser;
use marketprism_adapter_build::{Options, build};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// Builds adapters as WebAssembly components; prints name, size, SHA-256 digest and file of each
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Adapters to build, by folder name; default: all
    names: Vec<String>,
    /// Also build the adapters that only tests use
    #[arg(long)]
    tests: bool,
    /// Folder of the components, relative to the workspace
    #[arg(long, default_value = "target/adapters")]
    out: PathBuf,
    /// Cargo's target folder, apart from the workspace's own so that neither waits for the other
    #[arg(long, default_value = "target/adapters-build")]
    target_dir: PathBuf,
    /// The workspace; default: searched from the current folder upwards
    #[arg(long)]
    root: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Without standard error there is nowhere to report.
            let _ = writeln!(std::io::stderr().lock(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<()> {
    let options = Options {
        names: arguments.names,
        tests: arguments.tests,
        out: arguments.out,
        target_dir: arguments.target_dir,
        root: arguments.root,
    };
    let outcome = build(&options)?;
    for built in outcome.built {
        let mut stdout = std::io::stdout().lock();
        writeln!(
            stdout,
            "{}  {} bytes  sha256:{}  {}",
            built.name,
            built.size,
            built.digest,
            built.file.display()
        )
        .context("standard output")?;
    }
    for skipped in outcome.skipped {
        writeln!(std::io::stderr().lock(), "skipped: {skipped}").context("standard error")?;
    }
    Ok(())
}
