use crate::{answers, feed_of, many, open};
use marketprism_adapter_deribit::Deribit;
use marketprism_adapter_sdk::testkit::{OwnedFrame, Session};
use marketprism_adapter_sdk::{
    Adapter, Answer, Completeness, DataType, Delivery, Feed, Ignored, MarketType, Payload, Refusal, Remark,
    SequenceRule, SnapshotSource, log,
};

fn instruments(feed: &Feed) -> Result<Vec<String>, Refusal> {
    let found = Deribit::instruments(feed, answers())?;
    Ok(found.into_iter().map(|instrument| instrument.symbol).collect())
}

fn frame(text: &str, source: u32) -> OwnedFrame {
    OwnedFrame::new(text, source)
}

fn remarks(session: &mut Session<Deribit>, frames: &[OwnedFrame]) -> Vec<Remark> {
    marketprism_adapter_sdk::testkit::remarks(session.normalize(frames, 64))
}

#[test]
fn the_capability_matrix_is_honest() {
    let venue = Deribit::describe().venues.remove(0);
    let of = |data_type| venue.capabilities.iter().find(|one| one.data_type == data_type).unwrap();
    let book = of(DataType::Orderbook);
    assert_eq!((book.sequence, book.snapshot), (SequenceRule::Chained, SnapshotSource::InBand));
    assert!(of(DataType::Trade).contiguous_trade_ids);
    let forced = of(DataType::Liquidation);
    assert_eq!((forced.delivery, forced.completeness), (Delivery::Poll, Completeness::LowerBound));
    assert_eq!(forced.market_types, [MarketType::Perpetual, MarketType::Futures]);
    assert_eq!(of(DataType::FundingRate).market_types, [MarketType::Perpetual]);
    assert_eq!(of(DataType::VolatilityIndex).market_types, [MarketType::Options]);
    assert_eq!(venue.capabilities.len(), 6, "no long/short ratios");
}

#[test]
fn symbols_come_from_the_lists_or_are_refused() {
    let trades = |symbols: &[&str]| instruments(&feed_of(symbols, &[DataType::Trade]));
    assert_eq!(trades(&["BTC-USD", "BTC-USDC-261225"]).unwrap(), ["BTC-USD", "BTC-USDC-261225"]);
    assert_eq!(
        trades(&[]).unwrap(),
        ["ADA-USD", "BTC-USD", "BTC-USD-261205", "BTC-USD-261225", "BTC-USDC", "BTC-USDC-261225"]
            .into_iter()
            .chain(["DOGE-USDC", "ETH-USD"])
            .collect::<Vec<_>>()
    );
    let refusal = trades(&["BTC-USD", "BTC-USD-261225-100000-C", "ODD-USD"]).unwrap_err();
    assert_eq!(refusal.value, "BTC-USD-261225-100000-C, ODD-USD", "options were not asked for");
    let mut options = feed_of(&["BTC-USD-270105-90000-P", "MATIC-USDC-240309-1d02-C"], &[DataType::Trade]);
    options.market_types = vec![MarketType::Options];
    assert_eq!(instruments(&options).unwrap(), options.symbols);
    log::captured();
    assert_eq!(trades(&["OLD-USDC"]).unwrap(), ["OLD-USDC"]);
    let warned = |(_, line): &(log::Level, String)| line.contains("not trading");
    assert!(log::captured().iter().any(warned), "a symbol that was asked for but rests is logged");
    let twice: Vec<Answer> = answers().into_iter().chain(answers()).collect();
    let whole = Deribit::instruments(&feed_of(&[], &[DataType::Trade]), twice).unwrap();
    assert_eq!(whole.len(), 8, "lists that overlap");
    assert!(log::captured().iter().all(|(level, _)| *level != log::Level::Warn), "and nothing was left out");
    // Indices: by their own name, by an instrument of the coin, or all.
    let all = |symbols: &[&str]| instruments(&feed_of(symbols, &[])).unwrap();
    assert_eq!(all(&["BTC-USDC"]), ["BTC-USDC", "BTC"]);
    assert_eq!(all(&["DOGE-USDC", "ETH"]), ["DOGE-USDC", "ETH"]);
    assert!(all(&[]).ends_with(&["BTC".to_owned(), "ETH".to_owned()]));
    let volatility = |symbols: &[&str]| instruments(&feed_of(symbols, &[DataType::VolatilityIndex]));
    assert_eq!(volatility(&["ETH"]).unwrap(), ["ETH"]);
    assert_eq!(volatility(&["SOL"]).unwrap_err().value, "SOL");
    assert_eq!(trades(&["BTC"]).unwrap_err().value, "BTC", "an index has no trades");
    for body in
        ["", "{}", "<html>", "{\"result\":{}}", "{\"result\":[{\"kind\":\"future\"}]}", "{\"result\":[1]}"]
    {
        let answers = vec![Answer { request: 0, body: body.as_bytes().to_vec() }];
        let refusal = Deribit::instruments(&feed_of(&[], &[]), answers).unwrap_err();
        assert_eq!(refusal.field, "instruments", "{body}");
    }
    let busy = r#"{"jsonrpc":"2.0","error":{"message":"too_many_requests","code":10028}}"#;
    let answers = vec![Answer { request: 0, body: busy.as_bytes().to_vec() }];
    assert_eq!(Deribit::instruments(&feed_of(&[], &[]), answers).unwrap_err().value, "too_many_requests");
}

