//! Adapter for Kraken spot (`kraken_spot`): trades, and order books with the venue's live checksum. `VENUE.md` names the source of every
//! rule.

mod describe;
mod instruments;
mod normalize;
mod plan;
mod ranking;
mod time;

use marketprism_adapter_sdk::{
    Answer, Description, Endpoints, Feed, Frame, Listing, LoadedFeed, Output, ParseResult, Plan, Ranked,
    RankingKey, Refusal, Request, VenueAdapter, VenueInstance,
};

pub type Kraken = VenueInstance<KrakenVenue>;

/// State between frames would be fields here.
#[derive(Debug)]
pub struct KrakenVenue;

impl VenueAdapter for KrakenVenue {
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
        instruments::instruments(answers)
    }

    fn ranking_requests(
        _: &Feed,
        _: RankingKey,
        endpoints: &Endpoints,
        answers: &[Answer],
    ) -> Result<Vec<Request>, Refusal> {
        Ok(ranking::requests(endpoints, answers))
    }

    fn ranking(_: &Feed, _: RankingKey, answers: &[Answer]) -> Result<Vec<Ranked>, Refusal> {
        ranking::ranking(answers)
    }

    fn load(_: &LoadedFeed) -> Result<KrakenVenue, Refusal> {
        Ok(KrakenVenue)
    }

    fn plan(&mut self, loaded: &LoadedFeed) -> Result<Plan, Refusal> {
        Ok(plan::plan(loaded))
    }

    fn normalize(&mut self, loaded: &LoadedFeed, output: &mut Output, frame: Frame<'_>) -> ParseResult<()> {
        normalize::normalize(loaded, output, frame)
    }
}

marketprism_adapter_sdk::export_adapter!(Kraken);
