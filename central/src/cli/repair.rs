//! `repair`.

use std::io::Write as _;

use anyhow::{Context as _, bail};
use clap::Args;
use marketprism_service::Exit;

use crate::broker::Broker;
use crate::clock;
use crate::config::Config;
use crate::lease::Leases;
use crate::metrics::Metrics;
use crate::repair::{Fate, Journal, Outcome, Progress, Request, repair};
use crate::time::{ALLOWED_TIME, Time};

/// Options of `repair`.
#[derive(Debug, Args)]
pub struct RepairArgs {
    /// Only this table, such as `trades`.
    #[arg(long)]
    table: Option<String>,
    /// Compare anew from here on: `2026-11-22T10:04:00Z`, or an age such as `30m`, `24h`, `7d`.
    #[arg(long)]
    from: Option<String>,
    /// Compare anew up to here.
    #[arg(long)]
    to: Option<String>,
    /// Say what would be done, and do nothing.
    #[arg(long)]
    dry_run: bool,
    /// Delete rows of cold that hot never held. They may be the only copy.
    #[arg(long)]
    drop_extra: bool,
}

/// Repairs, printing a line a window and a list of what stays.
pub async fn execute(config: &Config, args: &RepairArgs) -> anyhow::Result<Exit> {
    let progress = run(config, args).await?;
    let written = summarize(&progress);
    let is_whole = progress.left == 0 && progress.would_mend == 0 && written.is_ok();
    Ok(if is_whole { Exit::SUCCESS } else { Exit::FAILED })
}

async fn run(config: &Config, args: &RepairArgs) -> anyhow::Result<Progress> {
    let request = Request {
        table: args.table.clone(),
        from_ms: time("--from", args.from.as_deref())?,
        to_ms: time("--to", args.to.as_deref())?,
        dry_run: args.dry_run,
        drop_extra: args.drop_extra,
    };
    if let Err(problem) = request.check() {
        bail!("{problem}");
    }
    let broker = Broker::start(&config.nats).await?;
    broker.connected(&config.nats).await?;
    let name = format!("repair-{}-{:08x}", std::process::id(), rand::random::<u32>());
    let leases = Leases::new(&broker, config, &name);
    let metrics = Metrics::new().context("cannot register the metrics")?;
    let journal = Journal::new(&request, Some(print_line));
    repair((config, &broker, &leases, &metrics.replication), &request, &journal).await?;
    Ok(journal.progress())
}

fn time(option: &str, text: Option<&str>) -> anyhow::Result<Option<i64>> {
    let Some(text) = text else { return Ok(None) };
    let Some(time) = Time::asked(text, clock::now_ns() / 1_000_000) else {
        bail!("{option}: is {text:?}, allowed is {ALLOWED_TIME}");
    };
    Ok(Some(time.0))
}

fn print_line(outcome: &Outcome) {
    if let Err(error) = writeln!(std::io::stdout().lock(), "{}", line(outcome)) {
        tracing::debug!(%error, "standard output is closed");
    }
}

fn line(outcome: &Outcome) -> String {
    let fate = match outcome.fate {
        Fate::Mended => "mended",
        Fate::WouldMend => "would mend",
        Fate::Resent => "resent",
        Fate::Left => "STAYS",
    };
    let stream = outcome.stream.as_ref().map(|stream| format!(" {stream}")).unwrap_or_default();
    format!("{fate:<10} {} {}{stream}: {}", outcome.table, outcome.window_start, outcome.what)
}

fn summarize(progress: &Progress) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let Progress { mended, would_mend, resent, left, .. } = progress;
    if mended + would_mend + resent + left == 0 {
        return writeln!(out, "nothing to repair");
    }
    writeln!(out, "mended {mended}, would mend {would_mend}, sent again by edges {resent}, stays {left}")?;
    for outcome in progress.outcomes.iter().filter(|outcome| outcome.fate == Fate::Left) {
        writeln!(out, "  {}", line(outcome))?;
    }
    Ok(())
}
