//! Commands that report: `integrity`, `status`, `diagnose`.

use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use marketprism_service::Exit;
use serde::Serialize;

use super::progress::ProgressLine;
use super::wait;
use crate::config::Config;
use crate::report::terminal::Paint;
use crate::report::{
    ReportQuery, ReportScope, SchemaCache, Sources, Verified, compute, exit_code, status, terminal, verify,
};
use crate::{clock, limits};

#[derive(Debug, Args)]
pub struct IntegrityArgs {
    /// Print JSON, in the form of /integrity.
    #[arg(long)]
    json: bool,
    /// Count and digest the rows of the period in hot and cold now, and compare them with each other and with the audits. Without it
    /// the report relies on the window log and the stored verdicts, minutes old. Progress goes to standard error
    #[arg(long)]
    verify: bool,
    /// While the system starts: wait until every part answers and a window is closed, at most so long [default: 180]
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "180")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=86_400))]
    wait: Option<u64>,
    #[command(flatten)]
    query: ReportQuery,
}

pub async fn execute_integrity(config: &Config, args: &IntegrityArgs) -> anyhow::Result<Exit> {
    let scope = || ReportScope::read(&args.query, clock::now_ns() / 1_000_000);
    scope()?;
    let sources = Sources::connect(config, limits::COMMAND_PATIENCE).await?;
    let mut waited = None;
    if let Some(seconds) = args.wait {
        waited = Some(wait::until_started(&sources, scope, Duration::from_secs(seconds)).await?);
    }
    let report = match waited {
        Some(report) if !args.verify => report,
        _ => {
            let scope = scope()?;
            let verified = if args.verify { Some(verified(&sources, &scope).await?) } else { None };
            compute(&sources, scope, &SchemaCache::default(), verified).await
        }
    };
    print(args.json, &report, |paint: Paint| terminal::report(&report, paint))?;
    Ok(exit_code(report.verdict))
}

async fn verified(sources: &Sources, scope: &ReportScope) -> anyhow::Result<Verified> {
    let progress = ProgressLine::on_stderr("verifying");
    let verified = verify(sources, scope, &|state| progress.show(state)).await;
    progress.end();
    verified.context("cannot verify")
}

#[derive(Debug, Args)]
pub struct JsonArgs {
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
}

pub async fn execute_status(config: &Config, args: &JsonArgs) -> anyhow::Result<Exit> {
    let sources = Sources::connect(config, limits::COMMAND_PATIENCE).await?;
    let report = status(&sources, &SchemaCache::default()).await;
    print(args.json, &report, |paint: Paint| terminal::status(&report, paint))?;
    Ok(exit_code(report.verdict))
}

pub async fn execute_diagnose(config: &Config, args: &JsonArgs) -> anyhow::Result<Exit> {
    let sources = Sources::connect(config, limits::COMMAND_PATIENCE).await?;
    let diagnosis = crate::diagnose::diagnose(&sources).await;
    print(args.json, &diagnosis, |paint: Paint| diagnosis.render(paint))?;
    Ok(diagnosis.exit_code())
}

pub(super) fn print<T: Serialize>(
    as_json: bool,
    answer: &T,
    text: impl FnOnce(Paint) -> String,
) -> anyhow::Result<()> {
    let text = if as_json {
        serde_json::to_string_pretty(answer).context("cannot write the answer")?
    } else {
        text(Paint::of_stdout())
    };
    marketprism_service::print(&text).context("cannot write the answer")
}
