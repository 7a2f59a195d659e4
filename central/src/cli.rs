//! The command line.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use marketprism_config::{Document, LogFormat, init_logs};

use crate::config::Config;
use crate::{init, run};

/// Exit status of `init` when settings differ that `--apply` would change.
const EXIT_DRIFT: u8 = 3;

#[derive(Debug, Parser)]
#[command(name = "marketprism-central", version, about = "Takes events from JetStream into ClickHouse")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create streams, consumers, databases and tables; report what is there and differs.
    ///
    /// Exit status: 0 all as configured, 1 error or a difference that cannot be changed in place, 3 differences that --apply
    /// would change. Nothing is ever deleted.
    Init(InitArgs),
    /// Take messages in until told to stop. Creates what is missing first.
    Run(RunArgs),
}

#[derive(Debug, Args)]
struct InitArgs {
    /// Configuration file.
    #[arg(long)]
    config: PathBuf,
    /// Change the settings that differ and can be changed in place.
    #[arg(long)]
    apply: bool,
}

#[derive(Debug, Args)]
struct RunArgs {
    /// Configuration file.
    #[arg(long)]
    config: PathBuf,
}

/// Runs the command line of this process. Errors go to standard error as one chain.
#[must_use]
pub fn main() -> ExitCode {
    init_logs(LogFormat::default());
    match execute(Cli::parse()) {
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

fn execute(cli: Cli) -> anyhow::Result<ExitCode> {
    let (Command::Init(InitArgs { config: path, .. }) | Command::Run(RunArgs { config: path })) =
        &cli.command;
    let document = Document::load(path)?;
    let config = Config::read(&document);
    document.finish()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the async runtime")?;
    match cli.command {
        Command::Init(args) => {
            let report = runtime.block_on(init::once(&config, args.apply))?;
            write!(std::io::stdout().lock(), "{report}").context("cannot write the report")?;
            report.refuse_immutable()?;
            Ok(if report.has_drift() { ExitCode::from(EXIT_DRIFT) } else { ExitCode::SUCCESS })
        }
        Command::Run(_) => {
            runtime.block_on(run::run(config))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}
