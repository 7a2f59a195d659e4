//! The ClickHouse tables. `sql/` is the one source of their definitions.

use crate::DataType;

/// Default name of the hot database: recent rows.
pub const HOT: &str = "marketprism_hot";
/// Default name of the cold database: all rows.
pub const COLD: &str = "marketprism_cold";
/// Table of refused messages, in the hot database only.
pub const DEAD_LETTERS: &str = "dead_letters";

const DEAD_LETTERS_SQL: &str = include_str!("../sql/dead_letters.sql");

/// One of the eight tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Table {
    /// What it holds.
    pub data_type: DataType,
    /// Its name in both databases.
    pub name: &'static str,
    sql: &'static str,
}

impl Table {
    /// Every table, in the order of the data types.
    pub const ALL: [Self; 8] = [
        Self { data_type: DataType::Trade, name: "trades", sql: include_str!("../sql/trades.sql") },
        Self {
            data_type: DataType::OrderBook,
            name: "orderbooks",
            sql: include_str!("../sql/orderbooks.sql"),
        },
        Self {
            data_type: DataType::FundingRate,
            name: "funding_rates",
            sql: include_str!("../sql/funding_rates.sql"),
        },
        Self {
            data_type: DataType::OpenInterest,
            name: "open_interests",
            sql: include_str!("../sql/open_interests.sql"),
        },
        Self {
            data_type: DataType::Liquidation,
            name: "liquidations",
            sql: include_str!("../sql/liquidations.sql"),
        },
        Self {
            data_type: DataType::LsrTopPosition,
            name: "lsr_top_positions",
            sql: include_str!("../sql/lsr_top_positions.sql"),
        },
        Self {
            data_type: DataType::LsrAllAccount,
            name: "lsr_all_accounts",
            sql: include_str!("../sql/lsr_all_accounts.sql"),
        },
        Self {
            data_type: DataType::VolatilityIndex,
            name: "volatility_indices",
            sql: include_str!("../sql/volatility_indices.sql"),
        },
    ];

    /// The table of a data type.
    #[must_use]
    pub fn of(data_type: DataType) -> &'static Self {
        let [trade, book, funding, interest, liquidation, top, all, index] = &TABLES;
        match data_type {
            DataType::Trade => trade,
            DataType::OrderBook => book,
            DataType::FundingRate => funding,
            DataType::OpenInterest => interest,
            DataType::Liquidation => liquidation,
            DataType::LsrTopPosition => top,
            DataType::LsrAllAccount => all,
            DataType::VolatilityIndex => index,
        }
    }
}

static TABLES: [Table; 8] = Table::ALL;

/// The statement that creates a table, its comment lines left out.
#[must_use]
pub fn table_ddl(table: &Table, database: &str, ttl_days: u32) -> String {
    fill(table.sql, database, ttl_days)
}

/// The statement that creates the table of refused messages.
#[must_use]
pub fn dead_letter_ddl(database: &str, ttl_days: u32) -> String {
    fill(DEAD_LETTERS_SQL, database, ttl_days)
}

fn fill(sql: &str, database: &str, ttl_days: u32) -> String {
    let statement: Vec<&str> = sql.lines().filter(|line| !line.starts_with("--")).collect();
    statement.join("\n").replace("{database}", database).replace("{ttl_days}", &ttl_days.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: each data type has its own table, and no placeholder is left in a statement.
    #[test]
    fn every_data_type_has_a_table() {
        for (&data_type, table) in DataType::ALL.iter().zip(Table::ALL) {
            assert_eq!(table.data_type, data_type);
            assert_eq!(Table::of(data_type), &table);
            let ddl = table_ddl(&table, "db", 3);
            assert!(ddl.contains(&format!("db.{}", table.name)) && !ddl.contains(['{', '}']), "{ddl}");
        }
        assert!(!dead_letter_ddl("db", 3).contains(['{', '}']));
    }
}
