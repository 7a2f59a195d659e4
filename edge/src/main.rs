//! The edge's command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    marketprism_edge::cli::main()
}
