//! Checks of `instruments`.

use super::rules::{Check, NAME_BYTES, at_most, scale, token};
use crate::contract::Instrument;
use crate::limits::Limits;

/// Symbols become tokens of subjects: what separates or matches tokens there cannot stand in them.
fn in_symbol(c: char) -> bool {
    !c.is_whitespace() && !c.is_control() && !matches!(c, '.' | '*' | '>')
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
        for (what, amount) in
            [("contract size", &instrument.contract_size), ("contract value", &instrument.contract_value)]
        {
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
