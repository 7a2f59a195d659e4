//! Rules shared by the checks, and the checks of `describe`, `instruments` and `ranking`.

use crate::contract::{Description, Instrument, Ranked};
use crate::limits::Limits;

/// Longest name of any kind.
pub(super) const NAME_BYTES: usize = 64;

pub(super) type Check = Result<(), String>;

pub(super) fn at_most(what: &str, value: usize, most: usize) -> Check {
    if value > most { Err(format!("{what} is {value}, allowed is at most {most}")) } else { Ok(()) }
}

pub(super) fn index(what: &str, value: u32, count: usize) -> Check {
    if value as usize >= count { Err(format!("{what} is {value}, allowed is below {count}")) } else { Ok(()) }
}

pub(super) fn scale(what: &str, value: u8) -> Check {
    at_most(what, value.into(), crate::contract::MAX_SCALE.into())
}

/// A name for subjects, labels and log lines.
pub(super) fn token(what: &str, value: &str, most: usize, allowed: fn(char) -> bool) -> Check {
    at_most(&format!("length of {what}"), value.len(), most)?;
    if value.is_empty() || !value.chars().all(allowed) {
        return Err(format!("{what} is {value:?}, allowed is a name without spaces or special characters"));
    }
    Ok(())
}

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
        if venue.capabilities.iter().any(|one| one.backfill && !one.contiguous_trade_ids) {
            return Err(format!(
                "backfill of {:?} is true, allowed with contiguous trade ids only",
                venue.exchange
            ));
        }
        at_most("number of endpoints", venue.endpoints.len(), MAX_VENUES)?;
        for endpoint in &venue.endpoints {
            token("endpoint name", &endpoint.name, NAME_BYTES, |c| {
                c.is_ascii_alphanumeric() || c == '_' || c == '-'
            })?;
        }
    }
    Ok(())
}

/// Symbols become tokens of subjects: what separates or matches tokens there cannot stand in them.
fn in_symbol(c: char) -> bool {
    !c.is_whitespace() && !c.is_control() && !matches!(c, '.' | '*' | '>')
}

pub(crate) fn ranking(rows: &[Ranked], limits: &Limits) -> Check {
    at_most("number of ranked instruments", rows.len(), limits.instruments)?;
    for row in rows {
        token("venue symbol", &row.venue_symbol, NAME_BYTES, |c| !c.is_control())?;
        scale(&format!("scale of the value of {}", row.venue_symbol), row.value.scale)?;
        if row.value.mantissa < 0 {
            return Err(format!(
                "value of {} is {}, allowed is 0 or more",
                row.venue_symbol, row.value.mantissa
            ));
        }
        let currency = row.currency.as_deref().unwrap_or("-");
        token(&format!("currency of {}", row.venue_symbol), currency, NAME_BYTES, |c| !c.is_control())?;
    }
    Ok(())
}

pub(crate) fn instruments(instruments: &[Instrument], limits: &Limits) -> Check {
    at_most("number of instruments", instruments.len(), limits.instruments)?;
    for instrument in instruments {
        token("symbol", &instrument.symbol, NAME_BYTES, in_symbol)?;
        token("venue symbol", &instrument.venue_symbol, NAME_BYTES, |c| !c.is_control())?;
        let of = |what: &str| format!("{what} of {}", instrument.symbol);
        at_most(&of("length of base"), instrument.base.len(), NAME_BYTES)?;
        at_most(&of("length of quote"), instrument.quote.len(), NAME_BYTES)?;
        scale(&of("price scale"), instrument.price_scale)?;
        scale(&of("quantity scale"), instrument.quantity_scale)?;
        let amounts = [
            ("contract size", &instrument.contract_size),
            ("contract value", &instrument.contract_value),
            ("tick size", &instrument.tick_size),
            ("step size", &instrument.step_size),
        ];
        for (what, amount) in amounts {
            let Some(amount) = amount else { continue };
            scale(&of(&format!("scale of the {what}")), amount.scale)?;
            if amount.mantissa <= 0 {
                return Err(format!(
                    "{what} of {} is {}, allowed is above 0",
                    instrument.symbol, amount.mantissa
                ));
            }
        }
    }
    Ok(())
}
