//! Turnover of the last 24 hours, from the tickers of all pairs. They name pairs by their REST keys, which the list of pairs translates.

use crate::instruments::{result, socket_name};
use marketprism_adapter_sdk::{
    Answer, Cursor, Decimal, Endpoints, Object, ParseResult, Ranked, Refusal, Request, calculated_amount,
    each_element, each_member, get, turnover,
};
use std::collections::HashMap;

/// In the order of the requests.
const LISTS: [&str; 2] = ["AssetPairs", "Ticker"];

pub(crate) fn requests(endpoints: &Endpoints, answers: &[Answer]) -> Vec<Request> {
    if !answers.is_empty() {
        return Vec::new();
    }
    let request = |list| get(format!("{}/0/public/{list}", endpoints.url("rest")), Vec::new(), 30_000);
    LISTS.map(request).to_vec()
}

pub(crate) fn ranking(answers: &[Answer]) -> Result<Vec<Ranked>, Refusal> {
    let (mut names, mut rows) = (HashMap::new(), Vec::new());
    for answer in answers.iter().filter(|answer| answer.request == 0) {
        result(&answer.body)?.read("result", |cursor, _| {
            each_member(cursor, "an object of pairs", |cursor, key| {
                if let Some(name) = socket_name(&Object::parse(cursor)?)? {
                    names.insert(key.to_owned(), name);
                }
                Ok(())
            })
        })?;
    }
    for answer in answers.iter().filter(|answer| answer.request == 1) {
        result(&answer.body)?.read("result", |cursor, _| {
            each_member(cursor, "an object of tickers", |cursor, key| {
                let value = value(&Object::parse(cursor)?).ok().flatten();
                let named = names.get(key).zip(value);
                rows.extend(named.map(|(name, value)| Ranked {
                    venue_symbol: name.clone(),
                    value,
                    currency: None,
                }));
                Ok(())
            })
        })?;
    }
    Ok(rows)
}

/// Volume times average price, each of the last 24 hours.
fn value(ticker: &Object<'_>) -> ParseResult<Option<Decimal>> {
    let (volume, price) = (ticker.read("v", of_24_hours)?, ticker.read("p", of_24_hours)?);
    Ok(turnover(volume, price))
}

/// The second of the numbers of today and of the last 24 hours.
fn of_24_hours(cursor: &mut Cursor<'_>, what: &'static str) -> ParseResult<Decimal> {
    let (start, mut numbers) = (*cursor, Vec::new());
    each_element(cursor, |cursor| {
        numbers.push(calculated_amount(cursor, what)?);
        Ok(())
    })?;
    numbers.get(1).copied().map_or_else(|| start.expected("two numbers"), Ok)
}
