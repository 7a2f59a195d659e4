//! The central server of MarketPrism.

use std::process::ExitCode;

fn main() -> ExitCode {
    marketprism_central::main()
}
