//! Every adapter of this repository keeps what it claims.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::path::{Path, PathBuf};

use marketprism_adapter_conformance::{CheckOutcome, Options, test};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..").canonicalize().unwrap()
}

/// Files of a folder with this extension, in order; none where there is no such folder.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|found| found == extension));
    files.sort();
    files
}

// Goal: each component that `make build` makes passes the suite, with its golden frames and the shared recordings. Method: the suite on
// every component whose adapter has golden frames; a simulator is for the end-to-end tests.
#[test]
fn every_adapter_passes() {
    let recordings = files(&root().join("../shared/recordings"), "jsonl");
    if recordings.is_empty() {
        println!("SKIPPED: recordings, ../shared/recordings is not here");
    }
    let mut failed = Vec::new();
    let mut tested = 0;
    for adapter in files(&root().join("target/adapters"), "wasm") {
        let mut options = Options::new(adapter);
        if options.golden.is_none() {
            continue;
        }
        options.recordings = recordings.clone();
        // Half of what `adapter test` takes: fuzz targets and the adapters' own tests damage frames too.
        options.mutations = 2_000;
        let report = test(&options).unwrap();
        tested += 1;
        println!("{}", report.text());
        for (exchange, check) in report.all().filter(|(_, check)| check.outcome == CheckOutcome::Failed) {
            failed.push(format!("{} {}: {}", report.adapter, exchange.unwrap_or_default(), check.id));
        }
    }
    assert!(tested > 0, "no component in target/adapters: run `make build`");
    assert!(failed.is_empty(), "{failed:#?}");
}
