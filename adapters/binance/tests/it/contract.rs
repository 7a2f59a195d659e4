use crate::{feed, open, records};
use marketprism_adapter_binance::Binance;
use marketprism_adapter_sdk::testkit::{OwnedFrame, answers, remarks};
use marketprism_adapter_sdk::{Adapter, DataType, Feed, Ignored, MarketType, Payload, Refusal, Remark, log};

fn instruments(feed: &Feed) -> Result<Vec<String>, Refusal> {
    let found = Binance::instruments(feed, answers([&records(&feed.exchange)[0].data]))?;
    Ok(found.into_iter().map(|instrument| instrument.symbol).collect())
}

#[test]
fn symbols_come_from_the_list_or_are_refused() {
    let spot = |symbols: &[&str]| instruments(&feed("binance_spot", symbols));
    assert_eq!(spot(&["NKN-USDT", "BTC-FDUSD", "NKN-USDT"]).unwrap(), ["BTC-FDUSD", "NKN-USDT"]);
    let refusal = spot(&["BTC-USDT", "BTCFD-USD", "btcusdt"]).unwrap_err();
    assert_eq!((refusal.field.as_str(), refusal.value.as_str()), ("symbols", "BTCFD-USD, btcusdt"));
    assert!(
        refusal.allowed.contains("BTC-FDUSD") && refusal.allowed.contains("BTC-USDT"),
        "{}",
        refusal.allowed
    );
    log::captured();
    assert_eq!(spot(&["1000SATS-FDUSD"]).unwrap(), ["1000SATS-FDUSD"]);
    assert!(log::captured()[0].1.contains("not trading"), "a named symbol that does not trade is logged");
    let mut futures = feed("binance_derivatives", &[]);
    (futures.market_types, futures.data_types) = (vec![MarketType::Futures], vec![DataType::Trade]);
    assert_eq!(instruments(&futures).unwrap(), ["BTC-USDT-260327"], "one that is delivered only when named");
    futures.symbols = vec!["BTC-USDT-260626".to_owned()];
    assert_eq!(instruments(&futures).unwrap(), ["BTC-USDT-260626"]);
    let refusal = instruments(&feed("binance_derivatives", &["BTC-USDT-260327", "ODD-USDT"])).unwrap_err();
    assert_eq!(refusal.value, "ODD-USDT", "a contract of unknown kind is not guessed");
    for body in [
        "",
        "{}",
        "<html>",
        "{\"symbols\":[{\"symbol\":\"A\"",
        "{\"symbols\":{}}",
        "{\"code\":-1,\"msg\":\"x\"}",
    ] {
        let refusal = Binance::instruments(&feed("binance_spot", &[]), answers([body])).unwrap_err();
        assert_eq!(refusal.field, "instruments", "{body}");
    }
}

