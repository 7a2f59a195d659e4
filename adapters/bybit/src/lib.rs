//! Adapter for Bybit spot (`bybit_spot`) and its linear contracts (`bybit_derivatives`). `VENUE.md` names the source of every rule.

mod describe;
mod instruments;
mod normalize;
mod plan;
mod ranking;

use crate::normalize::SessionState;
use marketprism_adapter_sdk::{
    Answer, Description, Endpoints, Feed, Frame, Listing, LoadedFeed, Output, ParseResult, Plan, Ranked,
    RankingKey, Refusal, Request, VenueAdapter, VenueInstance,
};

pub type Bybit = VenueInstance<BybitVenue>;

#[derive(Debug, Default)]
pub struct BybitVenue {
    state: SessionState,
}

impl VenueAdapter for BybitVenue {
    fn describe() -> Description {
        describe::describe()
    }

    fn instrument_requests(
        feed: &Feed,
        endpoints: &Endpoints,
        answers: &[Answer],
    ) -> Result<Vec<Request>, Refusal> {
        instruments::instrument_requests(feed, endpoints, answers)
    }

    fn instruments(feed: &Feed, answers: &[Answer]) -> Result<Listing, Refusal> {
        instruments::instruments(feed, answers)
    }

    fn ranking_requests(
        feed: &Feed,
        _: RankingKey,
        endpoints: &Endpoints,
        answers: &[Answer],
    ) -> Result<Vec<Request>, Refusal> {
        Ok(ranking::requests(feed, endpoints, answers))
    }

    fn ranking(_: &Feed, _: RankingKey, answers: &[Answer]) -> Result<Vec<Ranked>, Refusal> {
        ranking::ranking(answers)
    }

    fn load(_: &LoadedFeed) -> Result<BybitVenue, Refusal> {
        Ok(BybitVenue::default())
    }

    fn plan(&mut self, loaded: &LoadedFeed) -> Result<Plan, Refusal> {
        plan::plan(loaded)
    }

    fn normalize(&mut self, loaded: &LoadedFeed, output: &mut Output, frame: Frame<'_>) -> ParseResult<()> {
        normalize::normalize(&mut self.state, loaded, output, frame)
    }
}

marketprism_adapter_sdk::export_adapter!(Bybit);
