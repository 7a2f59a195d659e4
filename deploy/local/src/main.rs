//! `marketprism-local`: see the library.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use marketprism_local::cli::Arguments;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match marketprism_local::cli::run(Arguments::parse()).await {
        Ok(code) => code,
        Err(error) => {
            let mut text = format!("error: {error}\n");
            for cause in error.chain().skip(1) {
                text.push_str(&format!("  caused by: {cause}\n"));
            }
            // Where standard error is gone there is nobody left to tell.
            let told = std::io::stderr().lock().write_all(text.as_bytes());
            if told.is_ok() { ExitCode::FAILURE } else { ExitCode::from(2) }
        }
    }
}
