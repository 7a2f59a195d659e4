//! Prints every place of the repository that breaks one of its own rules.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use marketprism_tidy::{check_rust, check_text, sources};

fn main() -> Result<ExitCode> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let sources = sources(&root)?;
    let mut findings = check_text(&sources);
    for source in sources.iter().filter(|source| source.path.ends_with(".rs")) {
        findings.extend(check_rust(source)?);
    }
    findings.sort();
    let mut out = std::io::stdout().lock();
    for finding in &findings {
        writeln!(out, "{finding}")?;
    }
    writeln!(out, "tidy: {} files, {} findings", sources.len(), findings.len())?;
    Ok(if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
