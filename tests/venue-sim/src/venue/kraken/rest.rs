//! REST: list of pairs, time, status, errors. Every answer has the HTTP status 200.

use super::instruments;
use crate::clock;
use crate::venue::{RestAnswer, RestRequest, Source};

/// A dark pool: not on the sockets.
const DARK_POOL: &str = r#""XXBTZUSD.d":{"altname":"XBTUSD.d","base":"XXBT","quote":"ZUSD","pair_decimals":1,"lot_decimals":8,"status":"online"}"#;

pub(super) fn error(text: &str) -> String {
    format!(r#"{{"error":["{text}"]}}"#)
}

pub(super) fn answer(request: &RestRequest, source: &dyn Source) -> RestAnswer {
    let now_ms = source.now_ms();
    let result = match request.path.as_str() {
        "/0/public/Time" => Ok(format!(r#"{{"unixtime":{}}}"#, now_ms / 1000)),
        "/0/public/SystemStatus" => {
            Ok(format!(r#"{{"status":"online","timestamp":"{}"}}"#, clock::rfc3339(now_ms * 1000)))
        }
        "/0/public/AssetPairs" => pairs(request, source),
        _ => Err("EGeneral:Unknown method"),
    };
    let body = match result {
        Ok(result) => format!(r#"{{"error":[],"result":{result}}}"#),
        Err(problem) => error(problem),
    };
    RestAnswer::new(200, body)
}

fn pairs(request: &RestRequest, source: &dyn Source) -> Result<String, &'static str> {
    let wanted = request.get("pair");
    let chosen = source.listed().iter().map(|l| &l.instrument);
    let chosen = chosen.filter(|i| wanted.is_none_or(|pair| pair == i.pair || pair == i.symbol));
    let mut rows: Vec<String> = chosen.map(|i| instruments::row(i, "online")).collect();
    if wanted.is_some() && rows.is_empty() {
        return Err("EQuery:Unknown asset pair");
    }
    if wanted.is_none() {
        let resting = instruments::by_name("OLD/USD").map(|i| instruments::row(&i, "cancel_only"));
        rows.extend(resting.into_iter().chain([DARK_POOL.to_owned()]));
    }
    Ok(format!("{{{}}}", rows.join(",")))
}
