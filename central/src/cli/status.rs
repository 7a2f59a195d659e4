//! `status`.

use std::process::ExitCode;

use clap::Args;

use super::output::{exit, print};
use crate::config::Config;
use crate::limits;
use crate::report::grid::Paint;
use crate::report::sources::schema;
use crate::report::{Sources, exit_status, status, terminal};

/// Options of `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Print it as JSON, in the form of /integrity.
    #[arg(long)]
    json: bool,
}

/// Looks what runs now and prints it.
pub async fn execute(config: &Config, args: &StatusArgs) -> anyhow::Result<ExitCode> {
    let sources = Sources::connect(config, limits::COMMAND_PATIENCE).await?;
    let report = status(&sources, &schema::Cache::default()).await;
    print(args.json, &report, |paint: Paint| terminal::status(&report, paint))?;
    Ok(exit(exit_status(report.verdict)))
}
