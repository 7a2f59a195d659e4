//! Adapter for Binance spot (`binance_spot`) and USD-M futures (`binance_derivatives`). `VENUE.md` names the source of every rule.
//! COIN-M is not served.

mod describe;
mod funding_intervals;
mod instruments;
mod normalize;
mod plan;
mod ranking;
mod streams;

use crate::describe::Exchange;
use crate::funding_intervals::FundingIntervals;
use marketprism_adapter_sdk::{
    Answer, BookScales, Description, Endpoints, Feed, Frame, Instrument, Listing, LoadedFeed, Output,
    ParseResult, Plan, Ranked, RankingKey, Refusal, Request, TradeRange, VenueAdapter, VenueInstance,
};

pub type Binance = VenueInstance<BinanceVenue>;

#[derive(Debug)]
pub struct BinanceVenue {
    exchange: Exchange,
    scales: Vec<BookScales>,
    intervals: FundingIntervals,
}

impl VenueAdapter for BinanceVenue {
    fn describe() -> Description {
        describe::describe()
    }

    fn instrument_requests(
        feed: &Feed,
        endpoints: &Endpoints,
        answers: &[Answer],
    ) -> Result<Vec<Request>, Refusal> {
        Ok(plan::instrument_requests(Exchange::of(&feed.exchange)?, endpoints, answers))
    }

    fn instruments(feed: &Feed, answers: &[Answer]) -> Result<Listing, Refusal> {
        Ok(instruments::instruments(Exchange::of(&feed.exchange)?, answers)?)
    }

    fn ranking_requests(
        feed: &Feed,
        _: RankingKey,
        endpoints: &Endpoints,
        answers: &[Answer],
    ) -> Result<Vec<Request>, Refusal> {
        Ok(ranking::requests(Exchange::of(&feed.exchange)?, endpoints, answers))
    }

    fn ranking(_: &Feed, _: RankingKey, answers: &[Answer]) -> Result<Vec<Ranked>, Refusal> {
        ranking::ranking(answers)
    }

    fn load(loaded: &LoadedFeed) -> Result<BinanceVenue, Refusal> {
        Ok(BinanceVenue {
            exchange: Exchange::of(&loaded.feed.exchange)?,
            scales: loaded
                .instruments
                .iter()
                .map(|one| BookScales::new(one.price_scale, one.quantity_scale))
                .collect(),
            intervals: FundingIntervals::default(),
        })
    }

    fn plan(&mut self, loaded: &LoadedFeed) -> Result<Plan, Refusal> {
        plan::plan(self.exchange, loaded)
    }

    fn backfill(
        &self,
        loaded: &LoadedFeed,
        instrument: &Instrument,
        trades: TradeRange,
    ) -> Result<Request, Refusal> {
        Ok(plan::backfill(self.exchange, loaded.endpoints.url("rest"), instrument, trades))
    }

    #[inline(always)]
    fn normalize(&mut self, loaded: &LoadedFeed, output: &mut Output, frame: Frame<'_>) -> ParseResult<()> {
        self.frame(loaded, output, frame)
    }
}

marketprism_adapter_sdk::export_adapter!(Binance);
