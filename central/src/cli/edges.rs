//! `edges`.

use clap::Args;
use marketprism_service::Exit;

use super::reports::print;
use crate::config::Config;
use crate::fleet::forget_edge;
use crate::limits;
use crate::report::terminal::Paint;
use crate::report::{Sources, fleet};

#[derive(Debug, Args)]
pub struct EdgesArgs {
    /// Print JSON, in the form of /edges.
    #[arg(long)]
    json: bool,
    /// Forget a retired edge that is stopped or silent. It is known again once it starts
    #[arg(long, value_name = "NAME")]
    forget: Option<String>,
}

pub async fn execute(config: &Config, args: &EdgesArgs) -> anyhow::Result<Exit> {
    let sources = Sources::connect(config, limits::COMMAND_PATIENCE).await?;
    if let Some(edge) = &args.forget {
        let forgotten = sources.broker_answer(forget_edge(&sources.broker, edge)).await;
        forgotten.map_err(anyhow::Error::msg)?;
    }
    let fleet = fleet(&sources).await;
    print(args.json, &fleet, |paint: Paint| fleet.render(paint))?;
    Ok(match (fleet.unanswered.is_empty(), fleet.is_fine()) {
        (false, _) => Exit::NOT_DONE,
        (true, false) => Exit::FAILED,
        (true, true) => Exit::SUCCESS,
    })
}
