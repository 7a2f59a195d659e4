//! `repair`.

use std::io::Write as _;

use anyhow::Context as _;
use marketprism_service::{Exit, print};

use crate::broker::Broker;
use crate::clock;
use crate::config::Config;
use crate::lease::Leases;
use crate::limits;
use crate::metrics::Metrics;
use crate::repair::{RepairFate, RepairLog, RepairOutcome, RepairProgress, RepairQuery, repair};

/// Prints a line per window, and at the end those not repaired.
pub async fn execute(config: &Config, query: &RepairQuery) -> anyhow::Result<Exit> {
    let progress = run(config, query).await?;
    let written = print(&summary(&progress));
    let is_repaired = progress.left == 0 && progress.would_mend == 0 && written.is_ok();
    Ok(if is_repaired { Exit::SUCCESS } else { Exit::FAILED })
}

async fn run(config: &Config, query: &RepairQuery) -> anyhow::Result<RepairProgress> {
    let options = query.read(clock::now_ns() / 1_000_000)?;
    let broker = Broker::start(&config.nats).await?;
    broker.connected(&config.nats, limits::BROKER_CONNECT_WAIT).await?;
    let name = format!("repair-{}-{:08x}", std::process::id(), rand::random::<u32>());
    let leases = Leases::new(&broker, config, &name);
    let metrics = Metrics::new().context("cannot register the metrics")?;
    let log = RepairLog::new(&options, Some(print_line));
    repair((config, &broker, &leases, &metrics.replication), &options, &log).await?;
    Ok(log.progress())
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

fn summary(progress: &RepairProgress) -> String {
    let RepairProgress { mended, would_mend, resent, left, .. } = progress;
    if mended + would_mend + resent + left == 0 {
        return "nothing to repair".to_owned();
    }
    let first = format!(
        "repaired {mended}, would repair {would_mend}, published again by edges {resent}, not repaired {left}"
    );
    let unrepaired = progress.outcomes.iter().filter(|outcome| outcome.fate == RepairFate::NotRepaired);
    first + &unrepaired.map(|outcome| format!("\n  {}", line(outcome))).collect::<String>()
}
