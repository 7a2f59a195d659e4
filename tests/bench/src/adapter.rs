//! Adapter calls on captured frames by kind of frame: the same code in the sandbox with all limits, and native.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use marketprism_adapter_binance::Binance;
use marketprism_adapter_bybit::Bybit;
use marketprism_adapter_conformance::{BenchEffort, Cost, KindCost, Options, golden_folder};
use marketprism_adapter_deribit::Deribit;
use marketprism_adapter_kraken::Kraken;
use marketprism_adapter_okx::Okx;
use marketprism_adapter_template::Template;
use marketprism_tests::parts;

use crate::goal::{Goal, Report};
use crate::native::{self, SOCKETS};

/// Rounds; the best of each side counts because the machine is shared.
const EFFORT: BenchEffort = BenchEffort { rounds: 7, round: Duration::from_millis(60) };

type Native = fn(&str, &[&Path], BenchEffort) -> Result<BTreeMap<String, u64>>;

/// An adapter with its recordings, and the goal in frames per second and core.
struct Subject {
    name: &'static str,
    native: Native,
    recordings: &'static [&'static str],
    frames_per_second: f64,
    /// Allowed cost of the sandbox as a multiple of native code. `None` for adapters with short frames, where the call dominates.
    sandbox_times: Option<f64>,
}

const SUBJECTS: [Subject; 6] = [
    Subject {
        name: "binance",
        native: native::measure::<Binance>,
        recordings: &["binance_spot.jsonl", "binance_derivatives.jsonl"],
        frames_per_second: 500_000.0,
        sandbox_times: Some(2.5),
    },
    Subject {
        name: "okx",
        native: native::measure::<Okx>,
        recordings: &["okx.jsonl"],
        frames_per_second: 250_000.0,
        sandbox_times: Some(2.5),
    },
    Subject {
        name: "deribit",
        native: native::measure::<Deribit>,
        recordings: &["deribit.jsonl"],
        frames_per_second: 400_000.0,
        sandbox_times: None,
    },
    Subject {
        name: "bybit",
        native: native::measure::<Bybit>,
        recordings: &[],
        frames_per_second: 0.0,
        sandbox_times: None,
    },
    Subject {
        name: "kraken",
        native: native::measure::<Kraken>,
        recordings: &[],
        frames_per_second: 0.0,
        sandbox_times: None,
    },
    Subject {
        name: "template",
        native: native::measure::<Template>,
        recordings: &[],
        frames_per_second: 0.0,
        sandbox_times: None,
    },
];

/// Measures every adapter on its golden frames and on the shared recordings.
pub fn measure(report: &mut Report) -> Result<()> {
    for subject in &SUBJECTS {
        for file in subject.recordings {
            match parts::recording(file) {
                None => report.figure(format!("SKIPPED: ../shared/recordings/{file} is not here"), 0.0, ""),
                Some(path) => recorded(report, subject, path)?,
            }
        }
        golden(report, subject)?;
    }
    Ok(())
}

fn sandboxed(subject: &Subject, options: Options) -> Result<Vec<(String, Cost)>> {
    marketprism_adapter_conformance::measure(&options, EFFORT).with_context(|| subject.name.to_owned())
}

fn recorded(report: &mut Report, subject: &Subject, path: PathBuf) -> Result<()> {
    let options = Options {
        golden: None,
        recordings: vec![path.clone()],
        ..Options::new(parts::adapter(subject.name))
    };
    for (exchange, cost) in sandboxed(subject, options)? {
        let native = (subject.native)(&exchange, &[&path], EFFORT).with_context(|| exchange.clone())?;
        show(report, &format!("{exchange}, recorded"), &cost, &native);
        // A recording may hold frames of several exchange ids of a venue; each has its own goal.
        let Some(all) = cost.kinds.iter().find(|kind| kind.kind == SOCKETS) else { continue };
        let name = format!("{exchange}, recorded, {SOCKETS}: one core");
        let least = Goal::AtLeast(subject.frames_per_second);
        report.goal(name, per_second(all.best_ns_per_frame), "frames/s", least);
        if let Some(native) = native.get(SOCKETS) {
            let times = all.best_ns_per_frame as f64 / (*native).max(1) as f64;
            let name = format!("{exchange}, recorded, {SOCKETS}: sandboxed / native");
            match subject.sandbox_times {
                Some(most) => report.goal(name, times, "times", Goal::AtMost(most)),
                None => report.figure(name, times, "times"),
            }
        }
    }
    Ok(())
}

fn golden(report: &mut Report, subject: &Subject) -> Result<()> {
    let adapter = parts::adapter(subject.name);
    let folder = golden_folder(&adapter).context("an adapter without golden frames")?.join("frames");
    for (exchange, cost) in sandboxed(subject, Options::new(adapter.clone()))? {
        let entries = std::fs::read_dir(&folder)?.collect::<Result<Vec<_>, _>>()?;
        let mut files: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
        files.retain(|path| {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            name.starts_with(&format!("{exchange}."))
        });
        let files: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
        let native = (subject.native)(&exchange, &files, EFFORT).with_context(|| exchange.clone())?;
        show(report, &format!("{exchange}, golden"), &cost, &native);
    }
    Ok(())
}

fn show(report: &mut Report, name: &str, cost: &Cost, native: &BTreeMap<String, u64>) {
    for KindCost { kind, bytes_per_frame, best_ns_per_frame, .. } in &cost.kinds {
        let native = native.get(kind).map_or_else(|| "?".to_owned(), u64::to_string);
        let name =
            format!("{name}, {kind}, {bytes_per_frame} B: {native} ns native, {best_ns_per_frame} sandboxed");
        report.figure(name, per_second(*best_ns_per_frame), "frames/s");
    }
}

fn per_second(ns: u64) -> f64 {
    1e9 / ns.max(1) as f64
}
