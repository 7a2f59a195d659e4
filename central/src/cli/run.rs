//! `run`.

use clap::Args;
use marketprism_service::Exit;

use crate::config::Config;
use crate::role::Role;
use crate::run;

/// Options of `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// What this central does.
    #[arg(long, value_enum, default_value_t)]
    role: Role,
}

/// Works until told to stop.
pub async fn execute(config: Config, args: &RunArgs) -> anyhow::Result<Exit> {
    run::run(config, args.role).await?;
    Ok(Exit::SUCCESS)
}
