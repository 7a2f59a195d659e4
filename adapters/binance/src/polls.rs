//! What the edge has to ask for on a schedule: the types of USD-M futures that no stream carries.

use crate::exchange::Exchange;
use crate::plan::{charge, get, percent_encoded};
use marketprism_adapter_sdk::{Budget, Charge, DataType, Instrument, Poll};

/// The period of the long/short ratios, as the venue writes it.
pub(crate) const PERIOD: &str = "5m";
const PERIOD_MS: u64 = 300_000;

/// Long/short ratios have a budget of their own.
const RATIO_BUDGET: &str = "binance_derivatives.futures-data";
const RATIOS_MAX: u32 = 1000;
const RATIOS_WINDOW_MS: u32 = 300_000;

/// `fundingInfo` shares a budget with the history of funding.
const FUNDING_BUDGET: &str = "binance_derivatives.funding";
const FUNDING_INFO_PERIOD_MS: u32 = 3_600_000;

/// Open interest is asked for every 15 to 60 seconds, and for more instruments less often: it takes at most a
/// quarter of the weight of 2400 a minute, the rest is for snapshots.
const INTEREST_PERIOD_MS: std::ops::RangeInclusive<u64> = 15_000..=3_600_000;
const INTEREST_WEIGHT_A_MINUTE: u64 = 600;

/// Ratios are asked for more often than they change, so that a row which comes late is not missed for long,
/// with four fifths of their budget.
const RATIO_PERIOD_MS: std::ops::RangeInclusive<u64> = 60_000..=3_600_000;
const RATIOS_A_WINDOW: u64 = 800;

/// The polls of these data types, each with the instruments that have it.
pub(crate) fn polls(
    exchange: Exchange,
    wanted: &[(DataType, Vec<(u32, &Instrument)>)],
    rest: &str,
) -> Vec<Poll> {
    let ratios: usize = wanted
        .iter()
        .filter(|(data_type, _)| ratio_path(*data_type).is_some())
        .map(|(_, instruments)| instruments.len())
        .sum();
    let ratio_period = period(ratios, u64::from(RATIOS_WINDOW_MS), RATIOS_A_WINDOW, RATIO_PERIOD_MS);
    let mut polls = Vec::new();
    for (data_type, instruments) in wanted {
        match data_type {
            DataType::FundingRate => polls.push(funding_info(rest)),
            DataType::OpenInterest => {
                let period_ms =
                    period(instruments.len(), 60_000, INTEREST_WEIGHT_A_MINUTE, INTEREST_PERIOD_MS);
                polls.extend(instruments.iter().map(|(index, instrument)| {
                    let symbol = percent_encoded(&instrument.venue_symbol);
                    let url = format!("{rest}/fapi/v1/openInterest?symbol={symbol}");
                    poll(*data_type, *index, url, charge(exchange, 1), period_ms)
                }));
            }
            _ => {
                let Some(path) = ratio_path(*data_type) else { continue };
                // Rows that came since the last time are not missed, however seldom that is.
                let limit = u64::from(ratio_period).div_ceil(PERIOD_MS);
                polls.extend(instruments.iter().map(|(index, instrument)| {
                    let symbol = percent_encoded(&instrument.venue_symbol);
                    let url = format!("{rest}{path}?symbol={symbol}&period={PERIOD}&limit={limit}");
                    let one = Charge { budget: RATIO_BUDGET.to_owned(), units: 1 };
                    poll(*data_type, *index, url, one, ratio_period)
                }));
            }
        }
    }
    polls
}

/// The budgets that only polls draw on.
pub(crate) fn budgets() -> [Budget; 2] {
    [
        Budget { name: RATIO_BUDGET.to_owned(), units: RATIOS_MAX, window_ms: RATIOS_WINDOW_MS },
        Budget { name: FUNDING_BUDGET.to_owned(), units: 500, window_ms: 300_000 },
    ]
}

fn ratio_path(data_type: DataType) -> Option<&'static str> {
    match data_type {
        // The ratio of positions; `topLongShortAccountRatio` is another one, of accounts.
        DataType::LsrTopPosition => Some("/futures/data/topLongShortPositionRatio"),
        DataType::LsrAllAccount => Some("/futures/data/globalLongShortAccountRatio"),
        _ => None,
    }
}

/// The intervals at which funding is charged: one list for all symbols.
fn funding_info(rest: &str) -> Poll {
    let one = Charge { budget: FUNDING_BUDGET.to_owned(), units: 1 };
    Poll {
        request: get(format!("{rest}/fapi/v1/fundingInfo"), one, 10_000),
        data_type: DataType::FundingRate,
        instrument: None,
        period_ms: FUNDING_INFO_PERIOD_MS,
        window: None,
        reference: true,
    }
}

fn poll(data_type: DataType, instrument: u32, url: String, charge: Charge, period_ms: u32) -> Poll {
    Poll {
        request: get(url, charge, 10_000),
        data_type,
        instrument: Some(instrument),
        period_ms,
        window: None,
        reference: false,
    }
}

/// How often so many requests may be repeated, with `units` of them in any `window_ms`.
fn period(requests: usize, window_ms: u64, units: u64, range: std::ops::RangeInclusive<u64>) -> u32 {
    let requests = u64::try_from(requests).unwrap_or(u64::MAX);
    let period_ms = requests.saturating_mul(window_ms).div_ceil(units).clamp(*range.start(), *range.end());
    u32::try_from(period_ms).unwrap_or(u32::MAX)
}
