use crate::{open, records, without_options};
use marketprism_adapter_okx::Okx;
use marketprism_adapter_sdk::testkit::{OwnedFrame, Session, remarks};
use marketprism_adapter_sdk::{
    Adapter, Answer, DataType, Decimal, Feed, Ignored, Instrument, MarketType, Payload, Refusal, Remark, log,
};

/// The instruments of the feed from these answers, each with the position of its request.
fn listed(feed: &Feed, answers: &[(u32, &str)]) -> Result<Vec<Instrument>, Refusal> {
    let answer = |(request, body): &(u32, &str)| Answer { request: *request, body: body.as_bytes().to_vec() };
    Okx::instruments(feed, answers.iter().map(answer).collect())
}

#[test]
fn a_data_type_that_no_instrument_has_is_refused() {
    let mut named = without_options("okx_derivatives", &["BTC-USDT-260327"]);
    named.data_types = vec![DataType::FundingRate];
    let error = Session::<Okx>::open(&named, &records("okx_derivatives")).unwrap_err();
    assert!(error.contains("funding_rate"), "{error}");
}

#[test]
fn lists_are_requested_by_type_and_underlying() {
    let asked = |feed: &Feed, answers: &[(u32, &str)]| -> Vec<String> {
        let answer =
            |(request, body): &(u32, &str)| Answer { request: *request, body: body.as_bytes().to_vec() };
        let answers: Vec<Answer> = answers.iter().map(answer).collect();
        let requests = Okx::instrument_requests(feed, &answers).unwrap();
        let after = |url: &str| url.strip_prefix("https://www.okx.com/api/v5/public/").unwrap().to_owned();
        requests.iter().map(|request| after(&request.url)).collect()
    };
    let of = |market_types: &[MarketType], symbols: &[&str]| Feed {
        market_types: market_types.to_vec(),
        data_types: vec![DataType::Trade],
        ..without_options("okx_derivatives", symbols)
    };
    assert_eq!(asked(&without_options("okx_spot", &[]), &[]), ["instruments?instType=SPOT"]);
    assert!(asked(&without_options("okx_spot", &[]), &[(0, "{}")]).is_empty());
    let (swap, futures) = ("instruments?instType=SWAP", "instruments?instType=FUTURES");
    assert_eq!(asked(&of(&[], &[]), &[]), [swap, futures]);
    assert_eq!(asked(&of(&[MarketType::Perpetual], &[]), &[]), [swap, futures], "X-Perps are futures");
    assert_eq!(asked(&of(&[MarketType::Futures], &[]), &[]), [futures]);
    let options = of(&[MarketType::Futures, MarketType::Options], &[]);
    assert_eq!(asked(&options, &[]), [futures, "underlying?instType=OPTION"]);
    let named = r#"{"code":"0","data":[["SOL-USD","BTC-USD","A B&c"]],"msg":""}"#;
    let of_underlyings = asked(&options, &[(0, "{}"), (1, named)]);
    let options_of = |name: &str| format!("instruments?instType=OPTION&uly={name}");
    assert_eq!(of_underlyings, [options_of("A%20B%26c"), options_of("BTC-USD"), options_of("SOL-USD")]);
    assert!(asked(&options, &[(0, "{}"), (1, named), (2, "{}")]).is_empty());
    assert!(asked(&options, &[(0, "{}")]).is_empty(), "a recording may lack the list");
    let symbols = ["BTC-USD-251226-100000-C", "BTC-USD-251226-80000-P", "ETH-USD-260327"];
    let of_names = of(&[MarketType::Futures, MarketType::Options], &symbols);
    assert_eq!(asked(&of_names, &[]), [futures, "underlying?instType=OPTION"]);
    assert_eq!(asked(&of_names, &[(0, "{}"), (1, named)]), [options_of("BTC-USD")]);
    let unknown = of(&[MarketType::Options], &["OLD-USD-251226-1-C"]);
    assert!(
        asked(&unknown, &[(0, named)]).is_empty(),
        "the venue refuses an underlying that it does not know"
    );
    let refusal = Okx::instrument_requests(
        &options,
        &[Answer { request: 1, body: br#"{"code":"50013","data":[],"msg":"busy"}"#.to_vec() }],
    );
    assert_eq!(refusal.unwrap_err().value, "code 50013: busy");
}

/// Live since 2026-08: the families of SOL-USD and XAU-USD are SOL-USD_UM and XAU-USD_UM alone.
#[test]
fn an_underlying_without_readable_options_costs_only_its_own() {
    let row = |name: &str, tick: &str| {
        format!(
            r#"{{"instType":"OPTION","instId":"{name}","uly":"BTC-USD","ctVal":"1","ctMult":"0.01","ctValCcy":"BTC","optType":"C","stk":"61000","tickSz":"{tick}","lotSz":"1","state":"live"}}"#
        )
    };
    let (plain, in_dollars) = ("BTC-USD-260626-61000-C", "BTC-USD_UM-260626-61000-C");
    let rows = [row(in_dollars, "5"), row(plain, "0.0001")];
    let bitcoin = format!(r#"{{"code":"0","data":[{}],"msg":""}}"#, rows.join(","));
    let underlyings = r#"{"code":"0","data":[["SOL-USD","BTC-USD","XAU-USD"]],"msg":""}"#;
    let refused = r#"{"code":"51000","msg":"Parameter uly error","data":[]}"#;
    let (market_types, data_types) = (vec![MarketType::Options], vec![DataType::Trade]);
    let options = Feed { market_types, data_types, ..without_options("okx_derivatives", &[]) };
    log::captured();
    let found = listed(&options, &[(0, underlyings), (1, &bitcoin), (2, refused), (3, refused)]).unwrap();
    let names: Vec<&str> = found.iter().map(|one| one.venue_symbol.as_str()).collect();
    assert_eq!(names, [plain], "an option priced in dollars has the symbol of the one priced in coins");
    let warned = log::captured().into_iter().filter(|(level, _)| *level == log::Level::Warn);
    let warned: Vec<String> = warned.map(|(_, text)| text).collect();
    assert_eq!(warned.len(), 2, "{warned:?}");
    assert!(warned[0].contains("Parameter uly error"), "{warned:?}");
    let busy = r#"{"code":"50013","data":[],"msg":"busy"}"#;
    let failed = listed(&options, &[(0, underlyings), (1, &bitcoin), (2, busy)]);
    assert!(failed.is_err(), "options that cannot be read now are not delisted");
    assert!(listed(&options, &[(0, refused), (1, &bitcoin)]).is_err(), "the list of underlyings is needed");
}

#[test]
fn placeholders_of_instruments_to_come_are_ignored_without_a_warning() {
    let row = |name: &str, state: &str, tick: &str| {
        format!(
            r#"{{"instType":"SPOT","instId":"{name}","baseCcy":"A","quoteCcy":"USDT","tickSz":"{tick}","lotSz":"0.1","state":"{state}"}}"#
        )
    };
    let spot = without_options("okx_spot", &[]);
    let said = |rows: &[String]| {
        log::captured();
        let body = format!(r#"{{"code":"0","data":[{}],"msg":""}}"#, rows.join(","));
        let instruments = listed(&spot, &[(0, &body)]).unwrap();
        let warnings = log::captured().into_iter().filter(|(level, _)| *level == log::Level::Warn);
        (instruments.len(), warnings.map(|(_, text)| text).collect::<Vec<_>>())
    };
    let good = row("A-USDT", "live", "0.1");
    let placeholders =
        [good.clone(), row("LISTING-7", "preopen", "0.1"), row("", "live", ""), row("B-USDT", "test", "")];
    assert_eq!(said(&placeholders), (1, Vec::new()));
    let (count, warnings) = said(&[good, row("C-USDT", "live", "")]);
    assert_eq!((count, warnings.len()), (1, 1), "one that trades and cannot be read");
    assert!(warnings[0].contains("C-USDT"), "{warnings:?}");
}

#[test]
fn symbols_come_from_the_lists_or_are_refused() {
    let lists = records("okx_derivatives");
    let body = |index: usize| lists[index].data.as_str();
    let symbols = |feed: &Feed, answers: &[(u32, &str)]| -> Vec<String> {
        listed(feed, answers).unwrap().into_iter().map(|one| one.symbol).collect()
    };
    let two = without_options("okx_derivatives", &["BTC-USDT", "BTC-USDT-260327", "BTC-USDT"]);
    assert_eq!(symbols(&two, &[(0, body(0)), (1, body(1))]), ["BTC-USDT", "BTC-USDT-260327"]);
    let wrong = without_options("okx_derivatives", &["BTC-USDT", "btcusdt", "ODD-USDT"]);
    let refusal = listed(&wrong, &[(0, body(0)), (1, body(1))]).unwrap_err();
    assert_eq!((refusal.field.as_str(), refusal.value.as_str()), ("symbols", "btcusdt, ODD-USDT"));
    assert!(refusal.allowed.contains("BTC-USDT"), "{}", refusal.allowed);
    log::captured();
    assert_eq!(symbols(&without_options("okx_derivatives", &["LUNA-USDT"]), &[(0, body(0))]), ["LUNA-USDT"]);
    let said = log::captured();
    assert!(said[0].1.contains("ODD-USDT-SWAP"), "contracts of unknown size are logged: {said:?}");
    assert!(said[1].1.contains("not trading"), "a named symbol that does not trade is logged: {said:?}");
    let all = without_options("okx_derivatives", &[]);
    assert_eq!(symbols(&all, &[(1, body(1))]).len(), 6, "a list may be missing");
    assert_eq!(symbols(&all, &[(1, body(1)), (2, body(2))]).len(), 6, "a list of something else has none");
    let (market_types, data_types) = (vec![MarketType::Options], vec![DataType::Trade]);
    let options = Feed { market_types, data_types, ..all.clone() };
    assert_eq!(listed(&options, &[(0, body(2))]).unwrap_err().field, "symbols", "no list of options");
    let error = r#"{"code":"50011","data":[],"msg":"Too Many Requests"}"#;
    assert_eq!(listed(&all, &[(0, error)]).unwrap_err().value, "code 50011: Too Many Requests");
    for body in ["", "{}", "<html>", r#"{"code":"0"}"#, r#"{"code":"0","data":[{"instId""#] {
        assert_eq!(listed(&all, &[(0, body)]).unwrap_err().field, "instruments", "{body}");
    }
}

#[test]
fn one_name_has_one_instrument() {
    let row = |name: &str, kind: &str, contract: &str, state: &str| {
        let currency = if contract == "inverse" { "USD" } else { "BTC" };
        format!(
            r#"{{"instType":"{kind}","instId":"{name}","uly":"BTC-USD","ctType":"{contract}","ctVal":"100","ctMult":"1","ctValCcy":"{currency}","tickSz":"0.1","lotSz":"1","state":"{state}"}}"#
        )
    };
    for (state, expected) in [("live", "BTC-USD-SWAP"), ("suspend", "BTC-USD_UM_XPERP-310404")] {
        let rows = [
            row("BTC-USD_UM_XPERP-310404", "FUTURES", "linear", "live"),
            row("BTC-USD-SWAP", "SWAP", "inverse", state),
        ];
        let body = format!(r#"{{"code":"0","data":[{}],"msg":""}}"#, rows.join(","));
        log::captured();
        let found = listed(&without_options("okx_derivatives", &["BTC-USD"]), &[(0, &body)]).unwrap();
        let names: Vec<&str> = found.iter().map(|one| one.venue_symbol.as_str()).collect();
        assert_eq!(names, [expected]);
        assert!(log::captured()[0].1.contains("left out"));
    }
}

#[test]
fn instruments_without_one_contract_size_are_refused() {
    let derivatives = without_options("okx_derivatives", &[]);
    let swap = open(&derivatives).instruments.swap_remove(0);
    let some = |mantissa| Some(Decimal { mantissa, scale: 0 });
    for (contract_size, contract_value) in
        [(None, None), (some(1), some(1)), (some(-1), None), (None, some(0))]
    {
        let instrument = Instrument { contract_size, contract_value, ..swap.clone() };
        let refusal = Okx::load(derivatives.clone(), vec![instrument]).unwrap_err();
        assert_eq!(refusal.field, "instruments");
    }
    let spot = without_options("okx_spot", &[]);
    assert_eq!(Okx::load(spot, vec![swap]).unwrap_err().field, "instruments");
}

#[test]
fn frames_outside_the_feed_are_ignored_by_reason() {
    let mut only_trades = without_options("okx_spot", &["BTC-USDT"]);
    only_trades.data_types = vec![DataType::Trade];
    let mut session = open(&only_trades);
    let trade = r#"{"arg":{"channel":"trades","instId":"NAME"},"data":[{"instId":"NAME","tradeId":"1","px":"1","sz":"1","side":"buy","ts":"1"}]}"#;
    let book = r#"{"arg":{"channel":"books","instId":"BTC-USDT"},"action":"update","data":[{"asks":[],"bids":[],"ts":"1","prevSeqId":1,"seqId":1}]}"#;
    let texts = [trade.replace("NAME", "BTC-USDT"), trade.replace("NAME", "ETH-BTC"), book.to_owned()];
    let frames = texts.map(|text| OwnedFrame::new(text, 0));
    let normalized = session.normalize(&frames, 64);
    assert!(matches!(&normalized.events[0].payload, Payload::Trade(trade) if trade.instrument == 0));
    let expected = [Ignored::OtherInstrument, Ignored::OtherDataType].map(Remark::Ignored);
    assert_eq!(remarks(normalized), expected);
    let stray = OwnedFrame::new(r#"{"code":"0","data":[]}"#, 99);
    assert!(matches!(session.normalize(&[stray], 1).notes[0].remark, Remark::Malformed(_)));
}
