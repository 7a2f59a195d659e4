//! What is traded, and in which units.

/// The kind of contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Contract {
    /// Spot pair.
    Spot,
    /// Perpetual future.
    Perpetual,
    /// Dated future with its delivery time in ms since 1970 UTC.
    Quarter {
        /// Delivery time, ms since 1970 UTC.
        delivery_ms: i64,
    },
}

/// One instrument of a venue. Prices and quantities are integers of `10^-scale`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instrument {
    /// The venue's own symbol.
    pub symbol: String,
    /// Base asset as the instrument table names it.
    pub base: String,
    /// Quote asset as the instrument table names it.
    pub quote: String,
    /// The pair a dated contract belongs to; the symbol itself otherwise.
    pub pair: String,
    /// Kind of contract.
    pub contract: Contract,
    /// Digits behind the point of a price as the venue prints it.
    pub price_scale: u8,
    /// Smallest price step, in `10^-price_scale`.
    pub tick: i64,
    /// Digits behind the point of a quantity as the venue prints it.
    pub quantity_scale: u8,
    /// Smallest quantity step, in `10^-quantity_scale`.
    pub step: i64,
    /// Price at which the random walk starts, in ticks.
    pub start_ticks: i64,
    /// Largest usual level quantity, in steps.
    pub usual_steps: i64,
}
