//! Level of a table without recent rows. States of books may be left out where their changes arrive, and changes and quotes are collected only where asked for.

use std::collections::BTreeSet;

use marketprism_schema::DataType;

use super::document::{Level, TableContents, VenueState};

const STOPPED: &str = "check with `status` which part has stopped: edges, broker, ingest or ClickHouse";

/// Level and remedy for a table of this type in which nothing is recent.
pub fn of_stale_table(
    data_type: DataType,
    venues: &[VenueState],
    is_collecting: bool,
) -> (Level, &'static str) {
    let has_rows = |contents: &TableContents| contents.rows > 0;
    let is_recent = |contents: &TableContents| contents.recent_rows > 0;
    match data_type {
        DataType::OrderBook => {
            let deltas = markets(venues, DataType::OrderBookDelta, is_recent);
            if !deltas.is_empty() && markets(venues, DataType::OrderBook, has_rows).is_subset(&deltas) {
                (Level::Info, "")
            } else {
                (Level::Fail, STOPPED)
            }
        }
        DataType::OrderBookDelta | DataType::Quote => {
            let stopped = markets(venues, data_type, has_rows);
            if stopped.is_empty() {
                (Level::Info, "")
            } else if stopped.is_subset(&markets(venues, DataType::OrderBook, is_recent)) {
                (
                    Level::Warn,
                    "states of these books arrive: check that the edges' feeds still have this type in data_types",
                )
            } else {
                (Level::Fail, STOPPED)
            }
        }
        _ if data_type.is_frequent() => (Level::Fail, STOPPED),
        DataType::Liquidation if !is_collecting => {
            (Level::Warn, "no other type arrives either: check with `status` which part has stopped")
        }
        _ => (Level::Info, ""),
    }
}

/// Exchange and market type of those whose contents in hot are so.
fn markets(
    venues: &[VenueState],
    data_type: DataType,
    is: impl Fn(&TableContents) -> bool,
) -> BTreeSet<(&str, &str)> {
    let of_type = venues.iter().filter(|venue| venue.data_type == data_type.as_str());
    of_type
        .filter(|venue| venue.hot.as_ref().is_some_and(&is))
        .map(|venue| (venue.exchange.as_str(), venue.market_type.as_str()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::document::WindowCounts;

    fn venue(exchange: &str, data_type: DataType, rows: u64, recent_rows: u64) -> VenueState {
        VenueState {
            exchange: exchange.to_owned(),
            market_type: "spot".to_owned(),
            data_type: data_type.as_str(),
            hot: Some(TableContents { rows, recent_rows, ..TableContents::default() }),
            cold: None,
            age_seconds: None,
            status: "ok",
            is_judged: true,
            windows: WindowCounts::default(),
            windows_percent: None,
        }
    }

    fn level(data_type: DataType, venues: &[VenueState]) -> Level {
        of_stale_table(data_type, venues, true).0
    }

    #[test]
    fn missing_states_are_excused_by_changes_of_the_same_market_only() {
        use DataType::{OrderBook, OrderBookDelta};
        let own = venue("a", OrderBookDelta, 9, 9);
        let of_another = venue("b", OrderBookDelta, 9, 9);
        let states = venue("a", OrderBook, 9, 0);
        assert_eq!(level(OrderBook, &[]), Level::Fail);
        assert_eq!(level(OrderBook, &[states.clone(), of_another.clone()]), Level::Fail);
        assert_eq!(level(OrderBook, &[states, of_another, own.clone()]), Level::Info);
        assert_eq!(level(OrderBook, &[own]), Level::Info);
    }

    #[test]
    fn changes_and_quotes_that_stopped_fail_unless_the_states_of_their_books_arrive() {
        let of_another = venue("b", DataType::OrderBook, 9, 9);
        let own = venue("a", DataType::OrderBook, 9, 1);
        for made in [DataType::OrderBookDelta, DataType::Quote] {
            let stopped = venue("a", made, 9, 0);
            assert_eq!(level(made, &[venue("a", made, 0, 0), own.clone()]), Level::Info);
            assert_eq!(level(made, &[stopped.clone(), of_another.clone()]), Level::Fail);
            assert_eq!(level(made, &[stopped, of_another.clone(), own.clone()]), Level::Warn);
        }
    }
}