#[test]
fn only_needed_lists_are_asked_for() {
    let asked = |feed: &Feed, answers: &[Answer]| -> Vec<String> {
        let requests = Deribit::instrument_requests(feed, answers).unwrap();
        requests.into_iter().map(|request| request.url.split_once('?').unwrap().1.to_owned()).collect()
    };
    let (futures, options) = ("currency=any&kind=future", "currency=any&kind=option");
    assert_eq!(asked(&feed_of(&[], &[]), &[]), [futures]);
    let mut some = feed_of(&[], &[DataType::Trade]);
    assert_eq!(asked(&some, &[]), [futures]);
    assert!(asked(&some, &answers()[..1]).is_empty());
    some.market_types = vec![MarketType::Options];
    assert_eq!(asked(&some, &[]), [options]);
    some.market_types = vec![MarketType::Perpetual, MarketType::Options];
    assert_eq!(asked(&some, &[]), [futures, options]);
    assert!(asked(&feed_of(&[], &[DataType::VolatilityIndex]), &[]).is_empty());
    assert!(asked(&feed_of(&["BTC"], &[]), &[]).is_empty(), "an index alone");
}

#[test]
fn acknowledgements_are_compared_by_connection() {
    let instruments = many(250);
    let adapter = Deribit::load(feed_of(&[], &[DataType::Trade]), instruments.clone()).unwrap();
    let plan = adapter.plan().unwrap();
    let mut session = Session { adapter, instruments, plan };
    let channels: Vec<String> =
        (200..250).map(|number| format!("trades.A{number}-PERPETUAL.100ms")).collect();
    let ack = |channels: &[String]| {
        format!(r#"{{"jsonrpc":"2.0","id":100,"result":["{}"]}}"#, channels.join("\",\""))
    };
    let came = remarks(&mut session, &[frame(&ack(&channels), 1), frame(&ack(&channels[1..]), 1)]);
    assert_eq!(came[0], Remark::Ignored(Ignored::Acknowledgement));
    let Remark::VenueError(error) = &came[1] else { panic!("{came:?}") };
    assert!(error.text.contains("trades.A200-PERPETUAL.100ms"), "{}", error.text);
    assert!(matches!(remarks(&mut session, &[frame(&ack(&channels), 0)])[0], Remark::VenueError(_)));
}

const TRADE: &str = r#"{"jsonrpc":"2.0","method":"subscription","params":{"channel":"trades.X.100ms","data":[{"timestamp":1,"price":100.0,"amount":10.0,"direction":"buy","instrument_name":"X","trade_seq":5,"trade_id":"6"MARK}]}}"#;

fn trade(name: &str, mark: &str) -> OwnedFrame {
    frame(&TRADE.replace('X', name).replace("MARK", mark), 0)
}

#[test]
fn frames_outside_the_feed_are_ignored_by_reason() {
    let mut session = open(&feed_of(&["BTC-USD"], &[DataType::Trade]));
    let book = r#"{"jsonrpc":"2.0","method":"subscription","params":{"channel":"book.BTC-PERPETUAL.100ms","data":{}}}"#;
    let frames = [
        trade("BTC-PERPETUAL", ""),
        trade("ETH-PERPETUAL", ""),
        frame(book, 0),
        frame(&book.replace("book", "ticker"), 0),
        frame(&book.replace("book.BTC-PERPETUAL.100ms", "deribit_volatility_index.btc_usd"), 0),
    ];
    let normalized = session.normalize(&frames, 64);
    assert!(matches!(&normalized.events[..], [event] if matches!(event.payload, Payload::Trade(_))));
    let other = Remark::Ignored(Ignored::OtherDataType);
    let expected = [Remark::Ignored(Ignored::OtherInstrument), other.clone(), other.clone(), other];
    assert_eq!(normalized.notes.into_iter().map(|note| note.remark).collect::<Vec<_>>(), expected);
    assert!(matches!(remarks(&mut session, &[frame("{}", 99)])[0], Remark::Malformed(_)));
}

#[test]
fn a_forced_trade_is_told_once() {
    let socket = trade("BTC-PERPETUAL", r#","liquidation":"MT""#);
    let row = r#"{"timestamp":1,"price":100.0,"amount":10.0,"direction":"buy","instrument_name":"BTC-PERPETUAL","trade_seq":5,"liquidation":"MT"}"#;
    let request = format!(r#"{{"result":{{"trades":[{row}],"has_more":false}}}}"#);
    for data_types in [&[DataType::Trade, DataType::Liquidation][..], &[DataType::Liquidation]] {
        let plan = open(&feed_of(&["BTC-USD"], data_types)).plan;
        let request = frame(&request, u32::try_from(plan.connections.len()).unwrap());
        for order in [[&socket, &request], [&request, &socket]] {
            // Without a channel of trades there is no source for one.
            let order: Vec<OwnedFrame> = order
                .into_iter()
                .filter(|one| one.source != 0 || !plan.connections.is_empty() || *one == &request)
                .cloned()
                .collect();
            let mut session = open(&feed_of(&["BTC-USD"], data_types));
            let normalized = session.normalize(&order, 64);
            let forced =
                |event: &&marketprism_adapter_sdk::Event| matches!(event.payload, Payload::Liquidation(_));
            assert_eq!(normalized.events.iter().filter(forced).count(), 2, "both sides, once: {order:?}");
        }
    }
    let mut session = open(&feed_of(&["BTC-USD"], &[DataType::Liquidation, DataType::OpenInterest]));
    assert!(remarks(&mut session, std::slice::from_ref(&socket)).is_empty());
    assert_eq!(remarks(&mut session, &[socket]), [Remark::Ignored(Ignored::Repeated)]);
    let unmarked = trade("BTC-PERPETUAL", "");
    assert_eq!(remarks(&mut session, &[unmarked]), [Remark::Ignored(Ignored::OtherDataType)]);
}
