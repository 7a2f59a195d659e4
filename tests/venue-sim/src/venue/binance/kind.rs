//! The two Binance exchanges.

#[derive(Debug, Clone, Copy)]
pub struct Binance {
    /// Spot, or USD-M futures.
    pub spot: bool,
}
