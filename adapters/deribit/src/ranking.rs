//! Turnover of the last 24 hours in USD, from the summaries of the order books by currency.

use crate::instruments::answered;
use crate::plan::summary_request;
use marketprism_adapter_sdk::{
    Answer, Cursor, Endpoints, Feed, MarketType, Ranked, Refusal, Request, calculated_amount, each_element,
    ranked_row,
};

/// Currencies that the request takes; unlike the one for lists it does not take `any`.
const CURRENCIES: [&str; 5] = ["BTC", "ETH", "USDC", "USDT", "EURR"];

pub(crate) fn requests(feed: &Feed, endpoints: &Endpoints, answers: &[Answer]) -> Vec<Request> {
    if !answers.is_empty() {
        return Vec::new();
    }
    let is_option = |market: &MarketType| *market == MarketType::Options;
    let mut kinds = Vec::new();
    if feed.market_types.is_empty() || feed.market_types.iter().any(|market| !is_option(market)) {
        kinds.push("future");
    }
    if feed.market_types.iter().any(is_option) {
        kinds.push("option");
    }
    let of_kind = |kind| CURRENCIES.map(|currency| summary_request(endpoints, currency, kind));
    kinds.into_iter().flat_map(of_kind).collect()
}

pub(crate) fn ranking(answers: &[Answer]) -> Result<Vec<Ranked>, Refusal> {
    let mut rows = Vec::new();
    for answer in answers {
        answered(&answer.body)?.read("result", |cursor, _| {
            each_element(cursor, |cursor| {
                ranked_row(&mut rows, cursor, |row| {
                    Ok(Ranked {
                        venue_symbol: row.read("instrument_name", Cursor::text)?.into_owned(),
                        value: row.read("volume_usd", calculated_amount)?,
                        currency: Some("USD".to_owned()),
                    })
                })
            })
        })?;
    }
    Ok(rows)
}
