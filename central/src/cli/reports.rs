//! Commands that report: `integrity`, `status`, `diagnose`.

use anyhow::Context as _;
use clap::Args;
use marketprism_service::Exit;
use serde::Serialize;

use crate::config::Config;
use crate::report::terminal::Paint;
use crate::report::{ReportQuery, ReportScope, SchemaCache, Sources, compute, exit_code, status, terminal};
use crate::{clock, limits};

#[derive(Debug, Args)]
pub struct IntegrityArgs {
    /// Print JSON, in the form of /integrity.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    query: ReportQuery,
}

pub async fn execute_integrity(config: &Config, args: &IntegrityArgs) -> anyhow::Result<Exit> {
    let scope = ReportScope::read(&args.query, clock::now_ns() / 1_000_000)?;
    let sources = Sources::connect(config, limits::COMMAND_PATIENCE).await?;
    let report = compute(&sources, scope, &SchemaCache::default()).await;
    print(args.json, &report, |paint: Paint| terminal::report(&report, paint))?;
    Ok(exit_code(report.verdict))
}

#[derive(Debug, Args)]
pub struct JsonArgs {
    /// Print JSON.
    #[arg(long)]
    json: bool,
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

fn print<T: Serialize>(as_json: bool, answer: &T, text: impl FnOnce(Paint) -> String) -> anyhow::Result<()> {
    let text = if as_json {
        serde_json::to_string_pretty(answer).context("cannot write the answer")?
    } else {
        text(Paint::of_stdout())
    };
    marketprism_service::print(&text).context("cannot write the answer")
}
