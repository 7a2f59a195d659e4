//! Age above which a data type is stale.

use std::time::Duration;

use crate::DataType;

/// Age of the newest event above which a data type counts as stale in every coverage table.
pub const fn stale_after(data_type: DataType) -> Duration {
    match data_type {
        DataType::Trade | DataType::OrderBook => Duration::from_secs(60),
        DataType::Liquidation => Duration::from_secs(3_600),
        _ => Duration::from_secs(8 * 3_600),
    }
}
