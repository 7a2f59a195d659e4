//! REST answers about what the futures venue derives or counts: premium index, open interest, ratios.

use super::rest::{bad, ok};
use crate::ledger::{DataType, Values};
use crate::market::{Contract, RatioKind};
use crate::venue::{Listed, RestAnswer, RestRequest, Source, funding, open_interest as told_interest, ratio};

const PERIODS: [(&str, i64); 9] = [
    ("5m", 5),
    ("15m", 15),
    ("30m", 30),
    ("1h", 60),
    ("2h", 120),
    ("4h", 240),
    ("6h", 360),
    ("12h", 720),
    ("1d", 1440),
];

fn overloaded() -> RestAnswer {
    RestAnswer::new(503, r#"{"code":-1008,"msg":"Server is currently overloaded"}"#.into())
}

pub(super) fn premium_index(listed: &Listed, source: &dyn Source) -> RestAnswer {
    let i = &listed.instrument;
    let Some(r) = source.reference(listed.index) else { return overloaded() };
    let (rate, next) = r.funding.map_or((String::new(), 0), |f| (f.rate.to_string(), f.next_ms));
    let mut answer = ok(format!(
        concat!(
            r#"{{"symbol":"{}","markPrice":"{}","indexPrice":"{}","estimatedSettlePrice":"{}","#,
            r#""lastFundingRate":"{}","interestRate":"0.00010000","nextFundingTime":{},"time":{}}}"#
        ),
        i.symbol, r.mark, r.index, r.index, rate, next, r.time_ms
    ));
    answer.told.extend(funding(i, &r, true, true));
    answer
}

pub(super) fn premium_indices(source: &dyn Source) -> RestAnswer {
    let mut answer = ok(String::new());
    let mut rows = Vec::new();
    for listed in source.listed() {
        let one = premium_index(listed, source);
        rows.push(one.body);
        answer.told.extend(one.told);
    }
    answer.body = format!("[{}]", rows.join(","));
    answer
}

pub(super) fn open_interest(listed: &Listed, source: &dyn Source) -> RestAnswer {
    let i = &listed.instrument;
    let Some(r) = source.reference(listed.index) else { return overloaded() };
    let mut answer = ok(format!(
        r#"{{"openInterest":"{}","symbol":"{}","time":{}}}"#,
        r.open_interest, i.symbol, r.time_ms
    ));
    answer.told.push(told_interest(i, r.time_ms, Values::from([("base", r.open_interest.to_string())])));
    answer
}

pub(super) fn ratios(
    kind: RatioKind,
    request: &RestRequest,
    listed: &Listed,
    source: &dyn Source,
) -> RestAnswer {
    let Some((period, minutes)) = PERIODS.iter().find(|(name, _)| request.get("period") == Some(*name))
    else {
        return bad(-1130, "Data sent for parameter 'period' is not valid.");
    };
    let limit = request.get("limit").map_or(Some(30), |text| text.parse::<usize>().ok());
    let Some(limit) = limit.filter(|limit| (1..=500).contains(limit)) else {
        return bad(-1130, "Data sent for parameter 'limit' is not valid.");
    };
    // Delivery contracts have no such statistics here.
    let has = listed.instrument.contract == Contract::Perpetual;
    let every = usize::try_from(minutes / 5).unwrap_or(1);
    let rows = source.ratios(listed.index, kind, if has { limit * every } else { 0 });
    let rows: Vec<_> = rows.into_iter().rev().step_by(every).collect();
    let mut answer = ok(String::new());
    let mut texts = Vec::new();
    for row in rows.iter().rev() {
        // One endpoint gives its times as text, the other as numbers: clients meet both.
        let quote = if kind == RatioKind::TopPosition { "\"" } else { "" };
        texts.push(format!(
            concat!(
                r#"{{"symbol":"{}","longShortRatio":"{}","longAccount":"{}","shortAccount":"{}","#,
                r#""timestamp":{}{}{}}}"#
            ),
            listed.instrument.symbol, row.ratio, row.long, row.short, quote, row.time_ms, quote
        ));
        let data_type = match kind {
            RatioKind::TopPosition => DataType::LsrTopPosition,
            RatioKind::AllAccounts => DataType::LsrAllAccount,
            RatioKind::TopAccount => continue,
        };
        answer.told.push(ratio(&listed.instrument, data_type, row, true, period));
    }
    answer.body = format!("[{}]", texts.join(","));
    answer
}
