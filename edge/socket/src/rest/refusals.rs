//! What a venue's refusals mean for everything that draws on the same budgets.

use std::time::Duration;

use marketprism_adapter_host::contract::Charge;
use url::Url;

use crate::budgets::Budgets;
use crate::counters::{Counted, Counters};
use crate::limits::{
    BAN_DEFAULT, BAN_MAX, FORBIDDEN_DEFAULT, FORBIDDEN_MAX, RATE_LIMITED_DEFAULT, RATE_LIMITED_MAX,
    UNAVAILABLE_MAX,
};

/// What something draws on. What draws on nothing is still kept away from a host that told us to stay away.
pub(crate) fn charges_or_origin(charges: &[Charge], url: &Url) -> Vec<Charge> {
    if charges.is_empty() {
        return vec![Charge { budget: url.origin().ascii_serialization(), units: 0 }];
    }
    charges.to_vec()
}

/// Counts an error status and keeps the whole budget group away as the venue wants.
pub(crate) fn learn(
    budgets: &Budgets,
    charges: &[Charge],
    counters: &Counters,
    status: u16,
    retry_after: Option<Duration>,
) {
    let (counted, usual, longest) = match status {
        429 => (Counted::RateLimited, RATE_LIMITED_DEFAULT, RATE_LIMITED_MAX),
        418 => (Counted::Banned, BAN_DEFAULT, BAN_MAX),
        403 => (Counted::Forbidden, FORBIDDEN_DEFAULT, FORBIDDEN_MAX),
        500..=599 => (Counted::VenueErrors, Duration::ZERO, Duration::ZERO),
        _ => return,
    };
    counters.count(counted);
    let named = match counted {
        // A server error says nothing about our limits unless it names a time.
        Counted::VenueErrors if retry_after.is_none() => return,
        Counted::VenueErrors => retry_after.map(|time| time.min(UNAVAILABLE_MAX)),
        _ => retry_after,
    };
    for charge in charges {
        let time = budgets.refused(&charge.budget, named, usual, longest);
        tracing::warn!(budget = %charge.budget, status, ?time, "the venue told us to stay away");
    }
}
