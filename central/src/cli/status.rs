//! `status`.

use clap::Args;
use marketprism_service::Exit;

use super::output::print;
use crate::config::Config;
use crate::limits;
use crate::report::grid::Paint;
use crate::report::sources::schema;
use crate::report::{Sources, exit_code, status, terminal};

/// Options of `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Print it as JSON, in the form of /integrity.
    #[arg(long)]
    json: bool,
}

/// Looks what runs now and prints it.
pub async fn execute(config: &Config, args: &StatusArgs) -> anyhow::Result<Exit> {
    let sources = Sources::connect(config, limits::COMMAND_PATIENCE).await?;
    let report = status(&sources, &schema::Cache::default()).await;
    print(args.json, &report, |paint: Paint| terminal::status(&report, paint))?;
    Ok(exit_code(report.verdict))
}
