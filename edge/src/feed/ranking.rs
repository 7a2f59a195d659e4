//! Rankings of a venue's markets, and the rule by which a feed follows them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::bail;
use marketprism_adapter_host::contract::{Decimal, Instrument, MAX_SCALE, Ranked};

use super::parts::{InstrumentKey, RankedMarket, key_of};
use crate::config::{SymbolSelection, TopMarkets};

/// Markets of a feed by their rank.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FeedRanking {
    /// Of the values.
    pub currency: String,
    /// Those that are collected, best first.
    pub chosen: Vec<RankedMarket>,
    /// Listed and selected by a pattern, but too far behind, or without a place.
    pub outranked: BTreeSet<InstrumentKey>,
    /// Symbols without a place: their values are in other currencies.
    pub unranked: Vec<String>,
}

/// Leaves the best markets in `instruments`, and those that the selection names. Markets with values in another currency than that of most
/// collected ones (at first, of most candidates) have no place. A collected market that the list lacks keeps its own: one partial list lets no
/// other enter.
pub fn rank(
    instruments: &mut Vec<Instrument>,
    rows: &[Ranked],
    (selection, top): (&SymbolSelection, TopMarkets),
    collected: &BTreeSet<InstrumentKey>,
) -> anyhow::Result<FeedRanking> {
    let rows: HashMap<&str, &Ranked> = rows.iter().map(|row| (row.venue_symbol.as_str(), row)).collect();
    let (mut candidates, mut unranked) = (Vec::new(), Vec::new());
    let currency = currency_of(instruments, &rows, selection, collected);
    for instrument in instruments.iter().filter(|one| selection.matches_any(&one.symbol)) {
        let row = rows.get(instrument.venue_symbol.as_str());
        match row {
            Some(row) if in_currency(row, instrument) != currency => unranked.push(key_of(instrument)),
            row => candidates.push((key_of(instrument), row.map(|row| row.value))),
        }
    }
    let missing = candidates.iter().filter(|(_, value)| value.is_none()).count();
    if missing * 2 > candidates.len() {
        bail!(
            "implausible ranking of the venue: {missing} of {} selected markets are not in it (allowed: at most half)",
            candidates.len()
        );
    }
    candidates.sort_by(|(one, value), (other, other_value)| {
        (Reverse(value.map(at_one_scale)), one).cmp(&(Reverse(other_value.map(at_one_scale)), other))
    });
    let listed: BTreeSet<InstrumentKey> = instruments.iter().map(key_of).collect();
    let is_missed = |key: &&InstrumentKey| {
        selection.matches_any(&key.0) && !selection.names().contains(&key.0) && !listed.contains(*key)
    };
    let count = top.count.saturating_sub(collected.iter().filter(is_missed).count());
    let order: Vec<bool> = candidates.iter().map(|(key, _)| collected.contains(key)).collect();
    let places = choose(&order, count, margin_of(top.count));
    unranked.retain(|(symbol, _)| !selection.names().contains(symbol));
    let mut ranking = FeedRanking {
        currency,
        unranked: unranked.iter().map(|(symbol, _)| symbol.clone()).collect(),
        outranked: unranked.into_iter().collect(),
        ..FeedRanking::default()
    };
    for (place, (key, value)) in candidates.into_iter().enumerate() {
        if places.contains(&place) {
            ranking.chosen.push(RankedMarket { key, rank: place + 1, value });
        } else if !selection.names().contains(&key.0) {
            ranking.outranked.insert(key);
        }
    }
    instruments.retain(|one| !ranking.outranked.contains(&key_of(one)));
    Ok(ranking)
}

fn in_currency<'a>(row: &'a Ranked, instrument: &'a Instrument) -> &'a str {
    row.currency.as_deref().unwrap_or(&instrument.quote)
}

/// The currency of most collected markets, then of most listed ones.
fn currency_of(
    instruments: &[Instrument],
    rows: &HashMap<&str, &Ranked>,
    selection: &SymbolSelection,
    collected: &BTreeSet<InstrumentKey>,
) -> String {
    let mut markets: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for instrument in instruments.iter().filter(|one| selection.matches_any(&one.symbol)) {
        if let Some(row) = rows.get(instrument.venue_symbol.as_str()) {
            let (held, listed) = markets.entry(in_currency(row, instrument)).or_default();
            *held += usize::from(collected.contains(&key_of(instrument)));
            *listed += 1;
        }
    }
    // Among equals the first by name.
    let most = markets.into_iter().rev().max_by_key(|(_, counts)| *counts);
    most.map(|(currency, _)| currency.to_owned()).unwrap_or_default()
}

fn at_one_scale(number: Decimal) -> i128 {
    i128::from(number.mantissa) * 10_i128.pow(MAX_SCALE.saturating_sub(number.scale).into())
}

