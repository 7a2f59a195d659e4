//! Adapter for Deribit (`deribit_derivatives`): perpetuals, dated futures, options and the volatility indices. `VENUE.md` names the
//! source of every rule.

mod channels;
mod describe;
mod forced_trades;
mod instruments;
mod normalize;
mod numbers;
mod plan;
mod ranking;

use crate::forced_trades::ForcedTrades;
use crate::numbers::ContractUnits;
use crate::plan::SubscribedChannels;
use marketprism_adapter_sdk::{
    Answer, Description, Endpoints, Feed, Frame, Instrument, Listing, LoadedFeed, Output, ParseResult, Plan,
    Ranked, RankingKey, Refusal, Request, TradeRange, VenueAdapter, VenueInstance,
};

pub type Deribit = VenueInstance<DeribitVenue>;

#[derive(Debug)]
pub struct DeribitVenue {
    units: Vec<ContractUnits>,
    subscribed: SubscribedChannels,
    forced_trades: ForcedTrades,
}

impl VenueAdapter for DeribitVenue {
    fn describe() -> Description {
        describe::describe()
    }

    fn instrument_requests(
        feed: &Feed,
        endpoints: &Endpoints,
        answers: &[Answer],
    ) -> Result<Vec<Request>, Refusal> {
        Ok(plan::instrument_requests(feed, endpoints, answers))
    }

    fn instruments(feed: &Feed, answers: &[Answer]) -> Result<Listing, Refusal> {
        instruments::instruments(feed, answers)
    }

    fn select(feed: &Feed, listed: Vec<Instrument>) -> Result<Vec<Instrument>, Refusal> {
        instruments::select_with_indices(feed, listed)
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

    fn load(loaded: &LoadedFeed) -> Result<DeribitVenue, Refusal> {
        Ok(DeribitVenue {
            units: loaded.instruments.iter().map(ContractUnits::of).collect(),
            subscribed: SubscribedChannels::default(),
            forced_trades: ForcedTrades::default(),
        })
    }

    fn plan(&mut self, loaded: &LoadedFeed) -> Result<Plan, Refusal> {
        let (plan, subscribed) = plan::plan(loaded)?;
        self.subscribed = subscribed;
        Ok(plan)
    }

    fn backfill(
        &self,
        loaded: &LoadedFeed,
        instrument: &Instrument,
        trades: TradeRange,
    ) -> Result<Request, Refusal> {
        plan::backfill(loaded, instrument, trades)
    }

    #[inline(always)]
    fn normalize(&mut self, loaded: &LoadedFeed, output: &mut Output, frame: Frame<'_>) -> ParseResult<()> {
        let result = self.frame(loaded, output, frame);
        // The events of a malformed frame are not published.
        match result {
            Ok(()) => self.forced_trades.commit(),
            Err(_) => self.forced_trades.roll_back(),
        }
        result
    }
}

marketprism_adapter_sdk::export_adapter!(Deribit);
