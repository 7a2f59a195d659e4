//! The `marketprism-clickhouse` binary.

use std::process::ExitCode;

use clap::Parser;
use marketprism_clickhouse::{config::Arguments, run::run};
use marketprism_config::{LogFormat, init_logs};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    init_logs(LogFormat::Text);
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
