use anyhow::{Context, Result};
use clap::Parser;
use marketprism_adapter_build::{Options, build};
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Without standard error there is nowhere to report.
            let _ = writeln!(std::io::stderr().lock(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    let report = build(options)?;
    for built in report.built {
        let (name, size, digest, file) = (built.name, built.size, built.digest, built.file.display());
        writeln!(std::io::stdout().lock(), "{name}  {size} bytes  sha256:{digest}  {file}")
            .context("standard output")?;
    }
    for skipped in report.skipped {
        writeln!(std::io::stderr().lock(), "skipped: {skipped}").context("standard error")?;
    }
    Ok(())
}
