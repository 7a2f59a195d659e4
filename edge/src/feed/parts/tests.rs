use super::*;
use crate::feed::fixtures::spot;

fn listed(symbols: &[&str]) -> Vec<Instrument> {
    symbols.iter().map(|symbol| spot(symbol)).collect()
}

fn names(instruments: &[Instrument]) -> Vec<&str> {
    instruments.iter().map(|one| one.symbol.as_str()).collect()
}

fn begun(parts: &InstrumentParts, part: PartNumber, list: &[Instrument]) -> Vec<Instrument> {
    parts.begin(part, list, 0).instruments
}

fn changed_by(parts: &InstrumentParts, list: &[Instrument], added: PartNumber) -> ListingChange {
    parts.change(list, 0, added)
}

fn key(symbol: &str) -> InstrumentKey {
    (symbol.to_owned(), MarketType::Spot)
}

#[test]
fn each_instrument_belongs_to_one_part_through_listings_delistings_and_restarts() {
    let parts = InstrumentParts::default();
    assert_eq!(names(&begun(&parts, 0, &listed(&["A", "B"]))), ["A", "B"]);
    assert_eq!(changed_by(&parts, &listed(&["B"]), 1).missed, [key("A")]);
    let change = changed_by(&parts, &listed(&["B", "C", "D"]), 1);
    assert_eq!(names(&change.new), ["C", "D"]);
    assert_eq!(change.delisted[&0], [key("A")]);
    let again = begun(&parts, 0, &listed(&["A", "B", "C", "D"]));
    assert_eq!(names(&again), ["A", "B"], "the first part starts again, C and D have a part");
    assert_eq!(names(&begun(&parts, 1, &listed(&["A", "B", "D", "E"]))), ["C", "D"], "E is no part's own");
    assert_eq!(names(&begun(&parts, 1, &listed(&["A", "B", "D", "E"]))), ["D"], "C is delisted");
    changed_by(&parts, &listed(&["A", "B", "C"]), 2);
    let change = changed_by(&parts, &listed(&["A", "B", "C"]), 3);
    assert_eq!((change.new.len(), change.delisted[&1].len()), (0, 1));
    assert!(parts.is_empty(1) && !parts.is_empty(2));
    parts.merge(2, 3);
    assert_eq!(names(&parts.of(3)), ["C"]);
    let selection = SymbolSelection::new(&["B".to_owned(), "C".to_owned()], &[]);
    let lost = parts.lost(0, &listed(&["A", "C", "X"]), &selection);
    assert_eq!(
        lost,
        [(DowntimeReason::Removed, vec![key("X")]), (DowntimeReason::Delisted, vec![key("C")])].into()
    );
    assert_eq!(parts.deselect(&selection), [(0, vec![key("A")])].into());
    assert_eq!(parts.keys(), [key("B"), key("C")].into());
}

#[test]
fn what_falls_out_of_the_ranking_leaves_its_part_and_is_not_delisted() {
    let parts = InstrumentParts::default();
    let started = begun(&parts, 0, &listed(&["A", "B", "C"]));
    changed_by(&parts, &listed(&["A", "B", "C", "D"]), 1);
    assert!(parts.outrank(&[key("D")].into(), Some(0)).is_empty(), "of another part");
    let outranked = [key("B"), key("D"), key("Z")].into();
    assert_eq!(parts.outrank(&outranked, None), [(0, vec![key("B")]), (1, vec![key("D")])].into());
    let change = changed_by(&parts, &listed(&["A", "C"]), 2);
    assert!(change.new.is_empty() && change.delisted.is_empty() && change.missed.is_empty());
    let all = SymbolSelection::new(&["*".to_owned()], &[]);
    assert_eq!(parts.lost(0, &started, &all), [(DowntimeReason::Outranked, vec![key("B")])].into());
    assert_eq!(names(&changed_by(&parts, &listed(&["A", "B", "C"]), 2).new), ["B"], "ranked again");
}

#[test]
fn an_instrument_with_other_terms_moves_to_the_new_part_and_no_other_does() {
    let parts = InstrumentParts::default();
    begun(&parts, 0, &listed(&["A", "B"]));
    let mut again = listed(&["A", "B"]);
    again[0].trading = false;
    assert!(changed_by(&parts, &again, 1).new.is_empty());
    again[1].price_scale = 3;
    let change = changed_by(&parts, &again, 1);
    assert_eq!((names(&change.new), &change.changed), (vec!["B"], &[(0, vec![key("B")])].into()));
    assert!(change.delisted.is_empty() && change.missed.is_empty());
    assert_eq!(parts.of(1)[0].price_scale, 3);
    assert!(changed_by(&parts, &again, 2).changed.is_empty());
    again[1].price_scale = 4;
    assert_eq!(begun(&parts, 1, &again)[0].price_scale, 4, "a part that starts takes the new terms");
    assert!(changed_by(&parts, &again, 2).changed.is_empty());
}

