//! Adapter calls on captured frames by kind of frame: the same code in the sandbox with all limits, and native.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use marketprism_adapter_binance::Binance;
use marketprism_adapter_bybit::Bybit;
use marketprism_adapter_conformance::{BenchEffort, Cost, KindCost, Options, golden_folder, kind};
use marketprism_adapter_deribit::Deribit;
use marketprism_adapter_kraken::Kraken;
use marketprism_adapter_okx::Okx;
use marketprism_adapter_sdk::testkit::{OwnedFrame, RecordedMessage, Session, batch, read, whole_feed};
use marketprism_adapter_sdk::{Adapter, Frames};
use marketprism_adapter_template::Template;
use marketprism_tests::figures::{Goal, Report};
use marketprism_tests::parts;

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
        native: measure_native::<Binance>,
        recordings: &["binance_spot.jsonl", "binance_derivatives.jsonl"],
        frames_per_second: 500_000.0,
        sandbox_times: Some(2.5),
    },
    Subject {
        name: "okx",
        native: measure_native::<Okx>,
        recordings: &["okx.jsonl"],
        frames_per_second: 250_000.0,
        sandbox_times: Some(2.5),
    },
    Subject {
        name: "deribit",
        native: measure_native::<Deribit>,
        recordings: &["deribit.jsonl"],
        frames_per_second: 400_000.0,
        sandbox_times: None,
    },
    Subject {
        name: "bybit",
        native: measure_native::<Bybit>,
        recordings: &[],
        frames_per_second: 0.0,
        sandbox_times: None,
    },
    Subject {
        name: "kraken",
        native: measure_native::<Kraken>,
        recordings: &[],
        frames_per_second: 0.0,
        sandbox_times: None,
    },
    Subject {
        name: "template",
        native: measure_native::<Template>,
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

/// Frames per call, as in the sandbox.
const BATCH: usize = 64;

/// All WebSocket frames, named like the sandbox's figure.
const SOCKETS: &str = "all from sockets";

struct FrameSubset<A> {
    session: Session<A>,
    kinds: Vec<String>,
    frames: Vec<OwnedFrame>,
}

/// Nanoseconds per frame by kind, best of the rounds. If `files` contain `<exchange>.instruments.jsonl`, it has the instruments of all other
/// files; otherwise each file has its own.
fn measure_native<A: Adapter>(
    exchange: &str,
    files: &[&Path],
    effort: BenchEffort,
) -> Result<BTreeMap<String, u64>> {
    let feed = whole_feed::<A>(exchange).map_err(anyhow::Error::msg)?;
    let shared = files.iter().find(|path| path.ends_with(format!("{exchange}.instruments.jsonl")));
    let shared: Option<Vec<RecordedMessage>> =
        shared.map(|path| read(path)).transpose().map_err(anyhow::Error::msg)?;
    let mut parts = Vec::new();
    for path in files.iter().filter(|path| !path.to_string_lossy().ends_with(".instruments.jsonl")) {
        let records = read(path).map_err(anyhow::Error::msg)?;
        let mut session =
            Session::<A>::open(&feed, shared.as_ref().unwrap_or(&records)).map_err(anyhow::Error::msg)?;
        let frames = session.frames(&records);
        let kinds = frames.iter().map(|frame| kind(&session.normalize(std::slice::from_ref(frame), 1)));
        let kinds = kinds.collect();
        parts.push(FrameSubset { session, kinds, frames });
    }
    let mut names: Vec<String> = parts.iter().flat_map(|part| part.kinds.clone()).collect();
    names.sort();
    names.dedup();
    let mut figures = BTreeMap::new();
    for name in names.iter().map(String::as_str).chain([SOCKETS]) {
        figures.extend(best(&mut parts, name, effort)?.map(|ns| (name.to_owned(), ns)));
    }
    Ok(figures)
}

fn best<A: Adapter>(parts: &mut [FrameSubset<A>], name: &str, effort: BenchEffort) -> Result<Option<u64>> {
    let (mut batches, mut count): (Vec<Vec<Frames>>, u64) = (Vec::new(), 0);
    for part in parts.iter() {
        let connections = part.session.plan.connections.len();
        let is_chosen = |(kind, frame): &(&String, &OwnedFrame)| match name {
            SOCKETS => (frame.source as usize) < connections,
            name => *kind == name,
        };
        let chosen = part.kinds.iter().zip(&part.frames).filter(is_chosen);
        let chosen: Vec<OwnedFrame> = chosen.map(|(_, frame)| frame.clone()).collect();
        count += u64::try_from(chosen.len())?;
        batches.push(chosen.chunks(BATCH).map(batch).collect());
    }
    if count == 0 {
        return Ok(None);
    }
    let mut best = u64::MAX;
    for _ in 0..effort.rounds {
        let (began, mut passes) = (Instant::now(), 0_u64);
        while began.elapsed() < effort.round {
            for (part, batches) in parts.iter_mut().zip(&batches) {
                for batch in batches {
                    black_box(part.session.adapter.normalize(black_box(batch)));
                }
            }
            passes += 1;
        }
        let taken = u64::try_from(began.elapsed().as_nanos()).context("a round took centuries")?;
        best = best.min(taken / (passes * count).max(1));
    }
    Ok(Some(best))
}
