//! Checks of `describe`.

use super::rules::{Check, NAME_BYTES, at_most, token};
use crate::contract::Description;

const MAX_VENUES: usize = 64;

/// Names go into file names, subjects and metrics.
pub(crate) fn description(description: &Description) -> Check {
    let name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let version = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
    let exchange = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    token("adapter name", &description.name, 32, name)?;
    token("adapter version", &description.version, 32, version)?;
    if description.venues.is_empty() {
        return Err("venues are empty, allowed is one at least".into());
    }
    at_most("number of venues", description.venues.len(), MAX_VENUES)?;
    for (position, venue) in description.venues.iter().enumerate() {
        token("exchange", &venue.exchange, NAME_BYTES, exchange)?;
        if description.venues.iter().take(position).any(|other| other.exchange == venue.exchange) {
            return Err(format!("exchange {:?} is described twice", venue.exchange));
        }
        at_most("number of capabilities", venue.capabilities.len(), MAX_VENUES)?;
        at_most("number of endpoints", venue.endpoints.len(), MAX_VENUES)?;
        for endpoint in &venue.endpoints {
            token("endpoint name", &endpoint.name, NAME_BYTES, |c| {
                c.is_ascii_alphanumeric() || c == '_' || c == '-'
            })?;
        }
    }
    Ok(())
}
