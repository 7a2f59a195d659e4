use std::io::Write;

use anyhow::Context;
use clap::Args;
use marketprism_service::Exit;

use crate::config::Config;
use crate::init;

#[derive(Debug, Args)]
pub struct InitArgs {
    /// Change settings that differ and can be changed in place.
    #[arg(long)]
    apply: bool,
}

pub async fn execute(config: &Config, args: &InitArgs) -> anyhow::Result<Exit> {
    let report = init::once(config, args.apply).await?;
    write!(std::io::stdout().lock(), "{report}").context("cannot write the report")?;
    report.refuse_immutable()?;
    Ok(if report.has_drift() { Exit::DIFFERS } else { Exit::SUCCESS })
}
