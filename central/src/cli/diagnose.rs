use clap::Args;
use marketprism_service::Exit;

use super::output::print;
use crate::config::Config;
use crate::diagnose::diagnose;
use crate::limits;
use crate::report::Sources;
use crate::report::text_table::Paint;

#[derive(Debug, Args)]
pub struct DiagnoseArgs {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub async fn execute(config: &Config, args: &DiagnoseArgs) -> anyhow::Result<Exit> {
    let sources = Sources::connect(config, limits::COMMAND_PATIENCE).await?;
    let diagnosis = diagnose(&sources).await;
    print(args.json, &diagnosis, |paint: Paint| diagnosis.render(paint))?;
    Ok(diagnosis.exit_code())
}
