//! Prints every place of the repository that breaks one of its own rules.
//! With paths as arguments: only those under them.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use marketprism_tidy::{check, sources};

fn main() -> Result<ExitCode> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let only: Vec<String> = std::env::args().skip(1).collect();
    let sources = sources(&root)?;
    let findings = check(&sources, &only)?;
    let mut out = std::io::stdout().lock();
    for finding in &findings {
        writeln!(out, "{finding}")?;
    }
    writeln!(out, "tidy: {} files, {} findings", sources.len(), findings.len())?;
    Ok(if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
