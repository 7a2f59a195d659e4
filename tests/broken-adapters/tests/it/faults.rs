//! The conformance suite passes a sound adapter, and names what is wrong with each broken one.

use std::path::{Path, PathBuf};
use std::process::Command;

use marketprism_adapter_conformance::{Check, CheckOutcome, Options, Report, test};
use marketprism_broken_adapters::Fault;
use tempfile::TempDir;

fn built(path: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target").join(path);
    assert!(path.exists(), "{} is missing: run `make test`", path.display());
    path
}

/// The golden frames of the sound id under the names of these: the same frames must give the same output.
fn golden(faults: &[Fault]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for part in ["frames", "expected"] {
        std::fs::create_dir(folder.path().join(part)).unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(part);
        for entry in std::fs::read_dir(source).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            for fault in faults {
                let name = name.replace("sound", fault.exchange());
                std::fs::copy(&path, folder.path().join(part).join(name)).unwrap();
            }
        }
    }
    folder
}

/// One run of the suite for all of them: each run compiles the adapter.
fn tested(faults: &[Fault]) -> Report {
    let folder = golden(faults);
    let mut options = Options::new(built("adapters/broken-adapters.wasm"));
    options.golden = Some(folder.path().to_owned());
    options.exchanges = faults.iter().map(|fault| fault.exchange().to_owned()).collect();
    // Damaged frames are for the sound one, and for the fault that only they find.
    if !faults.iter().any(|fault| matches!(fault, Fault::None | Fault::BadUtf8Trap)) {
        options.mutations = 64;
    }
    test(&options).unwrap()
}

/// The check that has to find a fault, and texts of its cause.
fn due(fault: Fault) -> (&'static str, &'static [&'static str]) {
    match fault {
        Fault::None => ("", &[]),
        Fault::WrongSide => ("golden", &["trades.jsonl line 1", "event.side is \"sell\", expected \"buy\""]),
        Fault::LostScale => ("decimals", &["trades.jsonl frame 0", "trade.price is 875432,"]),
        Fault::RoundedDecimal => ("decimals", &["trades.jsonl frame 0", "trade.quantity is 0.01,"]),
        Fault::MissedGap => ("sequence", &["books.jsonl frame", "dropped", "no gap is detected"]),
        Fault::BadUtf8Trap => ("malformed", &["seed 1, mutation", "adapter fault trap"]),
        Fault::Nondeterminism => ("determinism", &["trades.jsonl, given once more: frame 0"]),
        Fault::StrictList => ("odd_input", &["null at /markets/0/base", "adapter refuses"]),
        Fault::SameBackfill => ("backfill", &["7001 to 7005 and 9001 to 9005 have the same request", "id=1"]),
        Fault::ForeignRanking => {
            ("rankings", &["2 of 2 traded instruments are missing", "ranked is \"ETH-USD\""])
        }
        Fault::HalfRanking => ("rankings", &["half an answer is read as a ranking of 1 instruments"]),
        Fault::EmptyRanking => ("rankings", &["volume24h: the damaged answer \"\": not refused"]),
        Fault::HiddenRanking => ("rankings", &["volume24h: its requests: not refused"]),
        Fault::Batching => ("batching", &["trades.jsonl, in batches of 7: frame 1: event.time_us"]),
    }
}

#[test]
fn the_control_passes_every_check() {
    let report = tested(&[Fault::None]);
    assert!(report.passed, "{}", report.text());
    let skipped: Vec<&str> = report
        .all()
        .filter(|(_, check)| check.outcome == CheckOutcome::Skipped)
        .map(|(_, check)| check.id)
        .collect();
    assert_eq!(skipped, ["scales", "simulator"], "{}", report.text());
}

#[test]
fn each_fault_is_found_by_the_check_whose_promise_it_breaks() {
    let faults = Fault::ALL.into_iter().filter(|fault| *fault != Fault::None);
    let (by_damage, others): (Vec<Fault>, Vec<Fault>) =
        faults.partition(|fault| *fault == Fault::BadUtf8Trap);
    for faults in [by_damage, others] {
        let report = tested(&faults);
        assert!(!report.passed, "{faults:?} pass");
        for fault in faults {
            let (id, texts) = due(fault);
            let is_due =
                |exchange: Option<&str>, check: &Check| exchange == Some(fault.exchange()) && check.id == id;
            let (_, check) = report.all().find(|(exchange, check)| is_due(*exchange, check)).unwrap();
            let named = |cause: &&String| texts.iter().all(|text| cause.contains(text));
            assert_eq!(check.outcome, CheckOutcome::Failed, "{fault:?}: {id}\n{}", report.text());
            assert!(
                check.causes.iter().any(|cause| named(&cause)),
                "{fault:?}: {texts:?} in {:#?}",
                check.causes
            );
        }
    }
}

#[test]
fn the_exit_status_of_the_command_is_that_of_the_suite() {
    // Of the profile of this test: `target/<profile>/deps/<test>`.
    let edge = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("marketprism-edge");
    let run = |fault: Fault, file: &Path| {
        let folder = golden(&[fault]);
        let output = Command::new(&edge)
            .args(["adapter", "test", "--json", "--mutations", "64", "--exchange", fault.exchange()])
            .arg("--frames")
            .arg(folder.path())
            .arg(file)
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let component = built("adapters/broken-adapters.wasm");
    let (status, text) = run(Fault::None, &component);
    assert_eq!(status, Some(0), "{text}");
    assert!(text.contains("\"version\": 1") && text.contains("\"passed\": true"), "{text}");
    let (status, text) = run(Fault::WrongSide, &component);
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains("\"outcome\": \"failed\"") && text.contains("event.side is"), "{text}");
    assert_eq!(run(Fault::None, Path::new("no-such.wasm")).0, Some(2));
}
