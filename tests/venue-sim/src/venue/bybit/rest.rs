//! REST: the lists, tickers, ratios, and errors. Errors come with status 200.

use super::{frames, instruments};
use crate::market::{Contract, RatioKind, Topic};
use crate::venue::{ListedInstrument, RestAnswer, RestRequest, Source, event_data};

/// The venue's name, that of events, and the length in units of five minutes.
const PERIODS: [(&str, &str, usize); 6] = [
    ("5min", "5m", 1),
    ("15min", "15m", 3),
    ("30min", "30m", 6),
    ("1h", "1h", 12),
    ("4h", "4h", 48),
    ("1d", "1d", 288),
];

fn ok(result: &str, now_ms: i64) -> RestAnswer {
    RestAnswer::new(
        200,
        format!(r#"{{"retCode":0,"retMsg":"OK","result":{result},"retExtInfo":{{}},"time":{now_ms}}}"#),
    )
}

pub(super) fn error(code: u16, text: &str) -> RestAnswer {
    RestAnswer::new(
        200,
        format!(r#"{{"retCode":{code},"retMsg":"{text}","result":{{}},"retExtInfo":{{}},"time":0}}"#),
    )
}

fn invalid(name: &str) -> RestAnswer {
    error(10001, &format!("params error: {name} invalid"))
}

pub(super) fn answer(
    spot: bool,
    request: &RestRequest,
    source: &dyn Source,
) -> Result<RestAnswer, RestAnswer> {
    let own = if spot { "spot" } else { "linear" };
    match request.path.strip_prefix("/v5/market/") {
        Some("time") => {
            let ms = source.now_ms();
            Ok(ok(&format!(r#"{{"timeSecond":"{}","timeNano":"{ms}000000"}}"#, ms / 1000), ms))
        }
        Some("instruments-info" | "account-ratio" | "tickers") if request.get("category") != Some(own) => {
            Err(invalid("category"))
        }
        Some("instruments-info") => listed(spot, request, source),
        Some("account-ratio") => ratios(request, source),
        Some("tickers") if !spot => Ok(tickers(source)),
        _ => Err(RestAnswer::new(404, "404 page not found")),
    }
}

/// Pages of contracts hold half of the list, so that clients meet a second one. Spot has no pages.
fn listed(spot: bool, request: &RestRequest, source: &dyn Source) -> Result<RestAnswer, RestAnswer> {
    let limit = request.limit("limit", 500).filter(|limit| (1..=1000).contains(limit));
    let limit = limit.ok_or_else(|| invalid("limit"))?;
    let all = source.listed();
    let from = match request.get("cursor").unwrap_or_default() {
        "" => 0,
        cursor => {
            let last = cursor.rsplit_once("last=").map_or("", |(_, symbol)| symbol);
            let last = all.iter().position(|listed| listed.instrument.symbol == last);
            last.ok_or_else(|| invalid("cursor"))? + 1
        }
    };
    let count = if spot { all.len() } else { limit.min(all.len().div_ceil(2)) };
    let named = |symbol: &str| request.get("symbol").is_none_or(|wanted| wanted == symbol);
    let page: Vec<_> = all.iter().skip(from).take(count).map(|listed| &listed.instrument).collect();
    let rows: Vec<String> =
        page.iter().filter(|i| named(&i.symbol)).map(|i| instruments::row(i).to_string()).collect();
    let more = from + page.len() < all.len();
    let cursor = match (page.first(), page.last()) {
        (Some(first), Some(last)) if more => format!("first%3D{}%26last%3D{}", first.symbol, last.symbol),
        _ => String::new(),
    };
    let (rows, category) = (rows.join(","), if spot { "spot" } else { "linear" });
    let cursor = if spot { String::new() } else { format!(r#","nextPageCursor":"{cursor}""#) };
    Ok(ok(&format!(r#"{{"category":"{category}","list":[{rows}]{cursor}}}"#), source.now_ms()))
}

/// One page with all contracts.
fn tickers(source: &dyn Source) -> RestAnswer {
    let row = |listed: &ListedInstrument| {
        let reference = source.reference(listed.index)?;
        let mut fields = frames::ticker_fields(&listed.instrument, Topic::Summary, &reference);
        fields.push(("turnover24h", source.turnover(listed.index).to_string()));
        Some(frames::object(&fields))
    };
    let rows: Vec<String> = source.listed().iter().filter_map(row).collect();
    ok(&format!(r#"{{"category":"linear","list":[{}]}}"#, rows.join(",")), source.now_ms())
}

/// Shares of accounts, newest first; of contracts in USDT only.
fn ratios(request: &RestRequest, source: &dyn Source) -> Result<RestAnswer, RestAnswer> {
    let found = request.get("symbol").and_then(|symbol| source.find(symbol));
    let has_ratios = |i: &crate::market::Instrument| i.contract == Contract::Perpetual && i.quote == "USDT";
    let listed = found.filter(|listed| has_ratios(&listed.instrument)).ok_or_else(|| invalid("symbol"))?;
    let period = request.get("period").unwrap_or_default();
    let period = PERIODS.into_iter().find(|(name, ..)| *name == period);
    let (_, period, every) = period.ok_or_else(|| invalid("period"))?;
    let limit = request.limit("limit", 50).filter(|limit| (1..=500).contains(limit));
    let limit = limit.ok_or_else(|| invalid("limit"))?;
    let i = &listed.instrument;
    let rows = source.ratios(listed.index, RatioKind::AllAccounts, limit * every);
    let rows: Vec<_> = rows.iter().rev().step_by(every).collect();
    let texts: Vec<String> = rows
        .iter()
        .map(|row| {
            format!(
                r#"{{"symbol":"{}","buyRatio":"{}","sellRatio":"{}","timestamp":"{}"}}"#,
                i.symbol, row.long, row.short, row.time_ms
            )
        })
        .collect();
    let event = |row| {
        let mut event = event_data::ratio(i, RatioKind::AllAccounts, row, true, period)?;
        // The venue gives the shares only.
        event.values.remove("ratio");
        Some(event)
    };
    let events = rows.into_iter().filter_map(event).collect();
    let result = format!(r#"{{"list":[{}],"nextPageCursor":""}}"#, texts.join(","));
    Ok(RestAnswer { events, ..ok(&result, source.now_ms()) })
}
