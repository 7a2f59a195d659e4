//! The command line.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use marketprism_config::Document;
use marketprism_service::{Exit, FailureContext as _, init_logs, report};

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
    /// Exit code of an error. For the commands that report, 1 means that something is wrong with the data: an error says nothing of it.
    const fn error_exit(&self) -> Exit {
        match self {
            Self::Integrity(_) | Self::Status(_) | Self::Diagnose(_) | Self::Repair(_) => Exit::NOT_DONE,
            _ => Exit::FAILED,
        }
    }
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    init_logs();
    let cli = Cli::parse();
    let error_exit = cli.command.error_exit();
    report(execute(cli).or_exit(error_exit))
}

fn execute(cli: Cli) -> anyhow::Result<Exit> {
    let config = load(&cli.config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the async runtime")?;
    runtime.block_on(async {
        match cli.command {
            Command::Init(args) => init::execute(&config, &args).await,
            Command::Run(args) => run::execute(config, &args).await,
            Command::Integrity(args) => integrity::execute(&config, &args).await,
            Command::Status(args) => status::execute(&config, &args).await,
            Command::Diagnose(args) => diagnose::execute(&config, &args).await,
            Command::Repair(args) => repair::execute(&config, &args).await,
        }
    })
}

fn load(path: &Path) -> anyhow::Result<Config> {
    let document = Document::load(path)?;
    let config = Config::read(&document);
    document.finish()?;
    Ok(config)
}
