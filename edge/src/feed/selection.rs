//! The instruments that a feed selects of a venue's list.

use std::collections::BTreeSet;

use anyhow::bail;
use marketprism_adapter_host::CallError;
use marketprism_adapter_host::contract::{Instrument, Ranked};
use marketprism_service::error_text;

use super::listing::FeedListing;
use super::parts::{InstrumentKey, key_of};
use super::ranking::rank;
use crate::config::SymbolSelection;
use crate::limits::INSTRUMENTS_MAX;

/// Gives the listed instruments of these symbols, or, without symbols, those that trade. Refuses symbols that are not listed.
type ListInstruments<'a> = &'a mut dyn FnMut(&[String]) -> Result<Vec<Instrument>, CallError>;

pub(super) fn select(
    selection: &SymbolSelection,
    collected: &BTreeSet<InstrumentKey>,
    rows: anyhow::Result<Vec<Ranked>>,
    list: ListInstruments<'_>,
) -> anyhow::Result<FeedListing> {
    let symbols = collected.iter().map(|(symbol, _)| symbol);
    let mut wanted: BTreeSet<String> = selection.names().iter().chain(symbols).cloned().collect();
    let mut unmatched = Vec::new();
    if !selection.patterns().is_empty() {
        let trading = list(&[])?;
        for pattern in selection.patterns() {
            let matched = trading.iter().filter(|one| selection.matches(pattern, &one.symbol));
            let matched: Vec<String> = matched.map(|one| one.symbol.clone()).collect();
            if matched.is_empty() {
                unmatched.push(pattern.clone());
            }
            wanted.extend(matched);
        }
        if selection.top().is_none() {
            check_count(wanted.len())?;
        }
    }
    let (mut instruments, missing, mut hint) = list_named(wanted.into_iter().collect(), list)?;
    let is_named = |one: &Instrument| selection.names().contains(&one.symbol);
    // Of a symbol that trades another market may not: it would come back each time that it has ended.
    instruments.retain(|one| one.trading || is_named(one) || collected.contains(&key_of(one)));
    let ranked = selection.top().map(|top| {
        let rows = rows?;
        rank(&mut instruments, &rows, (selection, top), collected)
    });
    let (ranking, ranking_problem) = match ranked {
        None => (None, None),
        Some(Ok(ranking)) => (Some(ranking), None),
        Some(Err(error)) => {
            instruments.retain(|one| is_named(one) || collected.contains(&key_of(one)));
            if instruments.is_empty() && collected.is_empty() {
                return Err(error);
            }
            (None, Some(error_text(error.as_ref())))
        }
    };
    check_count(instruments.len())?;
    let missing_names = selection.names().iter().filter(|name| missing.contains(*name)).cloned();
    let not_listed: Vec<String> = missing_names.chain(unmatched).collect();
    if instruments.is_empty() && collected.is_empty() {
        if hint.is_empty() {
            hint = similar(selection.patterns(), list);
        }
        bail!(
            "symbols: the venue lists none of {not_listed:?} for the feed's market types (allowed: {hint})"
        );
    }
    Ok(FeedListing { instruments, not_listed, hint, ranking, ranking_problem, ..FeedListing::default() })
}

fn check_count(count: usize) -> anyhow::Result<()> {
    if count > INSTRUMENTS_MAX {
        bail!(
            "symbols: select {count} instruments (allowed: at most {INSTRUMENTS_MAX} a feed; use narrower patterns, `exclude`, or \
             several feeds)"
        );
    }
    Ok(())
}