/// Quantities are multiplied by the contract's size: a venue changes it while the contract does not trade. A tick changes no number that was read.
#[test]
fn a_new_contract_size_is_told_from_other_terms_and_looked_for_while_the_contract_does_not_trade() {
    let parts = InstrumentParts::default();
    let mut list = listed(&["A", "B", "C"]);
    begun(&parts, 0, &list);
    let selection = SymbolSelection::new(&["*".to_owned()], &[]);
    let start = Instant::now();
    let apply = |list: &[Instrument], after: Duration| {
        let change = changed_by(&parts, list, 1);
        assert!(parts.end_idle(&selection, start + after).is_empty());
        change
    };
    apply(&list, Duration::ZERO);
    assert!(!parts.has_new_halt(start));
    list[0].trading = false;
    assert!(apply(&list, Duration::ZERO).resized.is_empty());
    assert!(parts.has_new_halt(start + HALT_WATCHED / 2));
    assert!(!parts.has_new_halt(start + HALT_WATCHED), "listed for ever, without trading");
    apply(&list[..2], Duration::from_secs(1));
    assert!(!parts.has_new_halt(start), "C would end a minute later");
    list[0].trading = true;
    list[0].contract_value = Some(Decimal { mantissa: 1_000, scale: 0 });
    list[1].contract_size = Some(Decimal { mantissa: 1, scale: 1 });
    list[2].tick_size = Some(Decimal { mantissa: 5, scale: 1 });
    let change = apply(&list, Duration::from_secs(60));
    assert_eq!(change.changed, [(0, vec![key("A"), key("B"), key("C")])].into());
    let resized = ["A", "B"].map(|symbol| ResizedInstrument { key: key(symbol), since_ns: 0 });
    assert_eq!(change.resized, [(0, resized.to_vec())].into());
    assert!(!parts.has_new_halt(start + Duration::from_secs(60)));
}

/// Venues take a contract from the list for such a change, and a part may fail, or be reloaded, before the next list.
#[test]
fn quantities_are_in_doubt_from_the_last_list_with_the_earlier_size_on_whatever_reads_the_new_one() {
    let sized = |size: i64| {
        let mut list = listed(&["A", "B", "C"]);
        list[0].contract_value = Some(Decimal { mantissa: size, scale: 0 });
        list
    };
    let resized = |since_ns| vec![ResizedInstrument { key: key("A"), since_ns }];
    let started = || {
        let parts = InstrumentParts::default();
        assert_eq!(parts.begin(0, &sized(1), 10).resized, []);
        assert!(parts.change(&sized(1), 20, 1).resized.is_empty());
        parts
    };
    let parts = started();
    assert_eq!(parts.change(&sized(1)[1..], 30, 1).missed, [key("A")]);
    assert_eq!(parts.change(&sized(2), 40, 1).resized, [(0, resized(20))].into(), "missing in between");
    assert_eq!(parts.begin(0, &sized(3), 50).resized, [], "of another part");
    assert_eq!(parts.begin(1, &sized(3), 50).resized, resized(40), "a part that starts again");
    assert_eq!(parts.begin(1, &sized(3), 60).resized, [], "once");

    let parts = started().successor(|_| true);
    assert_eq!(parts.begin(0, &sized(2), 30).resized, resized(20), "a feed that a reload starts again");
    let parts = started();
    parts.begin(0, &sized(1)[1..], 30);
    assert_eq!(parts.begin(0, &sized(2), 40).resized, resized(20));
}

#[test]
fn a_feed_that_starts_again_by_a_partial_list_keeps_what_all_its_parts_collected_and_is_selected() {
    let parts = InstrumentParts::default();
    begun(&parts, 0, &listed(&["A", "B", "C"]));
    changed_by(&parts, &listed(&["A", "B", "C", "D"]), 1);
    let parts = parts.successor(|(symbol, _)| symbol != "B");
    assert_eq!(names(&begun(&parts, 0, &listed(&["A", "E"]))), ["A", "C", "D", "E"]);
    let change = changed_by(&parts, &listed(&["A", "C", "E"]), 1);
    assert_eq!((change.delisted[&0].as_slice(), change.new.len()), (&[key("D")][..], 0));
}

