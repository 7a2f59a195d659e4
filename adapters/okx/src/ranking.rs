//! Turnover of the last 24 hours, from the tickers of an instrument type. Of options it is in coins: their prices are.

use crate::describe::Exchange;
use crate::instruments::data;
use crate::plan::tickers_request;
use marketprism_adapter_sdk::{
    Answer, Cursor, Endpoints, Feed, MarketType, Object, ParseResult, Ranked, Refusal, Request,
    calculated_amount, each_element, ranked_row, turnover,
};

pub(crate) fn requests(
    exchange: Exchange,
    feed: &Feed,
    endpoints: &Endpoints,
    answers: &[Answer],
) -> Vec<Request> {
    if !answers.is_empty() {
        return Vec::new();
    }
    let wants = |markets: &[MarketType]| match feed.market_types.as_slice() {
        [] => !markets.contains(&MarketType::Options),
        named => named.iter().any(|market| markets.contains(market)),
    };
    let types = match exchange {
        Exchange::Spot => vec!["SPOT"],
        Exchange::Derivatives => [
            ("SWAP", &[MarketType::Perpetual][..]),
            // Some perpetual contracts are of the type FUTURES.
            ("FUTURES", &[MarketType::Perpetual, MarketType::Futures]),
            ("OPTION", &[MarketType::Options]),
        ]
        .into_iter()
        .filter(|(_, markets)| wants(markets))
        .map(|(kind, _)| kind)
        .collect(),
    };
    types.into_iter().map(|kind| tickers_request(endpoints, kind)).collect()
}

pub(crate) fn ranking(answers: &[Answer]) -> Result<Vec<Ranked>, Refusal> {
    let mut rows = Vec::new();
    for answer in answers {
        each_element(&mut data(&answer.body)?, |cursor| ranked_row(&mut rows, cursor, ranked))?;
    }
    Ok(rows)
}

/// `volCcy24h` is in the quote currency on spot, else in the base currency.
fn ranked(ticker: &Object<'_>) -> ParseResult<Ranked> {
    let name = ticker.read("instId", Cursor::text)?;
    let volume = ticker.read("volCcy24h", calculated_amount)?;
    let kind = ticker.read("instType", Cursor::text)?;
    let (value, currency) = match &*kind {
        "SPOT" => (volume, None),
        "OPTION" => (volume, name.split('-').next().map(str::to_owned)),
        _ => {
            let value = ticker.read("last", |cursor, what| {
                let start = *cursor;
                let price = calculated_amount(cursor, what)?;
                turnover(volume, price).map_or_else(|| start.expected("a turnover below 2^63"), Ok)
            })?;
            (value, None)
        }
    };
    Ok(Ranked { venue_symbol: name.into_owned(), value, currency })
}
