//! The venue simulator as a program.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use marketprism_config::{LogFormat, init_logs};
use marketprism_venue_sim::cli::Cli;

#[tokio::main]
async fn main() -> ExitCode {
    init_logs(LogFormat::Text);
    match Cli::parse().run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to tell it to when standard error is closed.
            let _ = writeln!(std::io::stderr().lock(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