/// The listed instruments of these symbols, the symbols that are not listed, and what the adapter says is similar.
fn list_named(
    mut symbols: Vec<String>,
    list: ListInstruments<'_>,
) -> anyhow::Result<(Vec<Instrument>, BTreeSet<String>, String)> {
    let (mut missing, mut hint) = (BTreeSet::new(), String::new());
    while !symbols.is_empty() {
        let refusal = match list(&symbols) {
            Ok(instruments) => return Ok((instruments, missing, hint)),
            Err(CallError::Refused(refusal)) if refusal.field == "symbols" => refusal,
            Err(error) => return Err(error.into()),
        };
        let named: BTreeSet<&str> = refusal.value.split(", ").collect();
        let before = symbols.len();
        symbols.retain(|symbol| {
            let is_listed = !named.contains(symbol.as_str());
            if !is_listed {
                missing.insert(symbol.clone());
            }
            is_listed
        });
        if symbols.len() == before {
            return Err(CallError::Refused(refusal).into());
        }
        if hint.is_empty() {
            hint = refusal.allowed;
        }
    }
    Ok((Vec::new(), missing, hint))
}

/// Listed symbols that are similar to the patterns' text, as the adapter names them.
fn similar(patterns: &[String], list: ListInstruments<'_>) -> String {
    let texts: Vec<String> =
        patterns.iter().map(|pattern| pattern.replace('*', "").trim_matches('-').to_owned()).collect();
    match list(&texts) {
        Err(CallError::Refused(refusal)) => refusal.allowed,
        _ => "patterns of listed symbols such as BTC-* or *-USDT".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use marketprism_adapter_host::contract::{self, Refusal};
    use marketprism_schema::MarketType;

    use super::*;
    use crate::config::{RankingMeasure, TopMarkets};
    use crate::feed::fixtures::spot;

    /// As adapters list: named symbols whether they trade or not, and a refusal that names all that are not listed.
    fn list(symbols: &[String]) -> Result<Vec<Instrument>, CallError> {
        let listed = [("BTC-USDT", true), ("ETH-USDT", true), ("BTC-EUR", true), ("OLD-USDT", false)];
        let missing: Vec<&str> = symbols
            .iter()
            .map(String::as_str)
            .filter(|symbol| !listed.iter().any(|(name, _)| name == symbol))
            .collect();
        if !missing.is_empty() {
            let (field, allowed) = ("symbols".to_owned(), "such as LUNA-USDT".to_owned());
            return Err(CallError::Refused(Refusal { field, value: missing.join(", "), allowed }));
        }
        let chosen = listed.iter().filter(|(name, trading)| {
            if symbols.is_empty() { *trading } else { symbols.iter().any(|symbol| symbol == name) }
        });
        Ok(chosen.map(|(name, trading)| Instrument { trading: *trading, ..spot(name) }).collect())
    }

    fn chosen(
        symbols: &[&str],
        exclude: &[&str],
        collected: &[&str],
    ) -> Result<(Vec<String>, Vec<String>), String> {
        let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        let selection = SymbolSelection::new(&texts(symbols), &texts(exclude));
        let collected = texts(collected).into_iter().map(|symbol| (symbol, MarketType::Spot)).collect();
        let listing =
            select(&selection, &collected, Ok(Vec::new()), &mut list).map_err(|error| error.to_string())?;
        Ok((listing.instruments.into_iter().map(|one| one.symbol).collect(), listing.not_listed))
    }

    #[test]
    fn what_is_not_listed_costs_only_itself_and_is_named() {
        let of = |symbols: &[&str]| chosen(symbols, &[], &[]).unwrap();
        let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        let (found, not_listed) = of(&["LUNA-USDT", "BTC-USDT", "FTT-USDT", "OLD-USDT"]);
        assert_eq!(found, ["BTC-USDT", "OLD-USDT"], "a named instrument need not trade");
        assert_eq!(not_listed, ["LUNA-USDT", "FTT-USDT"]);
        assert_eq!(of(&["*-USDT", "DOGE-*", "BTC-EUR"]).0, ["BTC-USDT", "ETH-USDT", "BTC-EUR"]);
        assert_eq!(of(&["*-USDT", "DOGE-*"]).1, texts(&["DOGE-*"]));
        assert_eq!(chosen(&["*"], &["*-EUR"], &[]).unwrap().0, ["BTC-USDT", "ETH-USDT"]);
    }

    #[test]
    fn nothing_listed_is_refused_with_similar_names() {
        for symbols in [&["LUNA-USDT"][..], &["LUNA-*"]] {
            let error = chosen(symbols, &[], &[]).unwrap_err();
            assert!(error.contains(symbols[0]) && error.contains("such as LUNA-USDT"), "{error}");
        }
    }

    #[test]
    fn a_collected_instrument_stays_selected_while_it_is_listed_and_its_end_is_no_missing_name() {
        assert_eq!(chosen(&["*-USDT"], &[], &["OLD-USDT"]).unwrap().0, ["BTC-USDT", "ETH-USDT", "OLD-USDT"]);
        let (found, not_listed) = chosen(&["*-EUR"], &[], &["GONE-EUR"]).unwrap();
        assert_eq!((found, not_listed), (vec!["BTC-EUR".to_owned()], vec![]));
    }

    /// A market that had ended as delisted was collected again by the next list, and ended again a week later.
    #[test]
    fn a_pattern_selects_of_a_symbol_only_the_markets_that_trade() {
        let markets = [
            Instrument { market_type: contract::MarketType::Perpetual, ..spot("A-B") },
            Instrument { trading: false, ..spot("A-B") },
        ];
        let mut list = |symbols: &[String]| {
            let listed = markets.iter().filter(|one| one.trading || !symbols.is_empty());
            Ok(listed.cloned().collect::<Vec<_>>())
        };
        let mut count = |symbol: &str, collected: &[Instrument]| {
            let selection = SymbolSelection::new(&[symbol.to_owned()], &[]);
            let collected = collected.iter().map(key_of).collect();
            select(&selection, &collected, Ok(Vec::new()), &mut list).unwrap().instruments.len()
        };
        assert_eq!([count("*", &markets[..1]), count("*", &markets), count("A-B", &[])], [1, 2, 2]);
    }

    #[test]
    fn more_instruments_than_a_feed_may_have_are_refused_with_their_number() {
        let mut many = |symbols: &[String]| {
            assert!(symbols.is_empty(), "no second list");
            Ok((0..=INSTRUMENTS_MAX).map(|number| spot(&format!("A{number}-B"))).collect())
        };
        let selection = SymbolSelection::new(&["*".to_owned()], &[]);
        let error = select(&selection, &BTreeSet::new(), Ok(Vec::new()), &mut many).unwrap_err().to_string();
        assert!(error.contains("5001 instruments") && error.contains("at most 5000"), "{error}");
    }

    /// The venue's ranking is unreachable, or not plausible: it ranks none of the markets.
    #[test]
    fn an_unreadable_ranking_costs_what_only_it_would_select() {
        let top = TopMarkets { by: RankingMeasure::Volume24h, count: 1 };
        let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        let read = |symbols: &[&str], collected: &[&str], rows: anyhow::Result<Vec<Ranked>>| {
            let selection = SymbolSelection::new(&texts(symbols), &[]).with_top(Some(top));
            let collected = texts(collected).into_iter().map(|symbol| (symbol, MarketType::Spot)).collect();
            select(&selection, &collected, rows, &mut list).map_err(|error| error.to_string())
        };
        let symbols =
            |listing: FeedListing| listing.instruments.into_iter().map(|one| one.symbol).collect::<Vec<_>>();
        for (rows, cause) in
            [(Err(anyhow::anyhow!("busy")), "busy"), (Ok(Vec::new()), "2 of 2 selected markets")]
        {
            let listing = read(&["*-USDT", "BTC-EUR"], &["ETH-USDT"], rows).unwrap();
            assert!(
                listing.ranking_problem.as_ref().is_some_and(|problem| problem.contains(cause)),
                "{listing:?}"
            );
            assert_eq!((listing.outranked(), &listing.ranking), (None, &None), "nobody fell out of it");
            assert_eq!(symbols(listing), ["ETH-USDT", "BTC-EUR"], "the collected and the named ones");
        }
        assert_eq!(
            read(&["*-USDT"], &[], Err(anyhow::anyhow!("busy"))).unwrap_err(),
            "busy",
            "nothing is left"
        );
    }
}
