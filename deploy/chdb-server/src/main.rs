use std::process::ExitCode;

use clap::Parser;
use marketprism_clickhouse::{config::Arguments, run::run};
use marketprism_service::{Exit, init_logs, report};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    report(init_logs().and_then(|()| run(&arguments)).map(|()| Exit::SUCCESS).map_err(Into::into))
}
