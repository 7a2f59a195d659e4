//! The four functions, put together.

use crate::ticker::Tickers;
use crate::{describe, instruments, normalize, plan};
use marketprism_adapter_sdk::{
    Answer, Description, Endpoints, Feed, Frame, Listing, Loaded, Output, Plan, Refusal, Scan, Simple,
    SimpleAdapter,
};

/// The adapter.
pub type Bybit = Simple<Functions>;

/// The four functions, with what they remember between frames.
#[derive(Debug, Default)]
pub struct Functions {
    /// The venue sends of a ticker only what changed.
    tickers: Tickers,
}

impl SimpleAdapter for Functions {
    fn describe() -> Description {
        describe::describe()
    }

    fn instruments(feed: &Feed, endpoints: &Endpoints, answers: &[Answer]) -> Scan<Listing> {
        instruments::instruments(feed, endpoints, answers)
    }

    fn plan(loaded: &Loaded) -> Result<Plan, Refusal> {
        plan::plan(loaded)
    }

    fn normalize(&mut self, loaded: &Loaded, output: &mut Output, frame: Frame<'_>) -> Scan<()> {
        normalize::normalize(&mut self.tickers, loaded, output, frame)
    }
}
