//! Command line: arguments, exit codes of errors; `init` and `run`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, CommandFactory as _, Parser, Subcommand};
use marketprism_service::{Exit, FailureContext as _, check_host, init_logs, print, report, write_pages};
use marketprism_traces::TraceExport;

use super::{ab_latency, adapters, books, broker_users, edges, health, query, repair, reports, validation};
use crate::config::Config;
use crate::repair::RepairQuery;
use crate::role::Role;

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
    /// Create streams, consumers, databases and tables; list what differs from the configuration.
    ///
    /// Exit status: 0 all as configured, 1 error or a difference that cannot be changed in place, 3 differences that --apply
    /// would change. Never deletes anything.
    Init(InitArgs),
    /// Check the configuration file alone: every error at once, without a connection to anything.
    Check,
    /// Ask the central that runs here for its health, and print the page.
    ///
    /// Exit status: 0 healthy or degraded, or ready, 1 not, 2 it did not answer.
    Health(health::HealthArgs),
    /// Ingest messages into hot and replicate hot to cold until stopped. Creates what is missing first.
    Run(RunArgs),
    /// Report the integrity of the data, window by window, with reasons. Works while no central runs.
    ///
    /// Exit status: 0 whole, 1 not whole, 2 cannot tell.
    Integrity(reports::IntegrityArgs),
    /// Show the current state on one screen: what runs, what is wrong, what to do.
    ///
    /// Exit status: 0 all parts run and data arrives, 1 something is wrong, 2 cannot tell.
    Status(reports::JsonArgs),
    /// List the edges by their heartbeats: version, region, adapters, feeds, journal. Works while no central runs.
    ///
    /// Exit status: 0 every edge is well or was stopped, 1 an edge is silent or not healthy, 2 the broker did not answer.
    Edges(edges::EdgesArgs),
    /// Write the broker's users for the edges of a file, with least rights, and draw passwords for new ones. Needs no configuration of central.
    BrokerUsers(broker_users::BrokerUsersArgs),
    /// Check configuration, servers, versions, streams, tables, clocks and audits, each with its remedy. Changes nothing.
    ///
    /// Exit status: 0 no check fails, 1 a check fails, 2 a part did not answer.
    Diagnose(reports::JsonArgs),
    /// Show the state of an order book at a time, rebuilt from its stored changes (`orderbook_delta`), with exact decimals.
    ///
    /// Exit status: 0 the state is proven, or the newest that is stored; 1 the stored changes do not prove a state at that time, 2 no answer.
    Book(books::BookArgs),
    /// Check the whole way end to end: health, streams, consumers, counts by table, throughput over a short time, doubles, replication lag.
    ///
    /// Exit status: 0 passed, 1 failed, 2 cannot tell.
    Validate(validation::ValidateArgs),
    /// Watch rates, backlog, lag, memory and losses for minutes, a line per sample, and report at the end.
    ///
    /// Exit status: 0 passed, 1 failed, 2 cannot tell.
    Longrun(validation::LongRunArgs),
    /// Ask hot or cold with one SQL statement: table, CSV, JSON lines or Parquet. It only reads, within limits of rows and time.
    ///
    /// Exit status: 0 done, 2 refused or not done.
    Query(query::QueryArgs),
    /// Compare the latency of live events over JetStream and over the mirror on core NATS: p50, p90, p95 and p99 per hour.
    ///
    /// Exit status: 0 compared, 1 no event came on both ways, 2 the broker did not answer.
    AbLatency(ab_latency::AbLatencyArgs),
    /// Repair windows that differ between hot and cold, and ask edges to publish missing events again.
    ///
    /// Exit status: 0 everything is repaired, 1 something could not be repaired, 2 the repair could not run.
    Repair(RepairQuery),
    /// Bring versions of adapters to the edges.
    ///
    /// Exit status: 0 done, 1 an edge refused it, rolled it back or did not answer, 2 it could not begin.
    #[command(subcommand)]
    Adapters(adapters::AdaptersCommand),
    /// Write man pages and shell completions into a folder.
    #[command(hide = true)]
    Pages { folder: PathBuf },
}

