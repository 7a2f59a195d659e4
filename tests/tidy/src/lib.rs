//! The repository's own rules, beyond what rustfmt and clippy can say.
//!
//! `cargo run -p marketprism-tidy` prints every place that breaks one, and fails if there is any.

mod holds;
mod imports;
mod order;
mod rules;
mod tree;

use anyhow::Result;

pub use tree::{Finding, Source, sources};

use order::ORDER;

/// Checks all rules.
///
/// `only` empty: the findings that count. Otherwise all findings under these paths, also in folders that do not hold
/// the rule yet.
pub fn check(sources: &[Source], only: &[String]) -> Result<Vec<Finding>> {
    let mut findings = rules::check_text(sources);
    let (mut docs, mut rust) = (Vec::new(), Vec::new());
    for source in sources.iter().filter(|source| source.path.ends_with(".rs")) {
        rust.append(&mut rules::check_rust(source)?);
        docs.append(&mut rules::check_docs(source));
    }
    findings.append(&mut rust);
    let mut held = |mut of_rule: Vec<Finding>, holds: &[&str]| {
        of_rule.retain(|finding| !only.is_empty() || holds.iter().any(|path| finding.path.starts_with(path)));
        findings.append(&mut of_rule);
    };
    held(docs, &holds::DOCS);
    held(rules::check_type_names(sources)?, &holds::TYPE_NAMES);
    held(imports::check_imports(sources)?, &holds::IMPORTS);
    findings.retain(|finding| only.is_empty() || only.iter().any(|path| finding.path.starts_with(path)));
    findings.sort();
    findings.dedup();
    Ok(findings)
}