/// A tenth of the count, at least one place.
fn margin_of(count: usize) -> usize {
    (count / 10).max(1)
}

/// Places, from 0 on, of the markets to collect; `is_collected` by place. A market
/// enters once it is ahead of the last place by the margin, and leaves once it is behind it by more than that; then the number is kept:
/// the worst that are collected leave, or the best others enter. Neighbours that change places change nothing.
fn choose(is_collected: &[bool], count: usize, margin: usize) -> BTreeSet<usize> {
    let stays = |place: &usize| {
        let collected = is_collected.get(*place).copied().unwrap_or_default();
        *place < count.saturating_sub(margin) || (collected && *place < count + margin)
    };
    let all = 0..is_collected.len();
    let mut chosen: BTreeSet<usize> = all.clone().filter(stays).take(count).collect();
    for place in all {
        if chosen.len() >= count {
            break;
        }
        chosen.insert(place);
    }
    chosen
}

impl FeedRanking {
    /// The rank of each collected market.
    pub fn ranks(&self) -> BTreeMap<&InstrumentKey, usize> {
        self.chosen.iter().map(|market| (&market.key, market.rank)).collect()
    }
}

#[cfg(test)]
mod tests {
    use marketprism_schema::MarketType;

    use super::*;
    use crate::config::RankingMeasure;
    use crate::feed::fixtures::spot;

    fn places(is_collected: &[bool], count: usize) -> Vec<usize> {
        choose(is_collected, count, margin_of(count)).into_iter().map(|place| place + 1).collect()
    }

    fn collected(ranks: &[usize], markets: usize) -> Vec<bool> {
        (1..=markets).map(|rank| ranks.contains(&rank)).collect()
    }

    #[test]
    fn neighbours_at_the_edge_of_the_ranking_change_nothing_and_leaders_enter_at_once() {
        let first: Vec<usize> = (1..=50).collect();
        assert_eq!(places(&collected(&[], 80), 50), first, "at the start");
        let swapped: Vec<usize> = (1..=49).chain([51]).collect();
        assert_eq!(places(&collected(&swapped, 80), 50), swapped, "51 stays, 50 does not enter");
        let last: Vec<usize> = (1..=49).chain([55]).collect();
        assert_eq!(places(&collected(&last, 80), 50), last);
        let fell: Vec<usize> = (1..=49).chain([56]).collect();
        assert_eq!(places(&collected(&fell, 80), 50), first, "56 leaves, and 50 takes its place");
        let but_a_leader: Vec<usize> = (1..=51).filter(|rank| *rank != 45).collect();
        assert_eq!(places(&collected(&but_a_leader, 80), 50), first, "45 enters, the last one leaves");
        let but_46: Vec<usize> = (1..=51).filter(|rank| *rank != 46).collect();
        assert_eq!(places(&collected(&but_46, 80), 50), but_46, "46 does not enter while nobody leaves");
    }

    #[test]
    fn the_number_is_kept_through_any_history_and_no_market_flaps() {
        for seed in 0..200_u64 {
            let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            let mut next = move |below: usize| {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                usize::try_from(random % below as u64).unwrap()
            };
            let (count, markets) = (1 + next(30), 1 + next(60));
            let mut order: Vec<usize> = (0..markets).collect();
            let mut held: BTreeSet<usize> = BTreeSet::new();
            for round in 0..50 {
                // Neighbours change places; sometimes one leaps.
                let place = next(markets.max(2) - 1);
                if place + 1 < markets {
                    order.swap(place, place + 1);
                }
                if next(10) == 0 {
                    order.rotate_left(next(markets));
                }
                let is_collected: Vec<bool> = order.iter().map(|market| held.contains(market)).collect();
                let now: BTreeSet<usize> =
                    choose(&is_collected, count, margin_of(count)).into_iter().map(|at| order[at]).collect();
                assert_eq!(now.len(), count.min(markets), "seed {seed}, round {round}");
                let again: Vec<bool> = order.iter().map(|market| now.contains(market)).collect();
                let again: BTreeSet<usize> =
                    choose(&again, count, margin_of(count)).into_iter().map(|at| order[at]).collect();
                assert_eq!(again, now, "the same ranking changes nothing: seed {seed}, round {round}");
                held = now;
            }
        }
    }

    fn row(venue_symbol: &str, mantissa: i64, scale: u8) -> Ranked {
        Ranked { venue_symbol: venue_symbol.to_owned(), value: Decimal { mantissa, scale }, currency: None }
    }

    fn ranked(
        symbols: &[&str],
        rows: &[Ranked],
        selected: &[&str],
        count: usize,
    ) -> Result<(Vec<String>, FeedRanking), String> {
        ranked_with_named(&[], symbols, rows, selected, count)
    }

