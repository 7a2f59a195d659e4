use std::process::ExitCode;

use clap::Parser as _;
use marketprism_local::cli::Arguments;
use marketprism_service::report;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    report(marketprism_local::cli::run(Arguments::parse()).await.map_err(Into::into))
}
