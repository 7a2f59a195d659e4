//! Commands, arguments, output and exit status of the command line.

mod changes;
mod edge_client;
mod health;
mod inspect;
mod reload;
mod suite;
mod summary;

use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::{Args, CommandFactory as _, Parser, Subcommand};
use marketprism_adapter_host::Adapter;
use marketprism_service::{
    Exit, Failure, FailureContext as _, ServiceState, Signals, check_host, init_logs, print, report,
    tell_service_manager, write_pages,
};
use marketprism_traces::TraceExport;

use crate::config::{Adapters, Config};
use crate::feed::check_online;
use crate::recorder::record;
use crate::reload::ConfigWatch;
use crate::renormalize::{Renormalize, RenormalizeOptions};
use crate::replay::{self, ReplayOptions};
use crate::run::{Edge, RunResult};
use crate::selfcare::start_again;
use crate::swap::resume_adapters;

use self::changes::{KeygenArguments, LoadArguments, RollBackArguments, SignArguments};
use self::edge_client::EdgeArguments;
use self::inspect::describe;
use self::suite::{TestArguments, run_suite};
use self::summary::summary;

/// Name and version in traces.
const PROGRAM: (&str, &str) = ("marketprism-edge", env!("CARGO_PKG_VERSION"));

/// Collects market data of venues, normalizes it in sandboxed adapters and publishes it to NATS JetStream.
#[derive(Debug, Parser)]
#[command(name = "marketprism-edge", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Collect until SIGTERM or SIGINT. Exit status: 0 all events delivered or in the journal, 1 failed, which may pass (a port in use), 2 configuration, 3 another process runs the edge, or this host
    /// denies what it needs, 4 frames or events left behind.
    Run(ConfigArgument),
    /// Check a configuration as `run` does before it connects. Lists every error; exit status 2 if there is one, 3 if
    /// this host denies what adapters need.
    Check(CheckArguments),
    /// Apply the configuration file of a running edge. Exit status: 0 it is what runs now, but for what needs a restart, 1 it is invalid or
    /// cannot be applied, 2 the edge did not answer.
    Reload(EdgeArguments),
    /// Ask a running edge for its health, and print the page. Exit status: 0 healthy or degraded, or ready, 1 not, 2 the edge did not
    /// answer.
    Health(health::HealthArguments),
    /// Print the normalized events of recordings as JSON lines. Exit status 2 if a frame was malformed.
    Replay(ReplayArguments),
    /// Normalize kept raw frames again with another version of the adapter, and publish what differs as a correction: its events win over the
    /// stored ones. Can be repeated. Exit status: 0 done, 2 it was refused, or the broker did not take all.
    Renormalize(RenormalizeOptions),
    /// Record the frames of the venues without publishing anything.
    Record(RecordArguments),
    /// List, inspect, test, sign and change adapters.
    #[command(subcommand)]
    Adapter(AdapterCommand),
    /// Write man pages and shell completions into a folder.
    #[command(hide = true)]
    Pages { folder: PathBuf },
}

#[derive(Debug, Args)]
struct ConfigArgument {
    /// Configuration file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

#[derive(Debug, Args)]
struct CheckArguments {
    #[command(flatten)]
    file: ConfigArgument,
    /// Ask the venues for the symbols too, and the adapters for the plan. Exit status 2 if a venue does not list one, or does not
    /// answer.
    #[arg(long)]
    online: bool,
}

#[derive(Debug, Args)]
struct ReplayArguments {
    /// Component of the adapter.
    #[arg(long, value_name = "FILE")]
    adapter: PathBuf,
    #[command(flatten)]
    options: ReplayOptions,
}

#[derive(Debug, Args)]
struct RecordArguments {
    /// Configuration file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Folder for the recordings.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Stop after this time. Default: at SIGTERM or SIGINT.
    #[arg(long, value_name = "SECONDS")]
    for_seconds: Option<u64>,
}

#[derive(Debug, Subcommand)]
enum AdapterCommand {
    /// Print the adapters of a running edge and their changes.
    List(EdgeArguments),
    /// Change to another version of an adapter in a running edge. Exit status: 0 it runs, 1 it was refused or rolled back, 2 the edge did
    /// not take it.
    Load(LoadArguments),
    /// Return to the version before, or roll a change back that runs.
    Rollback(RollBackArguments),
    /// Draw a key to sign adapters with.
    Keygen(KeygenArguments),
    /// Put golden frames, name and version, and a signature into a component.
    Sign(SignArguments),
    /// Print identity and capabilities of an adapter as JSON.
    Inspect {
        /// Component of the adapter.
        #[arg(value_name = "FILE")]
        adapter: PathBuf,
    },
    /// Run the conformance suite on an adapter. Exit status: 0 all checks passed, 1 a check failed, 2 the suite could not run.
    Test(TestArguments),
}

/// Runs the command, prints its error, returns its exit status.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    report(init_logs().or_exit(Exit::NOT_DONE).and_then(|()| run_command(cli.command)))
}

fn load(path: &Path, adapters: &mut Adapters) -> Result<Config, Failure> {
    let config = Config::load(path, adapters);
    if let Some(limit) = adapters.host_limit() {
        return Err(anyhow!("{limit}")).or_exit(Exit::NOT_STARTED);
    }
    config.or_exit(Exit::NOT_DONE)
}

fn load_adapter(path: &Path) -> anyhow::Result<Adapter> {
    Adapters::default().load(path, None).map_err(|error| anyhow!("{}: {error}", path.display()))
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    check_host().map_err(|limit| anyhow!(limit)).or_exit(Exit::NOT_STARTED)?;
    let built = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("edge").build();
    built.context("the async runtime cannot start").or_exit(Exit::NOT_STARTED)
}