    fn ranked_with_named(
        collected: &[&str],
        symbols: &[&str],
        rows: &[Ranked],
        selected: &[&str],
        count: usize,
    ) -> Result<(Vec<String>, FeedRanking), String> {
        let collected = collected.iter().map(|symbol| ((*symbol).to_owned(), MarketType::Spot)).collect();
        let selected: Vec<String> = selected.iter().map(|&symbol| symbol.to_owned()).collect();
        let top = TopMarkets { by: RankingMeasure::Volume24h, count };
        let selection = SymbolSelection::new(&selected, &["X*".to_owned()]).with_top(Some(top));
        let mut instruments = symbols.iter().map(|symbol| spot(symbol)).collect();
        let ranking = rank(&mut instruments, rows, (&selection, top), &collected);
        let left = instruments.into_iter().map(|one| one.symbol).collect();
        ranking.map(|ranking| (left, ranking)).map_err(|error| error.to_string())
    }

    #[test]
    fn the_best_of_the_selected_markets_stay_in_addition_to_named_ones() {
        // 1,500.5; 1,500.49; none; the excluded one is the greatest.
        let rows = [row("AUSDT", 15_005, 1), row("BUSDT", 150_049, 2), row("XUSDT", i64::MAX, 0)];
        let listed = ["C-USDT", "B-USDT", "A-USDT", "X-USDT", "N-EUR"];
        let (left, ranking) = ranked(&listed, &rows, &["*-USDT", "X-USDT", "N-EUR"], 1).unwrap();
        assert_eq!(left, ["A-USDT", "X-USDT", "N-EUR"]);
        let key = |symbol: &str| (symbol.to_owned(), MarketType::Spot);
        assert_eq!(ranking.outranked, [key("B-USDT"), key("C-USDT")].into());
        assert_eq!((ranking.currency.as_str(), ranking.ranks()), ("USDT", [(&key("A-USDT"), 1)].into()));
        let (left, ranking) = ranked(&listed, &rows, &["*-USDT"], 3).unwrap();
        assert_eq!(left, ["C-USDT", "B-USDT", "A-USDT", "X-USDT", "N-EUR"], "nobody is outranked");
        assert_eq!(ranking.chosen.iter().map(|one| one.rank).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(ranking.chosen[2].value, None, "what the ranking lacks is last");
    }

    /// A venue lists a market of a feed that is ranked in USDT for another quote currency.
    #[test]
    fn a_market_with_its_volume_in_another_currency_has_no_place_and_ends_no_ranking() {
        let rows = [row("AUSDT", 1, 0), row("BEUR", 9, 0), row("CEUR", 8, 0)];
        let listed = ["A-USDT", "B-EUR", "C-EUR"];
        let (left, ranking) = ranked_with_named(&["A-USDT"], &listed, &rows, &["*", "C-EUR"], 2).unwrap();
        assert_eq!(left, ["A-USDT", "C-EUR"], "the named one is collected besides");
        assert_eq!((ranking.currency.as_str(), ranking.unranked), ("USDT", vec!["B-EUR".to_owned()]));
        let (left, ranking) = ranked(&listed, &rows, &["*"], 2).unwrap();
        assert_eq!(
            (left, ranking.unranked),
            (vec!["B-EUR".to_owned(), "C-EUR".to_owned()], vec!["A-USDT".to_owned()])
        );
        let in_usd = rows.map(|row| Ranked { currency: Some("USD".to_owned()), ..row });
        assert_eq!(ranked(&["A-USDT", "B-EUR"], &in_usd, &["*"], 1).unwrap().0, ["B-EUR"]);
    }

    #[test]
    fn a_ranking_without_most_markets_is_refused() {
        let rows = [row("AUSDT", 1, 0)];
        let error = ranked(&["A-USDT", "B-USDT", "C-USDT"], &rows, &["*"], 1).unwrap_err();
        assert!(error.contains("2 of 3 selected markets"), "{error}");
    }

    /// During maintenance a venue lists a part of its markets.
    #[test]
    fn a_list_without_collected_markets_lets_no_other_enter() {
        let rows = ["A", "B", "C", "D", "E"].map(|base| row(&format!("{base}USDT"), 9, 0));
        let (left, _) =
            ranked_with_named(&["A-USDT", "B-USDT"], &["B-USDT", "C-USDT", "D-USDT"], &rows, &["*"], 2)
                .unwrap();
        assert_eq!(left, ["B-USDT"]);
        let (left, _) =
            ranked_with_named(&["B-USDT"], &["B-USDT", "C-USDT", "D-USDT"], &rows, &["*"], 2).unwrap();
        assert_eq!(left, ["B-USDT", "C-USDT"], "once it is delisted, its place is free");
    }
}
