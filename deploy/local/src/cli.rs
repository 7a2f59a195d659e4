//! The command line.

use clap::{Args, Parser, Subcommand};
use marketprism_service::Exit;

use crate::install::Installer;
use crate::stack::{self, Purge, VenueChoice};
use crate::{ColdPlace, Console, Home, Settings};

/// The whole system on one machine.
#[derive(Debug, Parser)]
#[command(name = "marketprism-local", version)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start what does not run; return when data is in hot ClickHouse
    ///
    /// MARKETPRISM_NATS_URL and CLICKHOUSE_URL name parts that are there already; MARKETPRISM_LOCAL__{NATS,NATS_MONITORING,CLICKHOUSE,CLICKHOUSE_COLD,
    /// CENTRAL,EDGE,EDGE_METRICS,SIMULATOR}_PORT move the ports. MARKETPRISM_LOCAL__COLD=apart keeps the cold database on an engine of its own,
    /// =together on the same one; without it the place is the one that it had before.
    Up(Up),
    /// Stop what `up` started, and only that; the data stays
    Down(Down),
    /// Tell what runs, its health and memory, and the rows in the tables; exit status 3 when a part is missing or unwell
    Status,
    /// Get the parts that the machine does not have
    Install(Install),
}

#[derive(Debug, Args)]
struct Up {
    /// Which venues to collect from
    #[arg(long, value_enum, default_value = "auto", env = "MARKETPRISM_VENUES")]
    venues: VenueChoice,
    /// Keep the cold database on an engine of its own, as MARKETPRISM_LOCAL__COLD=apart does
    #[arg(long)]
    split: bool,
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
    /// Get what tests need, whatever is configured, and print where it is as NAME=value lines
    #[arg(long)]
    print_env: bool,
    /// Get a Python with the ClickHouse client and the tester of HTTP interfaces too
    #[arg(long)]
    python: bool,
}

/// Does what the command line says.
pub async fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    let home = Home::find()?;
    let console = Console::output();
    match arguments.command {
        Command::Up(up) => {
            let mut settings = Settings::from_environment()?;
            if up.split {
                settings.cold = Some(ColdPlace::Apart);
            }
            stack::up(&home, &settings, up.venues, &console).await?;
            Ok(Exit::SUCCESS)
        }
        Command::Down(down) => {
            let purge = match (down.purge, down.yes) {
                (false, _) => Purge::Keep,
                (true, false) => Purge::Ask,
                (true, true) => Purge::Delete,
            };
            stack::down(&home, purge, &console)?;
            Ok(Exit::SUCCESS)
        }
        Command::Status => {
            let whole = stack::status(&home, &Settings::from_environment()?, &console).await?;
            Ok(if whole { Exit::SUCCESS } else { Exit::DIFFERS })
        }
        Command::Install(install) => install.run(&home),
    }
}

impl Install {
    fn run(&self, home: &Home) -> anyhow::Result<Exit> {
        use std::io::Write as _;

        let console = Console::error();
        let installer = Installer::new(home, &console);
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
                // The tests with it skip, and say so.
                Err(error) => console.say(format!("warning: {error}")),
            }
        }
        if self.print_env {
            let mut output = std::io::stdout().lock();
            for line in lines {
                writeln!(output, "{line}")?;
            }
        }
        Ok(Exit::SUCCESS)
    }
}
