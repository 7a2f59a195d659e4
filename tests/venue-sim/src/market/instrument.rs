//! Instruments and their units.

use crate::clock;
use crate::decimal::Decimal;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Contract {
    Spot,
    Perpetual,
    Dated {
        /// Delivery time, ms since 1970 UTC.
        delivery_ms: i64,
    },
    Option {
        delivery_ms: i64,
        strike: String,
        call: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sizing {
    Base,
    Contracts(Decimal),
    /// A contract or unit worth this much of the quote asset: base units are value divided by price.
    Value(Decimal),
}

/// One instrument of a venue. Prices and quantities are integers of `10^-scale`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instrument {
    pub symbol: String,
    pub base: String,
    pub quote: String,
    pub pair: String,
    pub contract: Contract,
    pub sizing: Sizing,
    /// Hours between two fundings; `None` when there is no funding.
    pub funding_hours: Option<u32>,
    /// Digits behind the point of a printed price.
    pub price_scale: u8,
    pub tick: i64,
    /// Digits behind the point of a printed quantity.
    pub quantity_scale: u8,
    pub step: i64,
    /// Digits behind the point printed even as trailing zeros; `None`: all.
    pub trims: Option<u8>,
    pub start_ticks: i64,
    pub usual_steps: i64,
}

impl Instrument {
    pub fn price(&self, ticks: i64) -> Decimal {
        self.printed(Decimal { units: ticks * self.tick, scale: self.price_scale })
    }

    pub fn quantity(&self, steps: i64) -> Decimal {
        self.printed(Decimal { units: steps * self.step, scale: self.quantity_scale })
    }

    fn printed(&self, number: Decimal) -> Decimal {
        self.trims.map_or(number, |kept| number.trimmed_to(kept))
    }

    pub fn market_type(&self) -> &'static str {
        match self.contract {
            Contract::Spot => "spot",
            Contract::Perpetual => "perpetual",
            Contract::Dated { .. } => "futures",
            Contract::Option { .. } => "options",
        }
    }

    /// `BASE-QUOTE`, dated `BASE-QUOTE-YYMMDD`, options `BASE-QUOTE-YYMMDD-STRIKE-C|P` with `d` as the strike's decimal
    /// point.
    pub fn normalized(&self) -> String {
        let pair = format!("{}-{}", self.base, self.quote);
        match &self.contract {
            Contract::Spot | Contract::Perpetual => pair,
            Contract::Dated { delivery_ms } => format!("{pair}-{}", clock::yymmdd(*delivery_ms)),
            Contract::Option { delivery_ms, strike, call } => {
                let kind = if *call { "C" } else { "P" };
                // A point cannot stand in a symbol.
                let strike = strike.replace('.', "d");
                format!("{pair}-{}-{strike}-{kind}", clock::yymmdd(*delivery_ms))
            }
        }
    }
}
