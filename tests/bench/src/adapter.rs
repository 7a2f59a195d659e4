//! Adapter calls on the captured frames: the same code in the sandbox and native.

use std::fs;
use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use marketprism_adapter_binance::Binance;
use marketprism_adapter_host::contract as host;
use marketprism_adapter_host::{Adapter, Engine, FrameBatch, Limits, Sandbox, Stats};
use marketprism_adapter_sdk::{self as sdk, Adapter as _};
use marketprism_schema::{Kind, Line};
use marketprism_tests::parts;

use crate::goal::{Goal, Report};

/// Frames a call, as the edge gives when frames queue.
const BATCH: usize = 64;
/// Rounds; the best of each side counts, because the machine is shared.
const ROUNDS: usize = 7;
/// Shortest time of one side of a round.
const ROUND: Duration = Duration::from_millis(400);

/// What a recording holds for one exchange.
struct Captured {
    instruments: String,
    all: Vec<String>,
    typed: Vec<String>,
}

fn captured(name: &str) -> Result<Option<Captured>> {
    let Some(path) = parts::recording(name) else { return Ok(None) };
    let text = fs::read_to_string(path)?;
    let mut captured = Captured { instruments: String::new(), all: Vec::new(), typed: Vec::new() };
    for line in text.lines() {
        let line = Line::parse(line)?;
        let data = line.data.unwrap_or_default().into_owned();
        match line.kind {
            Kind::Rest if line.url.is_some_and(|url| url.contains("exchangeInfo")) => {
                captured.instruments = data
            }
            Kind::WsIn => {
                if data.contains("\"depthUpdate\"") || data.contains("\"aggTrade\"") {
                    captured.typed.push(data.clone());
                }
                captured.all.push(data);
            }
            _ => {}
        }
    }
    Ok(Some(captured))
}

/// Measures both recordings.
pub fn measure(report: &mut Report) -> Result<()> {
    for (file, exchange) in
        [("binance_spot.jsonl", "binance_spot"), ("binance_derivatives.jsonl", "binance_derivatives")]
    {
        match captured(file)? {
            None => report.figure(format!("SKIPPED: ../shared/recordings/{file} is not here"), 0.0, ""),
            Some(captured) => compare(report, exchange, &captured)?,
        }
    }
    Ok(())
}

fn compare(report: &mut Report, exchange: &str, captured: &Captured) -> Result<()> {
    let engine = Engine::new(None)?;
    let limits = Limits::default();
    let path = parts::adapter("binance");
    let adapter = Adapter::load(&engine, &path, &limits)?;
    let mut sandbox = sandboxed(&adapter, &limits, exchange, &captured.instruments)?;
    let mut native = native(exchange, &captured.instruments)?;
    for (kind, frames) in [("typed frames", &captured.typed), ("all frames", &captured.all)] {
        let bytes: usize = frames.iter().map(String::len).sum();
        let host_batches = host_batches(frames)?;
        let sdk_batches = sdk_batches(frames);
        let (mut sandboxed, mut direct) = (f64::MAX, f64::MAX);
        for _ in 0..ROUNDS {
            let round = timed(frames.len(), || {
                for batch in &host_batches {
                    black_box(sandbox.normalize(black_box(batch)).map_err(|fault| anyhow!("{fault}"))?);
                }
                Ok(())
            })?;
            sandboxed = sandboxed.min(round);
            let round = timed(frames.len(), || {
                for batch in &sdk_batches {
                    black_box(native.normalize(black_box(batch)));
                }
                Ok(())
            })?;
            direct = direct.min(round);
        }
        let name = format!("{exchange}, {kind} ({} B)", bytes / frames.len().max(1));
        report.figure(format!("{name}: native"), direct, "ns/frame");
        report.figure(format!("{name}: sandboxed"), sandboxed, "ns/frame");
        report.goal(format!("{name}: sandboxed / native"), sandboxed / direct, "times", Goal::AtMost(2.5));
        report.goal(format!("{name}: one core"), 1e9 / sandboxed, "frames/s", Goal::AtLeast(500_000.0));
    }
    Ok(())
}

/// Nanoseconds a frame of running `pass` over all frames again and again.
fn timed(frames: usize, mut pass: impl FnMut() -> Result<()>) -> Result<f64> {
    let started = Instant::now();
    let mut done = 0_usize;
    while started.elapsed() < ROUND {
        pass()?;
        done += frames;
    }
    if done == 0 {
        bail!("no frames to measure");
    }
    Ok(started.elapsed().as_nanos() as f64 / done as f64)
}

fn host_batches(frames: &[String]) -> Result<Vec<FrameBatch>> {
    let fill = |frames: &[String]| {
        let mut batch = FrameBatch::new();
        for frame in frames {
            batch.push(frame.as_bytes(), 0, 1).context("a captured frame does not fit a batch")?;
        }
        Ok(batch)
    };
    frames.chunks(BATCH).map(fill).collect()
}

fn sdk_batches(frames: &[String]) -> Vec<sdk::Frames> {
    let fill = |frames: &[String]| {
        let mut batch = sdk::Frames {
            data: Vec::new(),
            ends: Vec::new(),
            sources: Vec::new(),
            received_at_ns: Vec::new(),
        };
        for frame in frames {
            batch.data.extend_from_slice(frame.as_bytes());
            batch.ends.push(u32::try_from(batch.data.len()).unwrap_or(u32::MAX));
            batch.sources.push(0);
            batch.received_at_ns.push(1);
        }
        batch
    };
    frames.chunks(BATCH).map(fill).collect()
}

fn sandboxed(adapter: &Adapter, limits: &Limits, exchange: &str, instruments: &str) -> Result<Sandbox> {
    let stats = std::sync::Arc::new(Stats::default());
    let mut sandbox = Sandbox::new(adapter, &std::sync::Arc::new(limits.clone()), &stats)?;
    let feed = host::Feed {
        exchange: exchange.to_owned(),
        symbols: Vec::new(),
        market_types: Vec::new(),
        data_types: vec![host::DataType::Trade, host::DataType::Orderbook],
        depth: 400,
        endpoints: Vec::new(),
    };
    let answers = [host::Answer { request: 0, body: instruments.as_bytes().to_vec() }];
    let instruments = sandbox.instruments(&feed, &answers).map_err(|e| anyhow!("{e}"))?;
    sandbox.load(&feed, &instruments).map_err(|e| anyhow!("{e}"))?;
    Ok(sandbox)
}

fn native(exchange: &str, instruments: &str) -> Result<Binance> {
    let feed = sdk::Feed {
        exchange: exchange.to_owned(),
        symbols: Vec::new(),
        market_types: Vec::new(),
        data_types: vec![sdk::DataType::Trade, sdk::DataType::Orderbook],
        depth: 400,
        endpoints: Vec::new(),
    };
    let answers = vec![sdk::Answer { request: 0, body: instruments.as_bytes().to_vec() }];
    let refused = |refusal: sdk::Refusal| anyhow!("{refusal:?}");
    let instruments = Binance::instruments(&feed, answers).map_err(refused)?;
    Binance::load(feed, instruments).map_err(refused)
}
