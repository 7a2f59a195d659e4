//! The repository's own rules, beyond what rustfmt and clippy can say.
//!
//! `cargo run -p marketprism-tidy` prints every place that breaks one, and fails if there is any.

mod imports;
mod order;
mod rules;
mod tree;

use anyhow::Result;

pub use tree::{Finding, Source, sources};

use order::ORDER;

/// Written by a generator, which does not follow these rules.
const GENERATED: [&str; 1] = ["schema/src/wire/protobuf/message.rs"];

/// Checks all rules. `only` empty: all findings; otherwise those under these paths.
pub fn check(sources: &[Source], only: &[String]) -> Result<Vec<Finding>> {
    let written: Vec<Source> =
        sources.iter().filter(|source| !GENERATED.contains(&source.path.as_str())).cloned().collect();
    let mut findings = rules::check_text(&written);
    findings.append(&mut rules::check_translations(&written));
    for source in written.iter().filter(|source| source.path.ends_with(".rs")) {
        findings.append(&mut rules::check_rust(source)?);
        findings.append(&mut rules::check_docs(source));
    }
    findings.append(&mut rules::check_type_names(&written)?);
    findings.append(&mut imports::check_imports(&written)?);
    findings.retain(|finding| only.is_empty() || only.iter().any(|path| finding.path.starts_with(path)));
    findings.sort();
    findings.dedup();
    Ok(findings)
}
