//! Long/short ratios: rows of time and ratio, newest first.

use super::rest::{error, ok, unknown_instrument};
use crate::ledger::DataType;
use crate::market::{Contract, RatioKind};
use crate::venue::{RestAnswer, RestRequest, Source, ratio};

/// Periods with their length in units of five minutes. Case matters.
const PERIODS: [(&str, usize); 8] =
    [("5m", 1), ("15m", 3), ("30m", 6), ("1H", 12), ("2H", 24), ("4H", 48), ("6H", 72), ("12H", 144)];

pub(super) fn answer(name: &str, request: &RestRequest, source: &dyn Source) -> RestAnswer {
    let (kind, data_type) = match name {
        "long-short-position-ratio-contract-top-trader" => {
            (RatioKind::TopPosition, Some(DataType::LsrTopPosition))
        }
        "long-short-account-ratio-contract" => (RatioKind::AllAccounts, Some(DataType::LsrAllAccount)),
        // Of other scope, and not of ours.
        "long-short-account-ratio-contract-top-trader" => (RatioKind::TopAccount, None),
        _ => return RestAnswer::new(404, r#"{"msg":"Not found","code":"404"}"#.into()),
    };
    let found = request.get("instId").and_then(|symbol| source.find(symbol));
    let has = |contract: &Contract| matches!(contract, Contract::Perpetual | Contract::Dated { .. });
    let Some(listed) = found.filter(|l| has(&l.instrument.contract)) else { return unknown_instrument() };
    let period = request.get("period").unwrap_or("5m");
    let limit = request.get("limit").map_or(Some(100), |text| text.parse::<usize>().ok());
    let (Some((_, every)), Some(limit)) =
        (PERIODS.iter().find(|(name, _)| *name == period), limit.filter(|limit| (1..=100).contains(limit)))
    else {
        return error("51000", "Parameter period or limit error");
    };
    let rows = source.ratios(listed.index, kind, limit * every);
    let rows: Vec<_> = rows.iter().rev().step_by(*every).collect();
    let texts: Vec<String> = rows.iter().map(|r| format!(r#"["{}","{}"]"#, r.time_ms, r.ratio)).collect();
    let of =
        |data_type| rows.iter().map(|row| ratio(&listed.instrument, data_type, row, false, period)).collect();
    RestAnswer { told: data_type.map(of).unwrap_or_default(), ..ok(&texts) }
}
