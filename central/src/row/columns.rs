//! Tables and their columns: names and types in the order in which rows are written. A test compares them with the definitions.

use marketprism_schema::{DEAD_LETTERS, DataType, Table};

pub type Column = (&'static str, &'static str);

pub const TEXT: &str = "LowCardinality(String)";
const MICROS: &str = "DateTime64(6, 'UTC')";
const MICROS_OR_NULL: &str = "Nullable(DateTime64(6, 'UTC'))";
const DECIMAL: &str = "Decimal(38, 18)";
const DECIMAL_OR_NULL: &str = "Nullable(Decimal(38, 18))";
const LEVELS: &str = "Array(Tuple(price Decimal(38, 18), quantity Decimal(38, 18)))";

const HEAD: &[Column] = &[
    ("timestamp", MICROS),
    ("exchange", TEXT),
    ("market_type", TEXT),
    ("symbol", TEXT),
    ("venue_symbol", TEXT),
];

const TAIL: &[Column] = &[
    ("received_at", "DateTime64(9, 'UTC')"),
    ("event_id", "UInt128"),
    ("edge", TEXT),
    ("region", TEXT),
    ("adapter", TEXT),
    ("data_source", TEXT),
    ("stream_seq", "UInt64"),
    CREATED_AT,
];

const CREATED_AT: Column = ("created_at", "DateTime64(3, 'UTC')");

const DEAD_LETTER: &[Column] = &[
    ("stream", TEXT),
    ("stream_seq", "UInt64"),
    ("subject", "String"),
    ("content_type", TEXT),
    ("message_id", "String"),
    ("reason", "String"),
    ("payload", "String"),
    CREATED_AT,
];

const COPY: &[Column] = &[
    ("data_type", TEXT),
    ("exchange", TEXT),
    ("market_type", TEXT),
    ("symbol", TEXT),
    ("edge", TEXT),
    ("found", TEXT),
    ("stream", TEXT),
    ("received_from", "DateTime64(9, 'UTC')"),
    ("received_to", "DateTime64(9, 'UTC')"),
    ("stream_seq_from", "UInt64"),
    ("stream_seq_to", "UInt64"),
    ("events.event_id", "Array(UInt128)"),
    ("events.received_at", "Array(DateTime64(9, 'UTC'))"),
    ("events.stream_seq", "Array(UInt64)"),
    CREATED_AT,
];

const CORRECTED_EVENT: &[Column] = &[
    ("correction", "UInt128"),
    ("data_type", TEXT),
    ("exchange", TEXT),
    ("market_type", TEXT),
    ("symbol", TEXT),
    ("kind", TEXT),
    ("event_id", "UInt128"),
    ("was_at", MICROS),
    ("timestamp", MICROS),
    ("received_at", "DateTime64(9, 'UTC')"),
    ("edge", TEXT),
    ("adapter", TEXT),
    ("stream", TEXT),
    ("stream_seq", "UInt64"),
    ("payload", "String"),
    CREATED_AT,
];

const QUOTE: &[Column] = &[
    ("epoch", "UInt32"),
    ("last_update_id", "Int64"),
    ("price_scale", "UInt8"),
    ("quantity_scale", "UInt8"),
    ("bid_price", "Int64"),
    ("bid_quantity", "Int64"),
    ("ask_price", "Int64"),
    ("ask_quantity", "Int64"),
];

