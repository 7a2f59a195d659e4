//! An adapter's native code on captured frames.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use marketprism_adapter_conformance::{BenchEffort, kind};
use marketprism_adapter_sdk::testkit::{OwnedFrame, RecordedMessage, Session, batch, read, whole_feed};
use marketprism_adapter_sdk::{Adapter, Frames};

/// Frames per call, as in the sandbox.
const BATCH: usize = 64;

/// All WebSocket frames, named like the sandbox's figure.
pub const SOCKETS: &str = "all from sockets";

struct FrameSubset<A> {
    session: Session<A>,
    kinds: Vec<String>,
    frames: Vec<OwnedFrame>,
}

/// Nanoseconds per frame by kind, best of the rounds. If `files` contain `<exchange>.instruments.jsonl`, it has the instruments of all other
/// files; otherwise each file has its own.
pub fn measure<A: Adapter>(
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
