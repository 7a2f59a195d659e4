use clap::Args;
use marketprism_service::Exit;

use crate::config::Config;
use crate::role::Role;
use crate::run;

#[derive(Debug, Args)]
pub struct RunArgs {
    /// Tasks of this central.
    #[arg(long, value_enum, default_value_t)]
    role: Role,
}

pub async fn execute(config: Config, args: &RunArgs) -> anyhow::Result<Exit> {
    run::run(config, args.role).await?;
    Ok(Exit::SUCCESS)
}
