//! A small complete adapter, made to be copied: trades and order books of an invented venue (`template_spot`). Each function of
//! `VenueAdapter` is in the file of its name; `VENUE.md` names the source of every rule.

mod describe;
mod instruments;
mod normalize;
mod numbers;
mod plan;

use marketprism_adapter_sdk::{
    Answer, Description, Endpoints, Feed, Frame, Instrument, Listing, LoadedFeed, Output, ParseResult, Plan,
    Refusal, Request, TradeRange, VenueAdapter, VenueInstance,
};

pub type Template = VenueInstance<TemplateVenue>;

/// State between frames would be fields here.
#[derive(Debug)]
pub struct TemplateVenue;

impl VenueAdapter for TemplateVenue {
    fn describe() -> Description {
        describe::describe()
    }

    fn instrument_requests(
        _: &Feed,
        endpoints: &Endpoints,
        answers: &[Answer],
    ) -> Result<Vec<Request>, Refusal> {
        Ok(instruments::instrument_requests(endpoints, answers))
    }

    fn instruments(_: &Feed, answers: &[Answer]) -> Result<Listing, Refusal> {
        Ok(instruments::instruments(answers)?)
    }

    fn load(_: &LoadedFeed) -> Result<TemplateVenue, Refusal> {
        Ok(TemplateVenue)
    }

    fn plan(&mut self, loaded: &LoadedFeed) -> Result<Plan, Refusal> {
        Ok(plan::plan(loaded))
    }

    fn backfill(
        &self,
        loaded: &LoadedFeed,
        instrument: &Instrument,
        trades: TradeRange,
    ) -> Result<Request, Refusal> {
        Ok(plan::backfill(loaded, instrument, trades))
    }

    fn normalize(&mut self, loaded: &LoadedFeed, output: &mut Output, frame: Frame<'_>) -> ParseResult<()> {
        normalize::normalize(loaded, output, frame.bytes)
    }
}

marketprism_adapter_sdk::export_adapter!(Template);
