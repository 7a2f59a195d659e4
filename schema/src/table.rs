//! Names of the ClickHouse databases and tables. The migrations define the columns.

use crate::DataType;

/// Default name of the hot database: recent rows.
pub const HOT: &str = "marketprism_hot";
/// Default name of the cold database: all rows.
pub const COLD: &str = "marketprism_cold";
/// Table of refused messages, in the hot database only.
pub const DEAD_LETTERS: &str = "dead_letters";

/// The table of one data type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Table {
    /// Data type of its rows.
    pub data_type: DataType,
    /// Its name in both databases.
    pub name: &'static str,
}

impl Table {
    /// Every table, in the order of the data types.
    pub const ALL: [Self; 10] = [
        Self { data_type: DataType::Trade, name: "trades" },
        Self { data_type: DataType::OrderBook, name: "orderbooks" },
        Self { data_type: DataType::FundingRate, name: "funding_rates" },
        Self { data_type: DataType::OpenInterest, name: "open_interests" },
        Self { data_type: DataType::Liquidation, name: "liquidations" },
        Self { data_type: DataType::LsrTopPosition, name: "lsr_top_positions" },
        Self { data_type: DataType::LsrAllAccount, name: "lsr_all_accounts" },
        Self { data_type: DataType::VolatilityIndex, name: "volatility_indices" },
        Self { data_type: DataType::OrderBookDelta, name: "orderbook_deltas" },
        Self { data_type: DataType::Quote, name: "quotes" },
    ];

    /// The table of a data type.
    pub fn of(data_type: DataType) -> &'static Self {
        let [trade, book, funding, interest, liquidation, top, all, index, delta, quote] = &TABLES;
        match data_type {
            DataType::Trade => trade,
            DataType::OrderBook => book,
            DataType::FundingRate => funding,
            DataType::OpenInterest => interest,
            DataType::Liquidation => liquidation,
            DataType::LsrTopPosition => top,
            DataType::LsrAllAccount => all,
            DataType::VolatilityIndex => index,
            DataType::OrderBookDelta => delta,
            DataType::Quote => quote,
        }
    }
}

static TABLES: [Table; 10] = Table::ALL;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_data_type_has_a_table() {
        for (&data_type, table) in DataType::ALL.iter().zip(Table::ALL) {
            assert_eq!(table.data_type, data_type);
            assert_eq!(Table::of(data_type), &table);
        }
    }
}
