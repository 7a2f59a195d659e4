//! Freshness of data types: the age up to which rows are recent.

use std::time::Duration;

use marketprism_schema::DataType;

/// Age up to which a row counts as recent.
pub const fn recent_window(data_type: DataType) -> Duration {
    match data_type {
        DataType::Trade | DataType::OrderBook => Duration::from_secs(5 * 60),
        DataType::Liquidation => Duration::from_secs(3_600),
        _ => Duration::from_secs(8 * 3_600),
    }
}

/// Rows of such a type arrive continuously.
pub const fn is_high_frequency(data_type: DataType) -> bool {
    matches!(data_type, DataType::Trade | DataType::OrderBook)
}
