//! The command line.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use marketprism_config::{Document, LogFormat, init_logs};

use super::{init, repair, run};
use crate::config::Config;

#[derive(Debug, Parser)]
#[command(name = "marketprism-central", version, about = "Takes events from JetStream into ClickHouse")]
struct Cli {
    /// Configuration file.
    #[arg(long, global = true, default_value = "central.toml")]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create streams, consumers, databases and tables; report what is there and differs.
    ///
    /// Exit status: 0 all as configured, 1 error or a difference that cannot be changed in place, 3 differences that --apply
    /// would change. Nothing is ever deleted.
    Init(init::InitArgs),
    /// Take messages in and copy them to cold until told to stop. Creates what is missing first.
    Run(run::RunArgs),
    /// Mend windows that are not the same in hot and cold, and ask edges for events that both lack.
    ///
    /// Exit status: 0 nothing is left to mend, 1 something stays as it is, 2 the repair could not run.
    Repair(repair::RepairArgs),
}

/// Runs the command line of this process. Errors go to standard error as one chain.
#[must_use]
pub fn main() -> ExitCode {
    init_logs(LogFormat::default());
    match execute(&Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            let written = writeln!(std::io::stderr().lock(), "marketprism-central: {error:#}");
            if let Err(error) = written {
                tracing::debug!(%error, "standard error is closed");
            }
            ExitCode::FAILURE
        }
    }
}

fn execute(cli: &Cli) -> anyhow::Result<ExitCode> {
    let config = load(&cli.config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the async runtime")?;
    runtime.block_on(async {
        match &cli.command {
            Command::Init(args) => init::execute(&config, args).await,
            Command::Run(args) => run::execute(config, args).await,
            Command::Repair(args) => Ok(repair::execute(&config, args).await),
        }
    })
}

fn load(path: &Path) -> anyhow::Result<Config> {
    let document = Document::load(path)?;
    let config = Config::read(&document);
    document.finish()?;
    Ok(config)
}
