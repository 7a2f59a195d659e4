//! Refusals of a venue block the budgets that the request was charged to.

use std::time::Duration;

use marketprism_adapter_host::contract::Charge;
use url::Url;

use crate::budgets::Budgets;
use crate::counters::{Counters, SocketCounter};
use crate::limits::{
    BAN_DEFAULT, BAN_MAX, FORBIDDEN_DEFAULT, FORBIDDEN_MAX, RATE_LIMITED_DEFAULT, RATE_LIMITED_MAX,
    UNAVAILABLE_MAX,
};

/// A request without charges is charged with 0 units to its host, so that blocks of the host apply.
pub(crate) fn charges_or_origin(charges: &[Charge], url: &Url) -> Vec<Charge> {
    if charges.is_empty() {
        return vec![Charge { budget: url.origin().ascii_serialization(), units: 0 }];
    }
    charges.to_vec()
}

pub(crate) fn apply_refusal(
    budgets: &Budgets,
    charges: &[Charge],
    counters: &Counters,
    status: u16,
    retry_after: Option<Duration>,
) {
    let (counted, usual, longest) = match status {
        429 => (SocketCounter::RateLimited, RATE_LIMITED_DEFAULT, RATE_LIMITED_MAX),
        418 => (SocketCounter::Banned, BAN_DEFAULT, BAN_MAX),
        403 => (SocketCounter::Forbidden, FORBIDDEN_DEFAULT, FORBIDDEN_MAX),
        500..=599 => (SocketCounter::VenueErrors, Duration::ZERO, Duration::ZERO),
        _ => return,
    };
    counters.count(counted);
    let named = match counted {
        // A server error is no rate limit unless it names a time.
        SocketCounter::VenueErrors if retry_after.is_none() => return,
        SocketCounter::VenueErrors => retry_after.map(|time| time.min(UNAVAILABLE_MAX)),
        _ => retry_after,
    };
    for charge in charges {
        let time = budgets.refused(&charge.budget, named, usual, longest);
        tracing::warn!(budget = %charge.budget, status, ?time, "venue refused a request: budget blocked");
    }
}
