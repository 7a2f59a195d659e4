//! The `marketprism-venue-sim` binary.

use std::process::ExitCode;

use clap::Parser as _;
use marketprism_service::{Exit, init_logs, report};
use marketprism_venue_sim::cli::Cli;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Cli::parse();
    init_logs();
    report(arguments.run().await.map(|()| Exit::SUCCESS).map_err(Into::into))
}
