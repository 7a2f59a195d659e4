//! Adapter calls on captured frames by kind of frame: the same code in the sandbox with all limits, and native.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use marketprism_adapter_binance::Binance;
use marketprism_adapter_bybit::Bybit;
use marketprism_adapter_conformance::{KindFrames, Options, frames_by_kind, golden_folder, kind};
use marketprism_adapter_deribit::Deribit;
use marketprism_adapter_kraken::Kraken;
use marketprism_adapter_okx::Okx;
use marketprism_adapter_sdk::testkit::{OwnedFrame, RecordedMessage, Session, batch, read, whole_feed};
use marketprism_adapter_sdk::{Adapter, Frames};
use marketprism_adapter_template::Template;
use marketprism_tests::figures::{Goal, Report};
use marketprism_tests::pairs::{Pairs, Turn};
use marketprism_tests::parts;

/// Turns of sandboxed and native code, one after the other.
const PAIRS: usize = 20;
/// Turn of all frames of a recording; of one kind of frames.
const TURN: Duration = Duration::from_millis(60);
const KIND_TURN: Duration = Duration::from_millis(10);

type Native = fn(&str, &[&Path]) -> Result<Box<dyn NativeFrames>>;

/// An adapter with its recordings, and the goal in frames per second and core.
struct Subject {
    name: &'static str,
    native: Native,
    recordings: &'static [&'static str],
    frames_per_second: f64,
    /// Allowed cost of the sandbox as a multiple of native code. `None` for adapters without a recording.
    sandbox_times: Option<f64>,
}