impl Command {
    /// For reporting commands 1 means that something is wrong with the data, so an error of the command itself is 2.
    const fn error_exit(&self) -> Exit {
        match self {
            Self::Health(_)
            | Self::Integrity(_)
            | Self::Status(_)
            | Self::Edges(_)
            | Self::Diagnose(_)
            | Self::Book(_)
            | Self::Validate(_)
            | Self::Longrun(_)
            | Self::Query(_)
            | Self::AbLatency(_)
            | Self::Repair(_)
            | Self::Adapters(_) => Exit::NOT_DONE,
            _ => Exit::FAILED,
        }
    }
}

#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let error_exit = cli.command.error_exit();
    let written = match &cli.command {
        Command::Pages { folder } => Some(write_pages(Cli::command(), folder).map_err(anyhow::Error::from)),
        Command::BrokerUsers(args) => Some(broker_users::execute(args)),
        _ => None,
    };
    if let Some(written) = written {
        return report(written.map(|()| Exit::SUCCESS).or_exit(Exit::FAILED));
    }
    let started = init_logs().or_exit(Exit::NOT_DONE);
    report(started.and_then(|()| {
        let config = Config::load(&cli.config).or_exit(Exit::NOT_DONE)?;
        execute(cli, config).or_exit(error_exit)
    }))
}

fn execute(cli: Cli, config: Config) -> anyhow::Result<Exit> {
    check_host().map_err(|limit| anyhow::anyhow!(limit))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the async runtime")?;
    runtime.block_on(async {
        match cli.command {
            // Written before: they need no configuration.
            Command::Pages { .. } | Command::BrokerUsers(_) => Ok(Exit::SUCCESS),
            Command::Check => {
                print(&format!("{}: valid", cli.config.display()))?;
                Ok(Exit::SUCCESS)
            }
            Command::Init(args) => execute_init(&config, &args).await,
            Command::Run(args) => execute_run(config, &args).await,
            Command::Health(args) => health::execute(&config.http, &args).await,
            Command::Integrity(args) => reports::execute_integrity(&config, &args).await,
            Command::Status(args) => reports::execute_status(&config, &args).await,
            Command::Edges(args) => edges::execute(&config, &args).await,
            Command::Diagnose(args) => reports::execute_diagnose(&config, &args).await,
            Command::Book(args) => books::execute(&config, &args).await,
            Command::Validate(args) => validation::execute_validate(&config, &args).await,
            Command::Longrun(args) => validation::execute_longrun(&config, &args).await,
            Command::Query(args) => traced(&config, "query", query::execute(&config, &args)).await,
            Command::AbLatency(args) => ab_latency::execute(&config, &args).await,
            Command::Repair(args) => traced(&config, "repair", repair::execute(&config, &args)).await,
            Command::Adapters(command) => adapters::execute(&config, command).await,
        }
    })
}

/// A command with traces of its own, which are sent before it ends.
async fn traced(
    config: &Config,
    command: &str,
    work: impl Future<Output = anyhow::Result<Exit>>,
) -> anyhow::Result<Exit> {
    let instance = format!("{command}/{}", std::process::id());
    let traces = TraceExport::start(&config.traces, crate::run::PROGRAM, (&instance, None))?;
    let done = work.await;
    traces.end().await;
    done
}

#[derive(Debug, Args)]
pub struct InitArgs {
    /// Change settings that differ and can be changed in place.
    #[arg(long)]
    apply: bool,
}

async fn execute_init(config: &Config, args: &InitArgs) -> anyhow::Result<Exit> {
    let report = crate::init::once(config, args.apply).await?;
    print(&report.to_string()).context("cannot write the report")?;
    report.refuse_immutable()?;
    Ok(if report.has_drift() { Exit::DIFFERS } else { Exit::SUCCESS })
}

#[derive(Debug, Args)]
pub struct RunArgs {
    /// Tasks of this central.
    #[arg(long, value_enum, default_value_t)]
    role: Role,
}

async fn execute_run(config: Config, args: &RunArgs) -> anyhow::Result<Exit> {
    crate::run::run(config, args.role).await?;
    Ok(Exit::SUCCESS)
}
