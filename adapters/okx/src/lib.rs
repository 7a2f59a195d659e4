//! Adapter for OKX spot (`okx_spot`) and OKX swaps, futures and options (`okx_derivatives`). `VENUE.md` names the source of every rule.

mod channels;
mod describe;
mod instruments;
mod normalize;
mod numbers;
mod plan;
mod ranking;

use crate::describe::Exchange;
use crate::numbers::ContractUnits;
use marketprism_adapter_sdk::{
    Answer, Description, Endpoints, Feed, Frame, Listing, LoadedFeed, Output, ParseResult, Plan, Ranked,
    RankingKey, Refusal, Request, VenueAdapter, VenueInstance,
};

pub type Okx = VenueInstance<OkxVenue>;

#[derive(Debug)]
pub struct OkxVenue {
    exchange: Exchange,
    units: Vec<ContractUnits>,
}

impl VenueAdapter for OkxVenue {
    fn describe() -> Description {
        describe::describe()
    }

    fn instrument_requests(
        feed: &Feed,
        endpoints: &Endpoints,
        answers: &[Answer],
    ) -> Result<Vec<Request>, Refusal> {
        instruments::instrument_requests(Exchange::of(&feed.exchange)?, feed, endpoints, answers)
    }

    fn instruments(feed: &Feed, answers: &[Answer]) -> Result<Listing, Refusal> {
        instruments::instruments(Exchange::of(&feed.exchange)?, feed, answers)
    }

    fn ranking_requests(
        feed: &Feed,
        _: RankingKey,
        endpoints: &Endpoints,
        answers: &[Answer],
    ) -> Result<Vec<Request>, Refusal> {
        Ok(ranking::requests(Exchange::of(&feed.exchange)?, feed, endpoints, answers))
    }

    fn ranking(_: &Feed, _: RankingKey, answers: &[Answer]) -> Result<Vec<Ranked>, Refusal> {
        ranking::ranking(answers)
    }

    fn load(loaded: &LoadedFeed) -> Result<OkxVenue, Refusal> {
        let exchange = Exchange::of(&loaded.feed.exchange)?;
        loaded.instruments.iter().try_for_each(|instrument| instruments::check(exchange, instrument))?;
        Ok(OkxVenue { exchange, units: loaded.instruments.iter().map(ContractUnits::of).collect() })
    }

    fn plan(&mut self, loaded: &LoadedFeed) -> Result<Plan, Refusal> {
        plan::plan(self.exchange, loaded)
    }

    #[inline(always)]
    fn normalize(&mut self, loaded: &LoadedFeed, output: &mut Output, frame: Frame<'_>) -> ParseResult<()> {
        self.frame(loaded, output, frame)
    }
}

marketprism_adapter_sdk::export_adapter!(Okx);
