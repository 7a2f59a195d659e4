//! Terms of instruments on their way to central.

use marketprism_schema::{Decimal, DowntimeReason, InstrumentTerms, MarketType};

use super::setup::{SECOND, audited};

fn terms(symbol: &str, tick: i64) -> InstrumentTerms {
    InstrumentTerms {
        symbol: symbol.to_owned(),
        venue_symbol: symbol.to_owned(),
        market_type: MarketType::Spot,
        base: "A".to_owned(),
        quote: "B".to_owned(),
        contract_size: None,
        contract_value: None,
        price_scale: 1,
        quantity_scale: 0,
        tick_size: Some(Decimal { mantissa: tick, scale: 1 }),
        step_size: None,
        trading: true,
    }
}

#[test]
fn terms_are_reported_when_they_are_new_or_change_after_a_delisting_and_once_a_day() {
    let start = 1_000 * SECOND;
    let audited = audited(start);
    let auditor = &audited.auditor;
    // Of each message the symbols and the time.
    let reported = |instruments: &[InstrumentTerms], at_ns| {
        auditor.list_instruments("sim_spot", instruments.to_vec(), at_ns);
        let listings = auditor.take_listings().into_iter();
        let symbols =
            listings.flat_map(|listing| listing.listed.into_iter().map(move |one| (one, listing.at)));
        symbols.map(|(one, at)| (one.symbol, at)).collect::<Vec<_>>()
    };
    let both = [terms("A-B", 5), terms("C-D", 5)];
    let of = |symbol: &str, at_ns: i64| (symbol.to_owned(), at_ns);
    assert_eq!(reported(&both, start), [of("A-B", start), of("C-D", start)]);
    assert_eq!(reported(&both, start + 1), [], "nothing has changed");
    let changed = [terms("A-B", 1), terms("C-D", 5)];
    assert_eq!(reported(&changed, start + 2), [of("A-B", start + 2)], "the tick alone, with the same scale");
    auditor.end_streams(audited.feed, vec![audited.streams[1]], start + 3, DowntimeReason::Delisted);
    assert_eq!(reported(&changed[..1], start + 4), []);
    assert_eq!(reported(&changed, start + 5), [of("C-D", start + 5)], "listed again");
    let tomorrow = start + 86_400 * SECOND + 2;
    assert_eq!(reported(&changed, tomorrow), [of("A-B", tomorrow)], "C-D was reported later");
}
