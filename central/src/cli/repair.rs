use std::io::Write as _;

use anyhow::{Context as _, bail};
use clap::Args;
use marketprism_service::Exit;

use crate::broker::Broker;
use crate::clock;
use crate::config::Config;
use crate::lease::Leases;
use crate::metrics::Metrics;
use crate::repair::{RepairFate, RepairLog, RepairOptions, RepairOutcome, RepairProgress, repair};
use crate::time::{ALLOWED_TIME, Time};

#[derive(Debug, Args)]
pub struct RepairArgs {
    /// Only this table, such as `trades`.
    #[arg(long)]
    table: Option<String>,
    /// Begin of the range to compare again: `2026-11-22T10:04:00Z`, or an age such as `30m`, `24h`, `7d`.
    #[arg(long)]
    from: Option<String>,
    /// End of the range, exclusive.
    #[arg(long)]
    to: Option<String>,
    /// Report what would be done, change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Delete rows of cold that hot never had. They may be the only copy.
    #[arg(long)]
    drop_extra: bool,
}

/// Prints a line per window, and at the end those not repaired.
pub async fn execute(config: &Config, args: &RepairArgs) -> anyhow::Result<Exit> {
    let progress = run(config, args).await?;
    let written = summarize(&progress);
    let is_repaired = progress.left == 0 && progress.would_mend == 0 && written.is_ok();
    Ok(if is_repaired { Exit::SUCCESS } else { Exit::FAILED })
}

async fn run(config: &Config, args: &RepairArgs) -> anyhow::Result<RepairProgress> {
    let options = RepairOptions {
        table: args.table.clone(),
        from_ms: time("--from", args.from.as_deref())?,
        to_ms: time("--to", args.to.as_deref())?,
        dry_run: args.dry_run,
        drop_extra: args.drop_extra,
    };
    if let Err(problem) = options.check() {
        bail!("{problem}");
    }
    let broker = Broker::start(&config.nats).await?;
    broker.connected(&config.nats).await?;
    let name = format!("repair-{}-{:08x}", std::process::id(), rand::random::<u32>());
    let leases = Leases::new(&broker, config, &name);
    let metrics = Metrics::new().context("cannot register the metrics")?;
    let log = RepairLog::new(&options, Some(print_line));
    repair((config, &broker, &leases, &metrics.replication), &options, &log).await?;
    Ok(log.progress())
}

fn time(option: &str, text: Option<&str>) -> anyhow::Result<Option<i64>> {
    let Some(text) = text else { return Ok(None) };
    let Some(time) = Time::asked(text, clock::now_ns() / 1_000_000) else {
        bail!("{option}: {text:?} is not allowed (allowed: {ALLOWED_TIME})");
    };
    Ok(Some(time.0))
}

fn print_line(outcome: &RepairOutcome) {
    if let Err(error) = writeln!(std::io::stdout().lock(), "{}", line(outcome)) {
        tracing::debug!(%error, "cannot write to standard output");
    }
}

fn line(outcome: &RepairOutcome) -> String {
    let fate = match outcome.fate {
        RepairFate::Repaired => "repaired",
        RepairFate::WouldRepair => "would repair",
        RepairFate::Resent => "resent",
        RepairFate::NotRepaired => "NOT REPAIRED",
    };
    let stream = outcome.stream.as_ref().map(|stream| format!(" {stream}")).unwrap_or_default();
    format!("{fate:<12} {} {}{stream}: {}", outcome.table, outcome.window_start, outcome.what)
}

fn summarize(progress: &RepairProgress) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let RepairProgress { mended, would_mend, resent, left, .. } = progress;
    if mended + would_mend + resent + left == 0 {
        return writeln!(out, "nothing to repair");
    }
    writeln!(
        out,
        "repaired {mended}, would repair {would_mend}, published again by edges {resent}, not repaired {left}"
    )?;
    for outcome in progress.outcomes.iter().filter(|outcome| outcome.fate == RepairFate::NotRepaired) {
        writeln!(out, "  {}", line(outcome))?;
    }
    Ok(())
}
