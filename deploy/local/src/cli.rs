//! The command line.

use clap::{Args, Parser, Subcommand};
use marketprism_service::{Exit, print};

use crate::install::Installer;
use crate::stack::{self, DataAfterStop, VenueChoice};
use crate::{ColdPlace, Console, Settings, StackPaths};

/// The whole system on one machine
#[derive(Debug, Parser)]
#[command(name = "marketprism-local", version)]
pub struct Arguments {
    /// Subcommand
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the parts that are not running; return when data is in hot ClickHouse
    ///
    /// MARKETPRISM_NATS_URL and CLICKHOUSE_URL select running servers;
    /// MARKETPRISM_LOCAL__{NATS,NATS_MONITORING,CLICKHOUSE,CLICKHOUSE_COLD,
    /// CENTRAL,EDGE,EDGE_METRICS,SIMULATOR}_PORT move the ports. MARKETPRISM_LOCAL__COLD=apart keeps the
    /// cold database on an engine of its own, =together on the same one; without it the earlier place is
    /// kept.
    Up(Up),
    /// Stop the parts that `up` started, and no others; the data stays
    Down(Down),
    /// `down`, then `up`; the data stays
    Restart(Up),
    /// Print the end of the parts' logs
    Logs(Logs),
    /// Check ports, disks, locks and processes of this machine, then all that `marketprism-central diagnose`
    /// checks; exit status 1 if something is wrong
    Diagnose,
    /// Show processes, health, memory, and rows in the tables; exit status 3 if a part is missing or
    /// unhealthy
    Status,
    /// Install the parts that the machine does not have
    Install(Install),
}

#[derive(Debug, Args)]
struct Up {
    /// Venues to collect from
    #[arg(long, value_enum, default_value = "auto", env = "MARKETPRISM_VENUES")]
    venues: VenueChoice,
    /// Keep the cold database on an engine of its own, as MARKETPRISM_LOCAL__COLD=apart does
    #[arg(long)]
    split: bool,
}

#[derive(Debug, Args)]
struct Logs {
    /// Parts whose logs are printed; none given: all
    parts: Vec<String>,
    /// Go on with new lines until Ctrl-C
    #[arg(long, short)]
    follow: bool,
}

#[derive(Debug, Args)]
struct Down {
    /// Delete data, configuration and logs too; downloads stay
    #[arg(long)]
    purge: bool,
    /// Do not ask before deleting
    #[arg(long, requires = "purge")]
    yes: bool,
}

#[derive(Debug, Args)]
struct Install {
    /// Install everything that tests need and print its paths as NAME=value lines
    #[arg(long)]
    print_env: bool,
    /// Also install a Python with the ClickHouse client, schemathesis and a proxy
    #[arg(long)]
    python: bool,
}

pub async fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    let paths = StackPaths::find()?;
    let console = Console::output();
    match arguments.command {
        Command::Up(up) => up.run(&paths, &console).await,
        Command::Restart(up) => {
            stack::down(&paths, DataAfterStop::Keep, &console)?;
            up.run(&paths, &console).await
        }
        Command::Logs(logs) => stack::logs(&paths, &logs.parts, logs.follow),
        Command::Diagnose => stack::diagnose(&paths, &Settings::from_environment()?, &console),
        Command::Down(down) => {
            let purge = match (down.purge, down.yes) {
                (false, _) => DataAfterStop::Keep,
                (true, false) => DataAfterStop::Ask,
                (true, true) => DataAfterStop::Delete,
            };
            stack::down(&paths, purge, &console)?;
            Ok(Exit::SUCCESS)
        }
        Command::Status => {
            let all_healthy = stack::status(&paths, &Settings::from_environment()?, &console).await?;
            Ok(if all_healthy { Exit::SUCCESS } else { Exit::DIFFERS })
        }
        Command::Install(install) => install.run(&paths),
    }
}

impl Up {
    async fn run(self, paths: &StackPaths, console: &Console) -> anyhow::Result<Exit> {
        let mut settings = Settings::from_environment()?;
        if self.split {
            settings.cold = Some(ColdPlace::Apart);
        }
        stack::up(paths, &settings, self.venues, console).await?;
        Ok(Exit::SUCCESS)
    }
}

impl Install {
    fn run(&self, paths: &StackPaths) -> anyhow::Result<Exit> {
        let console = Console::error();
        let installer = Installer::new(paths, &console);
        if !self.print_env {
            let settings = Settings::from_environment()?;
            if settings.nats_url.is_none() {
                console.say(format!("nats-server: {}", installer.nats_server()?.display()));
            }
            match (&settings.clickhouse, installer.find("clickhouse")) {
                (Some(_), _) => {}
                (None, Some(found)) => console.say(format!("clickhouse: {}", found.display())),
                (None, None) => {
                    console.say(format!("libchdb: {}", installer.clickhouse_library()?.display()))
                }
            }
        }
        let mut lines = Vec::new();
        if self.print_env {
            lines.push(format!("MARKETPRISM_NATS_SERVER={}", installer.nats_server()?.display()));
            lines.push(format!("MARKETPRISM_LIBCHDB={}", installer.clickhouse_library()?.display()));
        }
        if self.python {
            match installer.python() {
                Ok(python) => {
                    lines.push(format!("MARKETPRISM_PYTHON={}", python.display()));
                    lines.push(format!(
                        "MARKETPRISM_SCHEMATHESIS={}",
                        python.with_file_name("schemathesis").display()
                    ));
                }
                // Tests that need it are skipped.
                Err(error) => console.say(format!("warning: {error}")),
            }
        }
        if self.print_env {
            print(&lines.join("\n"))?;
        }
        Ok(Exit::SUCCESS)
    }
}