#[test]
fn an_odd_row_is_left_out_and_an_error_only_where_it_was_asked_for() {
    let row = |name: &str, base: &str, places: &str, tick: &str, step: &str| {
        format!(
            r#"{{"symbol":"{name}USDT","status":"TRADING","baseAsset":{base},"quoteAsset":"USDT","quotePrecision":{places},"filters":[{{"filterType":"PRICE_FILTER","tickSize":{tick}}},{{"filterType":"LOT_SIZE","stepSize":{step}}}]}}"#
        )
    };
    let good = row("KAITO", r#""KAITO""#, "8", r#""0.0001""#, r#""0.1""#);
    for (odd, found) in [
        (row("ODD", "null", "8", r#""0.1""#, r#""0.1""#), "null"),
        (row("ODD", r#""ODD""#, "8", r#""0.1""#, "null"), "null"),
        (
            row("ODD", r#""ODD""#, "8", r#""0.0000000000000000000100""#, r#""0.1""#),
            r#""0.0000000000000000000100""#,
        ),
        (row("ODD", r#""ODD""#, "24", r#""0.1""#, r#""0.1""#), "24"),
    ] {
        let body = format!(r#"{{"symbols":[{odd},{good}]}}"#);
        let listed =
            |symbols: &[&str]| Binance::instruments(&feed("binance_spot", symbols), answers([&body]));
        log::captured();
        assert_eq!(listed(&["KAITO-USDT"]).unwrap().len(), 1, "{odd}");
        let lines = log::captured();
        assert!(
            lines[0].1.contains(&format!(
                "1 listed instruments left out, since they cannot be read: ODDUSDT (found `{found}`"
            )),
            "{lines:?}"
        );
        let refusal = listed(&["ODD-USDT"]).unwrap_err();
        assert!(refusal.allowed.contains("listed, but not readable: ODDUSDT"), "{}", refusal.allowed);
    }
}

#[test]
fn frames_outside_the_feed_are_ignored_by_reason() {
    let mut only_trades = feed("binance_spot", &["NKN-USDT"]);
    only_trades.data_types = vec![DataType::Trade];
    let mut session = open(&only_trades);
    let trade = r#"{"e":"trade","E":1,"s":"SYMBOL","t":1,"p":"1.0","q":"1.0","T":1,"m":true,"M":true}"#;
    let depth = r#"{"e":"depthUpdate","E":1,"s":"SYMBOL","U":1,"u":1,"b":[],"a":[]}"#;
    let texts = [
        trade.replace("SYMBOL", "NKNUSDT"),
        trade.replace("SYMBOL", "BTCUSDT"),
        depth.replace("SYMBOL", "NKNUSDT"),
    ];
    let frames = texts.map(|text| OwnedFrame::new(text, 0));
    let normalized = session.normalize(&frames, 64);
    assert!(matches!(&normalized.events[0].payload, Payload::Trade(trade) if trade.instrument == 0));
    let expected = [Ignored::OtherInstrument, Ignored::OtherDataType].map(Remark::Ignored);
    assert_eq!(remarks(normalized), expected);
    let stray = OwnedFrame::new("{}", 99);
    assert!(matches!(session.normalize(&[stray], 1).notes[0].remark, Remark::Malformed(_)));
}

#[test]
fn funding_intervals_come_from_the_venues_list() {
    let feed = feed("binance_derivatives", &["1000PEPE-USDT", "BTC-USDT"]);
    let price = |symbol: &str| {
        let text = format!(
            r#"{{"e":"markPriceUpdate","E":1,"s":"{symbol}","p":"1","i":"1","r":"0.0001","T":28800000,"st":1}}"#
        );
        OwnedFrame::new(text, 0)
    };
    let plan = open(&feed).plan;
    let reference: Vec<usize> = (0..plan.polls.len()).filter(|at| plan.polls[*at].reference).collect();
    let [list] = reference[..] else { panic!("one list for all symbols: {reference:?}") };
    assert_eq!((plan.polls[list].instrument, plan.polls[list].period_ms), (None, 300_000));
    assert!(plan.polls[list].request.url.ends_with("/fapi/v1/fundingInfo"));
    let source = (plan.connections.len() + list) as u32;
    let list = OwnedFrame::new(r#"[{"symbol":"1000PEPEUSDT","fundingIntervalHours":4}]"#, source);
    let frames = [price("BTCUSDT"), list, price("BTCUSDT"), price("1000PEPEUSDT")];
    for batch_size in [1, 4] {
        let normalized = open(&feed).normalize(&frames, batch_size);
        let hours: Vec<Option<u32>> = normalized
            .events
            .iter()
            .map(|event| match &event.payload {
                Payload::FundingRate(rate) => rate.interval_hours,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(hours, [None, Some(8), Some(4)]);
        assert_eq!(normalized.notes[0].remark, Remark::Ignored(Ignored::Reference));
    }
    // An empty list says nothing of intervals: before the first one nothing is known, later the one before counts.
    let empty = || OwnedFrame::new("[]", source);
    let frames = [empty(), price("1000PEPEUSDT"), frames[1].clone(), empty(), price("1000PEPEUSDT")];
    let normalized = open(&feed).normalize(&frames, 5);
    let hours = normalized.events.iter().map(|event| match &event.payload {
        Payload::FundingRate(rate) => rate.interval_hours,
        other => panic!("{other:?}"),
    });
    assert_eq!(hours.collect::<Vec<_>>(), [None, Some(4)]);
    // A row of a symbol that nobody asked for costs nothing, one of the feed's its own interval.
    for odd in [
        r#"{"symbol":"NEWUSDT","fundingIntervalHours":null}"#,
        r#"{"fundingIntervalHours":0,"symbol":"NEWUSDT"}"#,
        r#"{"symbol":"1000PEPEUSDT","fundingIntervalHours":null}"#,
        r#"{"fundingIntervalHours":"?","symbol":"1000PEPEUSDT"}"#,
    ] {
        let rows = format!(r#"[{odd},{{"symbol":"BTCUSDT","fundingIntervalHours":1}}]"#);
        let frames = [OwnedFrame::new(rows, source), price("BTCUSDT"), price("1000PEPEUSDT")];
        let normalized = open(&feed).normalize(&frames, 3);
        let hours: Vec<Option<u32>> = normalized
            .events
            .iter()
            .filter_map(|event| match &event.payload {
                Payload::FundingRate(rate) => Some(rate.interval_hours),
                _ => None,
            })
            .collect();
        assert_eq!(hours, [Some(1), Some(8).filter(|_| odd.contains("NEWUSDT"))], "{odd}");
        let is_named = normalized.notes.iter().any(|note| matches!(&note.remark, Remark::Malformed(_)));
        assert!(is_named, "{odd}");
    }
}