/// During maintenance a venue answers with an empty or a partial list.
#[test]
fn a_list_that_lacks_instruments_once_ends_none_and_an_implausible_one_not_soon() {
    let parts = InstrumentParts::default();
    begun(&parts, 0, &listed(&["A", "B", "C"]));
    for of in [&["A", "B"][..], &["A", "B", "C"], &["A", "C"], &[], &["A", "B", "C"]] {
        let change = changed_by(&parts, &listed(of), 1);
        assert!(change.delisted.is_empty() && change.new.is_empty(), "{of:?}: {change:?}");
        assert_eq!((change.missed.len(), change.is_implausible), (3 - of.len(), of.is_empty()));
    }
    assert_eq!(names(&begun(&parts, 0, &[])), ["A", "B", "C"], "a restart keeps them");
    for _ in 2..IMPLAUSIBLE_LISTS {
        assert!(changed_by(&parts, &[], 1).delisted.is_empty());
    }
    assert_eq!(changed_by(&parts, &[], 1).delisted[&0].len(), 3);
}

/// A venue lists two contracts under one symbol: one of both is left, that which trades. During maintenance a list lacks one of them.
#[test]
fn another_contract_takes_a_symbol_only_when_the_one_that_has_it_has_ended() {
    let parts = InstrumentParts::default();
    let plain = listed(&["A", "B", "C"]);
    begun(&parts, 0, &plain);
    let mut other = plain.clone();
    (other[0].venue_symbol, other[0].price_scale) = ("A_UM".to_owned(), 3);
    for list in [&other, &plain] {
        let change = changed_by(&parts, list, 1);
        assert!(
            change.changed.is_empty() && change.new.is_empty() && change.delisted.is_empty(),
            "{change:?}"
        );
        assert_eq!(change.missed.len(), usize::from(list == &other));
    }
    assert!(parts.is_other_contract(&other[0]) && !parts.is_other_contract(&plain[0]));
    assert_eq!(begun(&parts, 0, &other)[0], plain[0], "a part that starts again");
    let change = changed_by(&parts, &other, 1);
    assert_eq!((change.delisted[&0].as_slice(), change.new.len()), (&[key("A")][..], 0));
    assert!(!parts.is_other_contract(&other[0]));
    assert_eq!(changed_by(&parts, &other, 1).new, other[..1]);

    let mut swapped = other.clone();
    swapped.iter_mut().for_each(|one| one.venue_symbol.push_str("_XPERP"));
    let change = changed_by(&parts, &swapped, 2);
    assert!(change.is_implausible && change.changed.is_empty() && change.delisted.is_empty(), "{change:?}");
}

/// It went on with the trade ids and books of the contract before.
#[test]
fn a_feed_that_starts_again_gives_no_symbol_to_another_contract_with_the_list_that_ends_the_one_before() {
    let parts = InstrumentParts::default();
    let plain = listed(&["A", "B", "C"]);
    begun(&parts, 0, &plain);
    let mut other = plain.clone();
    other[0].venue_symbol = "A_UM".to_owned();
    assert_eq!(changed_by(&parts, &other, 1).missed, [key("A")]);
    let parts = parts.successor(|_| true);
    assert_eq!(names(&begun(&parts, 0, &other)), ["B", "C"]);
    assert_eq!(changed_by(&parts, &other, 1).new, other[..1], "the next list");
    assert_ne!(memory_key(&plain[0]), memory_key(&other[0]));
}

/// Venues list delisted pairs for ever, with another status.
#[test]
fn what_does_not_trade_for_days_ends_unless_it_is_named() {
    let parts = InstrumentParts::default();
    let trading = listed(&["A", "B", "C"]);
    begun(&parts, 0, &trading);
    let selection = SymbolSelection::new(&["*".to_owned(), "B".to_owned()], &[]);
    let mut halted = trading.clone();
    halted[..2].iter_mut().for_each(|one| one.trading = false);
    let start = Instant::now();
    let list = |list: &[Instrument], after: Duration| {
        let change = changed_by(&parts, list, 1);
        assert!(change.changed.is_empty() && change.delisted.is_empty());
        parts.end_idle(&selection, start + after)
    };
    assert!(list(&halted, Duration::ZERO).is_empty());
    assert_eq!(parts.not_trading(), [key("A"), key("B")].into());
    assert!(list(&trading, NOT_TRADING_MAX / 2).is_empty() && parts.not_trading().is_empty());
    assert!(list(&halted, NOT_TRADING_MAX).is_empty(), "it traded meanwhile");
    assert!(list(&halted, NOT_TRADING_MAX * 2 - Duration::from_secs(1)).is_empty());
    assert_eq!(list(&halted, NOT_TRADING_MAX * 2), [(0, vec![key("A")])].into());
    assert_eq!(parts.keys(), [key("B"), key("C")].into());
}