const SUBJECTS: [Subject; 6] = [
    Subject {
        name: "binance",
        native: native::<Binance>,
        recordings: &["binance_spot.jsonl", "binance_derivatives.jsonl"],
        frames_per_second: 500_000.0,
        sandbox_times: Some(2.0),
    },
    Subject {
        name: "okx",
        native: native::<Okx>,
        recordings: &["okx.jsonl"],
        frames_per_second: 250_000.0,
        sandbox_times: Some(2.0),
    },
    Subject {
        name: "deribit",
        native: native::<Deribit>,
        recordings: &["deribit.jsonl"],
        frames_per_second: 400_000.0,
        sandbox_times: Some(2.0),
    },
    Subject {
        name: "bybit",
        native: native::<Bybit>,
        recordings: &[],
        frames_per_second: 0.0,
        sandbox_times: None,
    },
    Subject {
        name: "kraken",
        native: native::<Kraken>,
        recordings: &[],
        frames_per_second: 0.0,
        sandbox_times: None,
    },
    Subject {
        name: "template",
        native: native::<Template>,
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

fn recorded(report: &mut Report, subject: &Subject, path: PathBuf) -> Result<()> {
    let options = Options {
        golden: None,
        recordings: vec![path.clone()],
        ..Options::new(parts::adapter(subject.name))
    };
    for (exchange, kinds) in frames_by_kind(&options).with_context(|| subject.name.to_owned())? {
        let mut native = (subject.native)(&exchange, &[&path]).with_context(|| exchange.clone())?;
        for mut kind in kinds {
            let is_all = kind.kind == SOCKETS;
            let pairs = measured(&mut kind, &mut *native, if is_all { TURN } else { KIND_TURN })?;
            let name = format!("{exchange}, recorded, {}", kind.kind);
            show(report, &name, &kind, &pairs)?;
            // A recording may hold frames of several exchange ids of a venue; each has its own goal.
            if is_all {
                let sandboxed = pairs.left().context("no pair")?.median;
                let least = Goal::AtLeast(subject.frames_per_second);
                report.goal(format!("{name}: one core"), 1.0 / sandboxed, "frames/s", least);
                let name = format!("{name}: sandboxed / native");
                let most = subject.sandbox_times.map(Goal::AtMost);
                report.spread(name.clone(), pairs.times().context("no pair")?, "times", most);
                report.figure(format!("{name}, CPU time"), pairs.cpu_times(), "times");
            }
        }
    }
    Ok(())
}

fn golden(report: &mut Report, subject: &Subject) -> Result<()> {
    let adapter = parts::adapter(subject.name);
    let folder = golden_folder(&adapter).context("an adapter without golden frames")?.join("frames");
    let exchanges = frames_by_kind(&Options::new(adapter)).with_context(|| subject.name.to_owned())?;
    for (exchange, kinds) in exchanges {
        let entries = std::fs::read_dir(&folder)?.collect::<Result<Vec<_>, _>>()?;
        let mut files: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
        files.retain(|path| {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            name.starts_with(&format!("{exchange}."))
        });
        let files: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
        let mut native = (subject.native)(&exchange, &files).with_context(|| exchange.clone())?;
        for mut kind in kinds {
            let pairs = measured(&mut kind, &mut *native, KIND_TURN)?;
            show(report, &format!("{exchange}, golden, {}", kind.kind), &kind, &pairs)?;
        }
    }
    Ok(())
}

/// Sandboxed and native turns of the same frames.
fn measured(sandboxed: &mut KindFrames, native: &mut dyn NativeFrames, length: Duration) -> Result<Pairs> {
    let chosen = native.choose(&sandboxed.kind)?;
    ensure!(
        chosen == sandboxed.frames,
        "{}: {} frames in the sandbox, {chosen} native",
        sandboxed.kind,
        sandboxed.frames
    );
    let frames = sandboxed.frames;
    let left = || turn(length, frames, || sandboxed.pass());
    let right = || {
        turn(length, frames, || {
            native.pass();
            Ok(())
        })
    };
    Pairs::take(PAIRS, left, right)
}

fn turn(length: Duration, frames: u64, mut pass: impl FnMut() -> Result<()>) -> Result<Turn> {
    let (cpu, began, mut passes) = (thread_cpu()?, Instant::now(), 0_u64);
    while began.elapsed() < length {
        pass()?;
        passes += 1;
    }
    Ok(Turn::of(began.elapsed(), thread_cpu()?.saturating_sub(cpu), passes * frames))
}

/// CPU time of this thread.
pub fn thread_cpu() -> Result<Duration> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let running = stat.split(' ').next().context("an empty schedstat")?;
    Ok(Duration::from_nanos(running.parse()?))
}

fn show(report: &mut Report, name: &str, kind: &KindFrames, pairs: &Pairs) -> Result<()> {
    let name = format!("{name}, {} B", kind.bytes_per_frame);
    for (side, spread) in [("sandboxed", pairs.left()), ("native", pairs.right())] {
        let each = spread.context("no pair")?.median;
        report.figure(format!("{name}: {side}"), each * 1e9, "ns a frame");
    }
    Ok(())
}

/// Frames per call, as in the sandbox.
const BATCH: usize = 64;

/// All WebSocket frames, named like the sandbox's figure.
const SOCKETS: &str = "all from sockets";

/// Frames of an exchange for an adapter that is compiled into this program.
trait NativeFrames {
    /// Frames of one kind for the passes that follow; returns their number.
    fn choose(&mut self, kind: &str) -> Result<u64>;
    fn pass(&mut self);
}

struct FrameSubset<A> {
    session: Session<A>,
    kinds: Vec<String>,
    frames: Vec<OwnedFrame>,
    chosen: Vec<Frames>,
}

impl<A: Adapter> NativeFrames for Vec<FrameSubset<A>> {
    fn choose(&mut self, kind: &str) -> Result<u64> {
        let mut count = 0;
        for part in self {
            let connections = part.session.plan.connections.len();
            let is_chosen = |(own, frame): &(&String, &OwnedFrame)| match kind {
                SOCKETS => (frame.source as usize) < connections,
                kind => *own == kind,
            };
            let chosen = part.kinds.iter().zip(&part.frames).filter(is_chosen);
            let chosen: Vec<OwnedFrame> = chosen.map(|(_, frame)| frame.clone()).collect();
            count += u64::try_from(chosen.len())?;
            part.chosen = chosen.chunks(BATCH).map(batch).collect();
        }
        Ok(count)
    }

    fn pass(&mut self) {
        for part in self {
            for batch in &part.chosen {
                black_box(part.session.adapter.normalize(black_box(batch)));
            }
        }
    }
}

/// If `files` contain `<exchange>.instruments.jsonl`, it has the instruments of all other files; otherwise each file has its own.
fn native<A: Adapter + 'static>(exchange: &str, files: &[&Path]) -> Result<Box<dyn NativeFrames>> {
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
        parts.push(FrameSubset { session, kinds, frames, chosen: Vec::new() });
    }
    Ok(Box::new(parts))
}
