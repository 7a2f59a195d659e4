//! The command line.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use marketprism_config::{Document, LogFormat, init_logs};

use super::output::EXIT_CANNOT_TELL;
use super::{diagnose, init, integrity, repair, run, status};
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
    /// Say of the data whether it is whole, window by window, with the reasons. Works while no central runs.
    ///
    /// Exit status: 0 whole, 1 not whole, 2 cannot tell.
    Integrity(integrity::IntegrityArgs),
    /// Say what runs now, what is wrong and what to do about it, in one screen.
    ///
    /// Exit status: 0 everything runs and data arrives, 1 something is wrong, 2 cannot tell.
    Status(status::StatusArgs),
    /// Look at everything that central needs: configuration, servers, versions, streams, tables, clocks, audits. Changes nothing.
    ///
    /// Exit status: 0 nothing fails, 1 something does, 2 somebody did not answer.
    Diagnose(diagnose::DiagnoseArgs),
    /// Mend windows that are not the same in hot and cold, and ask edges for events that both lack.
    ///
    /// Exit status: 0 nothing is left to mend, 1 something stays as it is, 2 the repair could not run.
    Repair(repair::RepairArgs),
}

impl Command {
    /// Exit status of an error. Of the commands that report, 1 means that something is wrong with the data: an error tells nothing.
    fn error_status(&self) -> ExitCode {
        match self {
            Self::Integrity(_) | Self::Status(_) | Self::Diagnose(_) | Self::Repair(_) => {
                ExitCode::from(EXIT_CANNOT_TELL)
            }
            _ => ExitCode::FAILURE,
        }
    }
}

/// Runs the command line of this process. Errors go to standard error as one chain.
#[must_use]
pub fn main() -> ExitCode {
    init_logs(LogFormat::default());
    let cli = Cli::parse();
    match execute(&cli) {
        Ok(code) => code,
        Err(error) => {
            let written = writeln!(std::io::stderr().lock(), "marketprism-central: {error:#}");
            if let Err(error) = written {
                tracing::debug!(%error, "standard error is closed");
            }
            cli.command.error_status()
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
            Command::Integrity(args) => integrity::execute(&config, args).await,
            Command::Status(args) => status::execute(&config, args).await,
            Command::Diagnose(args) => diagnose::execute(&config, args).await,
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
