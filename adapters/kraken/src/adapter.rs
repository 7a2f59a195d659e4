//! The four functions, put together.

use crate::{describe::describe, instruments::instruments, normalize::normalize, plan::plan};
use marketprism_adapter_sdk::{
    Answer, Description, Endpoints, Feed, Frame, Listing, Loaded, Output, Plan, Refusal, Scan, Simple,
    SimpleAdapter,
};

/// The adapter.
pub type Kraken = Simple<Functions>;

/// The four functions. What they shall remember between frames would be fields here.
#[derive(Debug, Default)]
pub struct Functions;

impl SimpleAdapter for Functions {
    fn describe() -> Description {
        describe()
    }

    fn instruments(_: &Feed, endpoints: &Endpoints, answers: &[Answer]) -> Scan<Listing> {
        instruments(endpoints, answers)
    }

    fn plan(loaded: &Loaded) -> Result<Plan, Refusal> {
        Ok(plan(loaded))
    }

    fn normalize(&mut self, loaded: &Loaded, output: &mut Output, frame: Frame<'_>) -> Scan<()> {
        normalize(loaded, output, frame.bytes)
    }
}
