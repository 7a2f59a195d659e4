use clap::Args;
use marketprism_service::Exit;

use super::output::print;
use crate::config::Config;
use crate::limits;
use crate::report::text_table::Paint;
use crate::report::{SchemaCache, Sources, exit_code, status, terminal};

#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Print JSON, in the form of /integrity.
    #[arg(long)]
    json: bool,
}

pub async fn execute(config: &Config, args: &StatusArgs) -> anyhow::Result<Exit> {
    let sources = Sources::connect(config, limits::COMMAND_PATIENCE).await?;
    let report = status(&sources, &SchemaCache::default()).await;
    print(args.json, &report, |paint: Paint| terminal::status(&report, paint))?;
    Ok(exit_code(report.verdict))
}
