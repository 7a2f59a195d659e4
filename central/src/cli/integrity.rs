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
    /// Begin: RFC 3339, or an age such as 90s, 30m, 24h, 7d [default: one day before --to].
    #[arg(long)]
    from: Option<String>,
    /// End, exclusive: RFC 3339, an age, or now [default: now].
    #[arg(long)]
    to: Option<String>,
    /// Only this table and its streams.
    #[arg(long)]
    table: Option<String>,
}

pub async fn execute(config: &Config, args: &IntegrityArgs) -> anyhow::Result<Exit> {
    let query = ReportQuery { from: args.from.clone(), to: args.to.clone(), table: args.table.clone() };
    let scope = ReportScope::read(&query, clock::now_ns() / 1_000_000)?;
    let sources = Sources::connect(config, limits::COMMAND_PATIENCE).await?;
    let report = compute(&sources, scope, &SchemaCache::default()).await;
    print(args.json, &report, |paint: Paint| terminal::report(&report, paint))?;
    Ok(exit_code(report.verdict))
}
