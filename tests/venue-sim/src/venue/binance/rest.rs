//! REST: weights, answers and refusals.

use std::time::Duration;

use super::instruments::Binance;
use super::{frames, instruments};
use crate::clock;
use crate::decimal;
use crate::ledger::{TradeKind, TradeRecord, Values};
use crate::market::{Contract, RatioKind, Side};
use crate::venue::{
    ListedInstrument, PerWindow, RestAnswer, RestCall, RestRequest, Source, event_data as data,
};

/// Names and lengths in units of five minutes.
const PERIODS: [(&str, usize); 9] = [
    ("5m", 1),
    ("15m", 3),
    ("30m", 6),
    ("1h", 12),
    ("2h", 24),
    ("4h", 48),
    ("6h", 72),
    ("12h", 144),
    ("1d", 288),
];

pub(super) fn ok(body: String) -> RestAnswer {
    RestAnswer::new(200, body)
}

fn bad(code: i32, text: &str) -> RestAnswer {
    RestAnswer::new(400, format!(r#"{{"code":{code},"msg":"{text}"}}"#))
}

fn overloaded() -> RestAnswer {
    RestAnswer::new(503, r#"{"code":-1008,"msg":"Server is currently overloaded"}"#)
}

fn list(rows: impl Iterator<Item = String>) -> RestAnswer {
    ok(format!("[{}]", rows.collect::<Vec<_>>().join(",")))
}

/// The volumes of a ticker, in as many digits as the venue writes.
fn ticker_row(listed: &ListedInstrument, source: &dyn Source) -> String {
    let turnover = source.turnover(listed.index);
    let symbol = &listed.instrument.symbol;
    format!(
        r#"{{"symbol":"{symbol}","lastPrice":"1.00000000","volume":"{turnover}.00000000","quoteVolume":"{turnover}.00000000"}}"#
    )
}

impl Binance {
    /// The endpoint's name; empty for no path of the venue.
    fn endpoint(self, path: &str) -> &str {
        let own = path.strip_prefix(if self.spot { "/api/v3/" } else { "/fapi/v1/" });
        let data = path.strip_prefix("/futures/").filter(|name| !self.spot && name.starts_with("data/"));
        own.or(data).unwrap_or_default()
    }

    fn depth_limit(self, request: &RestRequest) -> usize {
        let usual = if self.spot { 100 } else { 500 };
        request.limit("limit", usual).unwrap_or(usual)
    }

    pub(super) fn call(self, request: &RestRequest) -> RestCall {
        let endpoint = self.endpoint(&request.path);
        let weight = match (self.spot, endpoint) {
            (true, "depth") => match self.depth_limit(request) {
                0..=100 => 5,
                101..=500 => 25,
                501..=1000 => 50,
                _ => 250,
            },
            (false, "depth") => match self.depth_limit(request) {
                0..=50 => 2,
                51..=100 => 5,
                101..=500 => 10,
                _ => 20,
            },
            (true, "ticker/24hr") => 80,
            (false, "ticker/24hr") => 40,
            (true, "exchangeInfo") | (false, "aggTrades") => 20,
            (true, "aggTrades") => 4,
            (true, "trades" | "historicalTrades") => 25,
            (false, "trades") => 5,
            (false, "historicalTrades") => 20,
            (_, "premiumIndex") if request.get("symbol").is_none() => 10,
            (_, "fundingInfo") => 0,
            (_, name) if name.starts_with("data/") => 0,
            _ => 1,
        };
        // Counted apart from the weight.
        let pool =
            |name: &str, max| Some((name.to_owned(), PerWindow { max, window: Duration::from_mins(5) }));
        RestCall {
            weight,
            pool: match endpoint {
                "fundingInfo" => pool("funding", 500),
                name if name.starts_with("data/") => pool("futures/data", 1000),
                _ => None,
            },
            snapshot: endpoint == "depth",
            symbol: request.get("symbol").map(str::to_owned),
        }
    }

    pub(super) fn answer(self, request: &RestRequest, source: &dyn Source) -> Result<RestAnswer, RestAnswer> {
        let endpoint = self.endpoint(&request.path);
        let symbol = request.get("symbol");
        let listed = || {
            let missing = "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed.";
            let symbol = symbol.filter(|symbol| !symbol.is_empty()).ok_or_else(|| bad(-1102, missing))?;
            source.find(symbol).ok_or_else(|| bad(-1121, "Invalid symbol."))
        };
        let instruments = source.listed().iter().map(|listed| &listed.instrument);
        match endpoint {
            "ping" => Ok(ok("{}".to_owned())),
            "time" => Ok(ok(format!(r#"{{"serverTime":{}}}"#, source.now_ms()))),
            "exchangeInfo" => {
                // The futures venue ignores the parameter and gives its whole list.
                let wanted = symbol.filter(|_| self.spot);
                if wanted.is_some() {
                    listed()?;
                }
                let instruments = instruments.filter(|i| wanted.is_none_or(|w| w == i.symbol));
                Ok(ok(self.exchange_info(instruments, clock::now_ms())))
            }
            "ticker/24hr" => Ok(list(source.listed().iter().map(|listed| ticker_row(listed, source)))),
            "fundingInfo" if !self.spot => Ok(ok(instruments::funding_info(instruments))),
            "premiumIndex" if !self.spot && symbol.is_none() => premium_indices(source),
            "premiumIndex" if !self.spot => premium_index(listed()?, source),
            "openInterest" if !self.spot => open_interest(listed()?, source),
            "depth" => self.depth_answer(request, listed()?, source),
            "trades" => {
                let records = source.newest_trades(listed()?.index, TradeKind::Trade, list_limit(request));
                Ok(list(records.iter().map(trade_row)))
            }
            "historicalTrades" => {
                let (index, limit) = (listed()?.index, list_limit(request));
                let records = match request.get("fromId").and_then(|text| text.parse().ok()) {
                    Some(from) => source.trades_from(index, TradeKind::Trade, from, limit),
                    None => source.newest_trades(index, TradeKind::Trade, limit),
                };
                Ok(list(records.iter().map(trade_row)))
            }
            "aggTrades" => self.aggregates(request, listed()?, source),
            "data/topLongShortPositionRatio" => ratios(RatioKind::TopPosition, request, listed()?, source),
            "data/globalLongShortAccountRatio" => ratios(RatioKind::AllAccounts, request, listed()?, source),
            "data/topLongShortAccountRatio" => ratios(RatioKind::TopAccount, request, listed()?, source),
            _ => Err(RestAnswer::new(404, r#"{"code":-5000,"msg":"Path not found"}"#)),
        }
    }

    fn depth_answer(
        self,
        request: &RestRequest,
        listed: &ListedInstrument,
        source: &dyn Source,
    ) -> Result<RestAnswer, RestAnswer> {
        let limit = self.depth_limit(request);
        if !self.spot && ![5, 10, 20, 50, 100, 500, 1000].contains(&limit) {
            return Err(bad(-4021, &format!("{limit} is not valid depth limit.")));
        }
        if limit == 0 {
            return Err(bad(-1100, "Illegal characters found in parameter 'limit'."));
        }
        let snapshot = source.snapshot(listed.index, limit.min(5000)).ok_or_else(overloaded)?;
        let mut out = String::with_capacity(64 * (snapshot.bids.len() + snapshot.asks.len()) + 128);
        out.push_str(&format!(r#"{{"lastUpdateId":{},"#, snapshot.last_update_id));
        if !self.spot {
            out.push_str(&format!(r#""E":{},"T":{},"#, clock::now_ms(), snapshot.engine_ms));
        }
        for (name, side) in [("\"bids\":", &snapshot.bids), (",\"asks\":", &snapshot.asks)] {
            out.push_str(name);
            frames::push_levels(&mut out, &listed.instrument, side.iter().copied());
        }
        out.push('}');
        Ok(ok(out))
    }

    fn aggregates(
        self,
        request: &RestRequest,
        listed: &ListedInstrument,
        source: &dyn Source,
    ) -> Result<RestAnswer, RestAnswer> {
        let limit = list_limit(request);
        let from = request.get("fromId").and_then(|text| text.parse().ok());
        let records = match from {
            Some(from) => source.trades_from(listed.index, TradeKind::Aggregate, from, limit),
            None => source.newest_trades(listed.index, TradeKind::Aggregate, limit),
        };
        let is_too_old = from.zip(records.first()).is_some_and(|(from, first)| first.id > from);
        if is_too_old && !self.spot {
            return Err(bad(-4166, "Search window is restricted to recent 2 days only."));
        }
        Ok(list(records.iter().map(|record| {
            let TradeRecord { id, price, quantity, trade_ms, matches: (first, last), .. } = record;
            let maker = record.taker == Side::Ask;
            let extra =
                if self.spot { r#","M":true"#.to_owned() } else { format!(r#","nq":"{quantity}""#) };
            format!(
                r#"{{"a":{id},"p":"{price}","q":"{quantity}","f":{first},"l":{last},"T":{trade_ms},"m":{maker}{extra}}}"#
            )
        })))
    }
}

fn list_limit(request: &RestRequest) -> usize {
    request.limit("limit", 500).unwrap_or(500).clamp(1, 1000)
}

fn trade_row(record: &TradeRecord) -> String {
    let TradeRecord { id, price, quantity, trade_ms, .. } = record;
    let mut value = String::new();
    let product = i128::from(price.units) * i128::from(quantity.units);
    decimal::push_wide(&mut value, product, u32::from(price.scale) + u32::from(quantity.scale));
    let maker = record.taker == Side::Ask;
    format!(
        r#"{{"id":{id},"price":"{price}","qty":"{quantity}","quoteQty":"{value}","time":{trade_ms},"isBuyerMaker":{maker},"isBestMatch":true}}"#
    )
}

fn premium_index(listed: &ListedInstrument, source: &dyn Source) -> Result<RestAnswer, RestAnswer> {
    let (i, r) = (&listed.instrument, source.reference(listed.index).ok_or_else(overloaded)?);
    let (symbol, mark, index, time, (rate, next)) =
        (&i.symbol, r.mark, r.index, r.time_ms, frames::funding(&r));
    let body = format!(
        r#"{{"symbol":"{symbol}","markPrice":"{mark}","indexPrice":"{index}","estimatedSettlePrice":"{index}","lastFundingRate":"{rate}","interestRate":"0.00010000","nextFundingTime":{next},"time":{time}}}"#
    );
    Ok(RestAnswer { events: data::funding(i, &r, true, true).into_iter().collect(), ..ok(body) })
}

fn premium_indices(source: &dyn Source) -> Result<RestAnswer, RestAnswer> {
    let all: Vec<_> =
        source.listed().iter().map(|listed| premium_index(listed, source).unwrap_or_else(|e| e)).collect();
    let answer = list(all.iter().map(|one| one.body.clone()));
    Ok(RestAnswer { events: all.into_iter().flat_map(|one| one.events).collect(), ..answer })
}

fn open_interest(listed: &ListedInstrument, source: &dyn Source) -> Result<RestAnswer, RestAnswer> {
    let (i, r) = (&listed.instrument, source.reference(listed.index).ok_or_else(overloaded)?);
    let (symbol, interest, time) = (&i.symbol, r.open_interest, r.time_ms);
    let event = data::open_interest(i, time, Values::from([("base", interest.to_string())]));
    let body = format!(r#"{{"openInterest":"{interest}","symbol":"{symbol}","time":{time}}}"#);
    Ok(RestAnswer { events: vec![event], ..ok(body) })
}

fn ratios(
    kind: RatioKind,
    request: &RestRequest,
    listed: &ListedInstrument,
    source: &dyn Source,
) -> Result<RestAnswer, RestAnswer> {
    let invalid = |name: &str| bad(-1130, &format!("Data sent for parameter '{name}' is not valid."));
    let (period, every) = PERIODS
        .into_iter()
        .find(|(name, _)| request.get("period") == Some(*name))
        .ok_or_else(|| invalid("period"))?;
    let limit = request.limit("limit", 30).filter(|limit| (1..=500).contains(limit));
    let limit = limit.ok_or_else(|| invalid("limit"))?;
    let i = &listed.instrument;
    // Delivery contracts have no such statistics.
    let count = if i.contract == Contract::Perpetual { limit * every } else { 0 };
    let mut rows: Vec<_> =
        source.ratios(listed.index, kind, count).into_iter().rev().step_by(every).collect();
    rows.reverse();
    // One endpoint gives its times as text, the other as numbers: clients meet both.
    let quote = if kind == RatioKind::TopPosition { "\"" } else { "" };
    let answer = list(rows.iter().map(|row| {
        format!(
            r#"{{"symbol":"{}","longShortRatio":"{}","longAccount":"{}","shortAccount":"{}","timestamp":{quote}{}{quote}}}"#,
            i.symbol, row.ratio, row.long, row.short, row.time_ms
        )
    }));
    let events = rows.iter().filter_map(|row| data::ratio(i, kind, row, true, period)).collect();
    Ok(RestAnswer { events, ..answer })
}