const fn own(data_type: DataType) -> &'static [Column] {
    match data_type {
        DataType::Trade => &[
            ("trade_id", "String"),
            ("price", DECIMAL),
            ("quantity", DECIMAL),
            ("side", TEXT),
            ("is_maker", "Bool"),
        ],
        DataType::OrderBook => &[
            ("last_update_id", "Int64"),
            ("checksum", "Nullable(Int64)"),
            ("bids", LEVELS),
            ("asks", LEVELS),
            ("depth", "UInt32"),
            ("epoch", "UInt32"),
        ],
        DataType::FundingRate => &[
            ("funding_rate", DECIMAL),
            ("funding_time", MICROS_OR_NULL),
            ("next_funding_time", MICROS_OR_NULL),
            ("interval_hours", "Nullable(UInt16)"),
            ("mark_price", DECIMAL_OR_NULL),
            ("index_price", DECIMAL_OR_NULL),
        ],
        DataType::OpenInterest => &[
            ("open_interest", DECIMAL_OR_NULL),
            ("open_interest_contracts", DECIMAL_OR_NULL),
            ("open_interest_value", DECIMAL_OR_NULL),
        ],
        DataType::Liquidation => &[
            ("side", TEXT),
            ("price", DECIMAL),
            ("quantity", DECIMAL),
            ("liquidation_time", MICROS_OR_NULL),
            ("liquidation_id", "String"),
        ],
        DataType::LsrTopPosition => &[
            ("long_position_ratio", DECIMAL),
            ("short_position_ratio", DECIMAL),
            ("ratio", DECIMAL_OR_NULL),
            ("period", TEXT),
        ],
        DataType::LsrAllAccount => &[
            ("long_account_ratio", DECIMAL),
            ("short_account_ratio", DECIMAL),
            ("ratio", DECIMAL_OR_NULL),
            ("period", TEXT),
        ],
        DataType::VolatilityIndex => &[("index_value", DECIMAL), ("underlying_asset", TEXT)],
        DataType::OrderBookDelta => &[
            ("epoch", "UInt32"),
            ("epoch_started_at", "DateTime64(9, 'UTC')"),
            ("number", "UInt64"),
            ("is_snapshot", "Bool"),
            ("parts_left", "UInt32"),
            ("first_update_id", "Int64"),
            ("previous_update_id", "Nullable(Int64)"),
            ("last_update_id", "Int64"),
            ("checksum", "Nullable(Int64)"),
            ("is_bids_partial", "Bool"),
            ("is_asks_partial", "Bool"),
            ("price_scale", "UInt8"),
            ("quantity_scale", "UInt8"),
            ("bids.price", "Array(Int64)"),
            ("bids.quantity", "Array(Int64)"),
            ("asks.price", "Array(Int64)"),
            ("asks.quantity", "Array(Int64)"),
        ],
        DataType::Quote => QUOTE,
    }
}

pub fn columns_of(data_type: DataType) -> Vec<Column> {
    [HEAD, own(data_type), TAIL].concat()
}

const COPIES: &str = "copies";
const CORRECTED_EVENTS: &str = "corrected_events";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    Events(DataType),
    /// Events that another message brought; a row has several.
    Copies,
    /// Events of corrections, until they are carried out.
    CorrectedEvents,
    DeadLetters,
}

impl Target {
    pub fn table(self) -> &'static str {
        match self {
            Self::Events(data_type) => Table::of(data_type).name,
            Self::Copies => COPIES,
            Self::CorrectedEvents => CORRECTED_EVENTS,
            Self::DeadLetters => DEAD_LETTERS,
        }
    }

    pub fn columns(self) -> Vec<Column> {
        match self {
            Self::Events(data_type) => columns_of(data_type),
            Self::Copies => COPY.to_vec(),
            Self::CorrectedEvents => CORRECTED_EVENT.to_vec(),
            Self::DeadLetters => DEAD_LETTER.to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::defined::{defined, owned};
    use marketprism_schema::{DEAD_LETTERS, Table};

    #[test]
    fn columns_match_the_table_definitions() {
        for table in Table::ALL {
            let columns = columns_of(table.data_type);
            assert_eq!(owned(&columns), defined(table.name), "{}", table.name);
            assert_eq!(columns.last(), Some(&CREATED_AT));
        }
        let mut dead = defined(DEAD_LETTERS);
        dead.rotate_left(1);
        assert_eq!(owned(DEAD_LETTER), dead);
        assert_eq!(owned(COPY), defined("copies"));
        assert_eq!(owned(CORRECTED_EVENT), defined(CORRECTED_EVENTS));
    }
}
