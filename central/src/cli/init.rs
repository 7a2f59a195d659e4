//! `init`.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use crate::config::Config;
use crate::init;

/// Exit status when settings differ that `--apply` would change.
const EXIT_DRIFT: u8 = 3;

/// Options of `init`.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// Change the settings that differ and can be changed in place.
    #[arg(long)]
    apply: bool,
}

/// Lays everything out and prints what was found.
pub async fn execute(config: &Config, args: &InitArgs) -> anyhow::Result<ExitCode> {
    let report = init::once(config, args.apply).await?;
    write!(std::io::stdout().lock(), "{report}").context("cannot write the report")?;
    report.refuse_immutable()?;
    Ok(if report.has_drift() { ExitCode::from(EXIT_DRIFT) } else { ExitCode::SUCCESS })
}
