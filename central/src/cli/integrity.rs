use clap::Args;
use marketprism_service::Exit;

use super::output::print;
use crate::config::Config;
use crate::report::text_table::Paint;
use crate::report::{ReportQuery, ReportScope, SchemaCache, Sources, compute, exit_code, terminal};
use crate::{clock, limits};

#[derive(Debug, Args)]
pub struct IntegrityArgs {
    /// Print JSON, in the form of /integrity.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    query: ReportQuery,
}

pub async fn execute(config: &Config, args: &IntegrityArgs) -> anyhow::Result<Exit> {
    let scope = ReportScope::read(&args.query, clock::now_ns() / 1_000_000)?;
    let sources = Sources::connect(config, limits::COMMAND_PATIENCE).await?;
    let report = compute(&sources, scope, &SchemaCache::default()).await;
    print(args.json, &report, |paint: Paint| terminal::report(&report, paint))?;
    Ok(exit_code(report.verdict))
}