fn run_command(command: Command) -> Result<Exit, Failure> {
    let mut adapters = Adapters::default();
    match command {
        Command::Pages { folder } => {
            write_pages(Cli::command(), &folder).with_context(|| folder.display().to_string())?;
        }
        Command::Run(file) => {
            // Now: later the file may have been replaced, and the name that the system gives would be of no file.
            let program = std::env::current_exe().context("path of this program")?;
            let runtime = runtime()?;
            // Before the adapters are compiled: a signal meanwhile is a stop, not a kill.
            let signals = runtime.block_on(async { Signals::with_reload() });
            let signals = signals.context("signals cannot be received").or_exit(Exit::NOT_STARTED)?;
            let watch = ConfigWatch::new(&file.config);
            let config = load(&file.config, &mut adapters)?;
            resume_adapters(&config, &mut adapters);
            let ended = runtime.block_on(async {
                let names = (config.name.as_str(), Some(config.region.as_str()));
                let traces = TraceExport::start(&config.traces, PROGRAM, names)?;
                let edge = Edge::start(watch, config, adapters, signals).await?;
                let ended = match edge {
                    Some(edge) => edge.run().await.map(Some),
                    None => Ok(None),
                };
                traces.end().await;
                ended
            });
            // Tasks that hang keep nobody.
            runtime.shutdown_background();
            let Some(RunResult { left, restart }) = ended? else { return Ok(Exit::SUCCESS) };
            if restart.is_some() {
                tell_service_manager(ServiceState::Restarting);
                let error = start_again(&program);
                return Err(anyhow!(
                    "{}: {error}; the edge has stopped and does not start again",
                    program.display()
                ))
                .or_exit(Exit::FAILED);
            }
            return Ok(if left.is_complete() { Exit::SUCCESS } else { Exit::UNDELIVERED });
        }
        Command::Check(arguments) => {
            let config = load(&arguments.file.config, &mut adapters)?;
            print(&summary(&config, &adapters))?;
            if arguments.online {
                let check = runtime()?.block_on(check_online(&config, &adapters));
                print(&check.text)?;
                return Ok(if check.is_complete { Exit::SUCCESS } else { Exit::NOT_DONE });
            }
        }
        Command::Replay(arguments) => return run_replay(&arguments),
        Command::Renormalize(options) => {
            let config = load(&options.config, &mut adapters)?;
            let span = Renormalize::prepare(options, config, &mut adapters).or_exit(Exit::NOT_DONE)?;
            let runtime = runtime()?;
            let text = runtime.block_on(span.run()).or_exit(Exit::NOT_DONE)?;
            print(&text)?;
        }
        Command::Record(arguments) => {
            let config = load(&arguments.config, &mut adapters)?;
            let limit = arguments.for_seconds.map(Duration::from_secs);
            runtime()?.block_on(record(config, &adapters, &arguments.out, limit))?;
        }
        Command::Reload(edge) => {
            return changed(runtime()?.block_on(reload::reload(&edge)).or_exit(Exit::NOT_DONE)?);
        }
        Command::Health(asked) => {
            return changed(runtime()?.block_on(health::health(&asked)).or_exit(Exit::NOT_DONE)?);
        }
        Command::Adapter(command) => return run_adapter_command(command),
    }
    Ok(Exit::SUCCESS)
}

/// Prints a report; the second value is true if what was asked for is done.
fn changed((text, is_done): (String, bool)) -> Result<Exit, Failure> {
    print(&text).or_exit(Exit::NOT_DONE)?;
    Ok(if is_done { Exit::SUCCESS } else { Exit::FAILED })
}

fn run_adapter_command(command: AdapterCommand) -> Result<Exit, Failure> {
    match command {
        AdapterCommand::Inspect { adapter } => print(&describe(&load_adapter(&adapter)?))?,
        AdapterCommand::Test(arguments) => return changed(run_suite(arguments).or_exit(Exit::NOT_DONE)?),
        AdapterCommand::Keygen(arguments) => print(&changes::keygen(&arguments)?)?,
        AdapterCommand::Sign(arguments) => print(&changes::sign(&arguments)?)?,
        AdapterCommand::List(edge) => print(&runtime()?.block_on(changes::list(&edge))?)?,
        AdapterCommand::Load(arguments) => {
            return changed(runtime()?.block_on(changes::load(arguments)).or_exit(Exit::NOT_DONE)?);
        }
        AdapterCommand::Rollback(arguments) => {
            return changed(runtime()?.block_on(changes::roll_back(arguments)).or_exit(Exit::NOT_DONE)?);
        }
    }
    Ok(Exit::SUCCESS)
}

fn run_replay(arguments: &ReplayArguments) -> Result<Exit, Failure> {
    let adapter = load_adapter(&arguments.adapter)?;
    let mut out = BufWriter::with_capacity(1 << 20, std::io::stdout().lock());
    match replay::replay(&adapter, &arguments.options, &mut out, &mut std::io::stderr().lock()) {
        Ok(replay) if replay.faults > 0 => Ok(Exit::FAILED),
        Ok(replay) if replay.malformed > 0 => Ok(Exit::NOT_DONE),
        Ok(_) => Ok(Exit::SUCCESS),
        Err(error) if is_closed_pipe(&error) => Ok(Exit::SUCCESS),
        Err(error) => Err(error.into()),
    }
}

/// A reader that closed the pipe is no error.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let io = error.chain().find_map(|cause| cause.downcast_ref::<std::io::Error>());
    io.is_some_and(|io| io.kind() == std::io::ErrorKind::BrokenPipe)
}
