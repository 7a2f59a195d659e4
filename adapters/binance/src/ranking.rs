//! Turnover of the last 24 hours, from the tickers of all symbols.

use crate::describe::Exchange;
use crate::plan::weight_charge;
use marketprism_adapter_sdk::{
    Answer, Cursor, Endpoints, Ranked, Refusal, Request, calculated_amount, each_element, get, ranked_row,
};

pub(crate) fn requests(exchange: Exchange, endpoints: &Endpoints, answers: &[Answer]) -> Vec<Request> {
    if !answers.is_empty() {
        return Vec::new();
    }
    let (path, weight) = match exchange {
        Exchange::Spot => ("/api/v3/ticker/24hr?type=MINI", 80),
        Exchange::UsdM => ("/fapi/v1/ticker/24hr", 40),
    };
    let url = format!("{}{path}", endpoints.url("rest"));
    vec![get(url, vec![weight_charge(exchange, weight)], 60_000)]
}

pub(crate) fn ranking(answers: &[Answer]) -> Result<Vec<Ranked>, Refusal> {
    let mut rows = Vec::new();
    for answer in answers {
        let mut cursor = Cursor::new(&answer.body);
        each_element(&mut cursor, |cursor| {
            ranked_row(&mut rows, cursor, |row| {
                Ok(Ranked {
                    venue_symbol: row.read("symbol", Cursor::text)?.into_owned(),
                    value: row.read("quoteVolume", calculated_amount)?,
                    currency: None,
                })
            })
        })?;
        cursor.end()?;
    }
    Ok(rows)
}
