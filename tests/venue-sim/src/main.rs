//! The `marketprism-venue-sim` binary.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use marketprism_service::{Exit, Signals, init_logs, report};
use marketprism_venue_sim::{Sim, SimConfig};

#[tokio::main]
async fn main() -> ExitCode {
    let config = SimConfig::parse();
    let done = match init_logs() {
        Ok(()) => run(config).await,
        Err(error) => Err(error),
    };
    report(done.map(|()| Exit::SUCCESS).map_err(Into::into))
}

/// Runs until SIGINT or SIGTERM. Prints `listening on HOST:PORT` when ready.
async fn run(config: SimConfig) -> anyhow::Result<()> {
    let sim = Sim::start(config).await.context("starting the simulator")?;
    let mut out = std::io::stdout();
    writeln!(out, "listening on {}", sim.addr())
        .and_then(|()| out.flush())
        .context("printing the address")?;
    Signals::new().context("listening for signals")?.next().await;
    sim.stop().await;
    Ok(())
}
