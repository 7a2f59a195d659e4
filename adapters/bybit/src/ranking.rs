//! Turnover of the last 24 hours, from the tickers of a category.

use crate::describe::SPOT;
use crate::instruments::result;
use crate::plan::get;
use marketprism_adapter_sdk::{
    Answer, Cursor, Endpoints, Feed, Ranked, Refusal, Request, calculated_amount, each_element, ranked_row,
};

pub(crate) fn requests(feed: &Feed, endpoints: &Endpoints, answers: &[Answer]) -> Vec<Request> {
    if !answers.is_empty() {
        return Vec::new();
    }
    let category = if feed.exchange == SPOT { "spot" } else { "linear" };
    vec![get(format!("{}/v5/market/tickers?category={category}", endpoints.url("rest")))]
}

/// `turnover24h` is in the quote currency, on spot and in linear contracts.
pub(crate) fn ranking(answers: &[Answer]) -> Result<Vec<Ranked>, Refusal> {
    let mut rows = Vec::new();
    for answer in answers {
        result(&answer.body)?.read("list", |cursor, _| {
            each_element(cursor, |cursor| {
                ranked_row(&mut rows, cursor, |row| {
                    Ok(Ranked {
                        venue_symbol: row.read("symbol", Cursor::text)?.into_owned(),
                        value: row.read("turnover24h", calculated_amount)?,
                        currency: None,
                    })
                })
            })
        })?;
    }
    Ok(rows)
}
