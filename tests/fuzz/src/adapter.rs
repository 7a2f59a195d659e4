//! An adapter's native code over any frames: results must hold what the host checks.
//!
//! An input is: one byte that chooses the market, then frames, separated by the byte 0x1e. Of each frame the first byte chooses the source,
//! the rest is its text.

use std::path::Path;

use marketprism_adapter_conformance::convert::ToHost;
use marketprism_adapter_host::fixtures::check;
use marketprism_adapter_sdk::testkit::{OwnedFrame, Session, batch, read, whole_feed};
use marketprism_adapter_sdk::{Adapter, Feed, Instrument};

/// Separates the frames of an input.
pub const SEPARATOR: u8 = 0x1e;

/// Frames of one input: more find nothing further.
const FRAMES: usize = 16;

/// An exchange id with the instruments of its golden frames.
#[derive(Debug)]
pub(crate) struct FuzzedMarket {
    pub(crate) exchange: String,
    feed: Feed,
    instruments: Vec<Instrument>,
    /// Connections, polls and resyncs of the plan, and one more that does not exist.
    sources: u32,
}

pub(crate) fn markets<A: Adapter>(folder: &Path) -> Vec<FuzzedMarket> {
    let described = A::describe();
    let market = |exchange: String| -> Result<FuzzedMarket, String> {
        let feed = whole_feed::<A>(&exchange)?;
        let records = read(&folder.join("frames").join(format!("{exchange}.instruments.jsonl")))?;
        let Session { instruments, plan, .. } = Session::<A>::open(&feed, &records)?;
        let sources = plan.connections.len() + plan.polls.len() + plan.resyncs.len() + 1;
        Ok(FuzzedMarket { exchange, feed, instruments, sources: u32::try_from(sources).unwrap_or(u32::MAX) })
    };
    let markets = described.venues.into_iter().map(|venue| market(venue.exchange));
    markets.collect::<Result<_, _>>().unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
}

/// Normalizes the frames of an input in a new instance, at once and one by one.
pub(crate) fn run<A: Adapter>(markets: &[FuzzedMarket], input: &[u8]) {
    let Some((first, rest)) = input.split_first() else { return };
    let Some(market) = markets.get(usize::from(*first) % markets.len().max(1)) else { return };
    let frames: Vec<OwnedFrame> = rest
        .split(|byte| *byte == SEPARATOR)
        .take(FRAMES)
        .map(|frame| {
            let (source, text) = frame.split_first().unwrap_or((&0, &[]));
            OwnedFrame {
                bytes: text.to_vec(),
                source: u32::from(*source) % market.sources,
                at: 1_700_000_000_000_000_000,
            }
        })
        .collect();
    for size in [frames.len(), 1] {
        let mut instance = A::load(market.feed.clone(), market.instruments.clone())
            .unwrap_or_else(|refusal| panic!("{} is refused: {refusal:?}", market.exchange));
        for part in frames.chunks(size.max(1)) {
            let normalized = instance.normalize(&batch(part));
            if let Err(broken) = check(&normalized.to_host(), part.len(), market.instruments.len()) {
                panic!("{}: {broken}", market.exchange);
            }
            let levels = normalized.levels.as_chunks::<2>().0;
            assert!(levels.iter().all(|[_, quantity]| *quantity >= 0), "{}: {levels:?}", market.exchange);
        }
    }
}
