use crate::{feed, records};
use marketprism_adapter_bybit::Bybit;
use marketprism_adapter_sdk::testkit::{self, OwnedFrame, Session, answers};
use marketprism_adapter_sdk::{
    Adapter, DataType, Feed, Normalized, Payload, Remark, Side, TradeId, decimal, log,
};
use serde_json::{Value, json};

fn open(feed: &Feed) -> Result<Session<Bybit>, String> {
    Session::open(feed, &records(&feed.exchange))
}

fn normalize(feed: &Feed, texts: &[String]) -> Normalized {
    let frames: Vec<_> = texts.iter().map(|text| OwnedFrame::new(text, 0)).collect();
    open(feed).unwrap().normalize(&frames, 64)
}

#[test]
fn a_data_type_that_no_instrument_has_is_refused() {
    use DataType::{FundingRate, LsrAllAccount};
    let mut contracts = feed("bybit_derivatives", &["BTC-USDT-251226"]);
    contracts.data_types = vec![FundingRate];
    assert!(open(&contracts).unwrap_err().contains("funding_rate"), "a dated contract has no funding");
    contracts = feed("bybit_derivatives", &["BTC-USDC"]);
    contracts.data_types = vec![LsrAllAccount];
    assert!(open(&contracts).unwrap_err().contains("lsr_all_account"), "only for contracts in USDT");
    assert!(open(&feed("bybit_derivatives", &["BTCUSDT"])).unwrap_err().contains("BTC-USDT"));
}

#[test]
fn lists_are_read_page_by_page() {
    let contracts = feed("bybit_derivatives", &[]);
    let pages: Vec<String> = records("bybit_derivatives").into_iter().map(|record| record.data).collect();
    let asked = |bodies: &[&str]| -> Vec<String> {
        let requests = Bybit::instrument_requests(&contracts, &answers(bodies)).unwrap();
        requests.into_iter().map(|request| request.url).collect()
    };
    let list = "https://api.bybit.com/v5/market/instruments-info?category=linear&limit=1000";
    assert_eq!(asked(&[]), [list]);
    assert_eq!(asked(&[&pages[0]]), [format!("{list}&cursor=first%3DBTCUSDT%26last%3D1000PEPEUSDT")]);
    assert!(asked(&[&pages[0], &pages[1]]).is_empty());
    let empty = r#"{"retCode":0,"retMsg":"OK","result":{"list":[],"nextPageCursor":"again"}}"#;
    assert!(asked(&[&pages[0], empty]).is_empty());
    log::captured();
    let both = answers(&pages[..2]);
    assert_eq!(Bybit::instruments(&contracts, both).unwrap().len(), 6);
    let skipped: Vec<String> = log::captured().into_iter().map(|(_, line)| line).collect();
    assert!(skipped.iter().any(|line| line.contains("ODDUSDT")), "{skipped:?}");
    assert!(skipped.iter().any(|line| line.contains("NODAYUSDT")), "{skipped:?}");
    for broken in ["", "{}", "<html>", r#"{"retCode":10006,"retMsg":"Too many visits!","result":{}}"#] {
        let refusal = Bybit::instrument_requests(&contracts, &answers([broken])).unwrap_err();
        let is_told = refusal.value == "code 10006: Too many visits!";
        assert_eq!(is_told, broken.contains("10006"), "{refusal:?}");
    }
    let spot = Bybit::instrument_requests(&feed("bybit_spot", &[]), &[]).unwrap();
    assert!(spot[0].url.ends_with("?category=spot"));
}

#[test]
fn liquidated_longs_are_sales() {
    let contracts = feed("bybit_derivatives", &["BTC-USDT"]);
    let text = |side: &str| {
        let forced = format!(r#"{{"T":1,"s":"BTCUSDT","S":"{side}","v":"1","p":"2"}}"#);
        format!(r#"{{"topic":"allLiquidation.BTCUSDT","type":"snapshot","ts":1,"data":[{forced}]}}"#)
    };
    let normalized = normalize(&contracts, &[text("Buy"), text("Sell")]);
    let sides: Vec<Side> = normalized
        .events
        .iter()
        .map(|event| match &event.payload {
            Payload::Liquidation(forced) => forced.side,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(sides, [Side::Sell, Side::Buy]);
}

#[test]
fn liquidations_that_are_alike_in_a_message_are_not_copies_of_one() {
    let forced = r#"{"T":1739502302929,"s":"BTCUSDT","S":"Buy","v":"0.001","p":"95307.7"}"#;
    let text = format!(
        r#"{{"topic":"allLiquidation.BTCUSDT","type":"snapshot","ts":1739502303204,"data":[{}]}}"#,
        [forced, &forced.replace("0.001", "0.002"), forced].join(",")
    );
    let normalized = normalize(&feed("bybit_derivatives", &["BTC-USDT"]), &[text]);
    let ids = normalized.events.iter().map(|event| match &event.payload {
        Payload::Liquidation(forced) => forced.id.clone(),
        other => panic!("{other:?}"),
    });
    assert_eq!(ids.collect::<Vec<_>>(), [None, None, Some(TradeId::Number(1))]);
}

#[test]
fn changes_of_a_ticker_are_never_completed_by_guesses() {
    let contracts = feed("bybit_derivatives", &["BTC-USDT"]);
    let text = |kind: &str, ts: u32, fields: &str| {
        format!(
            r#"{{"topic":"tickers.BTCUSDT","type":"{kind}","data":{{"symbol":"BTCUSDT",{fields}}},"ts":{ts}}}"#
        )
    };
    let snapshot = text(
        "snapshot",
        1,
        r#""fundingRate":"0.0001","fundingIntervalHour":"8","singleOpenInterestValue":"5""#,
    );
    let change = text("delta", 2, r#""fundingRate":"0.0002","singleOpenInterest":"10""#);
    let said = |texts: &[String]| {
        let normalized = normalize(&contracts, texts);
        let last = &normalized.events[normalized.events.len() - 2..];
        let (Payload::FundingRate(rate), Payload::OpenInterest(interest)) =
            (&last[0].payload, &last[1].payload)
        else {
            panic!("{last:?}")
        };
        (rate.interval_hours, interest.value_usd.map(|value| value.mantissa))
    };
    assert_eq!(said(&[snapshot, change.clone()]), (Some(8), Some(5)));
    assert_eq!(said(&[change]), (None, None));
}

/// The receive time is of another clock, which may be ahead of the venue's.
#[test]
fn a_ticker_without_a_time_hides_no_later_one() {
    let contracts = feed("bybit_derivatives", &["BTC-USDT"]);
    let text = |kind: &str, ts: &str, fields: &str| {
        format!(r#"{{"topic":"tickers.BTCUSDT","type":"{kind}",{ts}"data":{{"symbol":"BTCUSDT",{fields}}}}}"#)
    };
    let texts = [
        text("snapshot", r#""ts":1,"#, r#""fundingRate":"0.0001","fundingIntervalHour":"8""#),
        text("delta", "", r#""fundingRate":"0.0002""#),
        text("delta", r#""ts":2,"#, r#""fundingRate":"0.0003""#),
    ];
    let frames = texts.map(|text| OwnedFrame::new(text, 0));
    let normalized = open(&contracts).unwrap().normalize(&frames, 64);
    let rates = normalized.events.iter().map(|event| match &event.payload {
        Payload::FundingRate(rate) => (rate.time_us, rate.interval_hours),
        other => panic!("{other:?}"),
    });
    assert_eq!(
        rates.collect::<Vec<_>>(),
        [(1_000, Some(8)), (1_765_531_356_452_000, Some(8)), (2_000, Some(8))]
    );
}

#[test]
fn open_interest_counts_one_side() {
    let contracts = feed("bybit_derivatives", &["BTC-USDT"]);
    let text = |kind: &str, ts: u32, fields: &str| {
        format!(
            r#"{{"topic":"tickers.BTCUSDT","type":"{kind}","ts":{ts},"data":{{"symbol":"BTCUSDT",{fields}}}}}"#
        )
    };
    let both = r#""openInterest":"2000.5","openInterestValue":"20005""#;
    let one = r#""singleOpenInterest":"1000.25","singleOpenInterestValue":"10002.5""#;
    let said = |texts: &[String]| -> Vec<_> {
        let events = normalize(&contracts, texts).events.into_iter();
        let values = events.map(|event| match event.payload {
            Payload::OpenInterest(interest) => [interest.base, interest.value_usd]
                .map(|number| number.map(decimal::to_text).unwrap_or_default()),
            other => panic!("{other:?}"),
        });
        values.collect()
    };
    let snapshot = text("snapshot", 1, &format!("{both},{one}"));
    assert_eq!(said(std::slice::from_ref(&snapshot)), [["1000.25", "10002.5"]]);
    for ts in [0, 2] {
        let change = text("delta", ts, r#""openInterest":"2000.7","openInterestValue":"20007""#);
        assert_eq!(said(&[snapshot.clone(), change]).len(), 1, "a change of the other fields alone");
    }
    let change = text("delta", 2, r#""openInterest":"2000.7""#);
    assert!(said(std::slice::from_ref(&change)).is_empty(), "one side may be known to others");
    let older = text("snapshot", 1, both);
    assert_eq!(said(&[older, change]), [["2000.5", "20005"], ["2000.7", "20005"]]);
    let price = text("delta", 2, r#""singleOpenInterestValue":"10003.5""#);
    assert_eq!(said(&[snapshot, price]).len(), 1, "the value follows the price");
    let unset = text("snapshot", 1, &format!(r#""fundingRate":null,{one}"#));
    assert_eq!(said(&[unset]), [["1000.25", "10002.5"]], "null is not set");
}

/// One wrong topic refuses its whole request: the venue says so with different words for spot and contracts.
#[test]
fn the_rest_of_a_refused_request_is_subscribed_again() {
    for (exchange, says) in [
        ("bybit_derivatives", "error:handler not found,topic:TOPIC"),
        ("bybit_spot", "Invalid symbol :[TOPIC]"),
    ] {
        let whole = testkit::whole_feed::<Bybit>(exchange).unwrap();
        let mut session = open(&whole).unwrap();
        let first: Value = serde_json::from_str(&session.plan.connections[0].on_open[0]).unwrap();
        let topics: Vec<&str> =
            first["args"].as_array().unwrap().iter().map(|t| t.as_str().unwrap()).collect();
        let mut said = |success: bool, text: &str| -> Vec<Vec<String>> {
            let answer = json!({"success": success, "ret_msg": text, "conn_id": "x", "req_id": "1", "op": "subscribe"});
            let normalized = session.normalize(&[OwnedFrame::new(answer.to_string(), 0)], 64);
            let replies = normalized.notes.into_iter().filter_map(|note| match note.remark {
                Remark::Reply(text) => Some(serde_json::from_str::<Value>(&text).unwrap()),
                _ => None,
            });
            let args = replies.map(|reply| {
                assert_eq!((&reply["op"], &reply["req_id"]), (&json!("subscribe"), &json!("1")));
                reply["args"].as_array().unwrap().iter().map(|t| t.as_str().unwrap().to_owned()).collect()
            });
            args.collect()
        };
        let refusal = |topic: &str| says.replace("TOPIC", topic);
        let without = |refused: &[&str]| -> Vec<Vec<String>> {
            vec![topics.iter().filter(|t| !refused.contains(t)).map(|t| (*t).to_owned()).collect()]
        };
        assert_eq!(said(false, &refusal(topics[1])), without(&[topics[1]]));
        assert_eq!(said(false, &refusal(topics[2])), without(&[topics[1], topics[2]]));
        assert!(said(true, "subscribe").is_empty());
        assert_eq!(said(false, &refusal(topics[2])), without(&[topics[2]]), "another connection later");
        assert!(said(false, &refusal("publicTrade.NOSUCH")).is_empty(), "no topic of the request");
        assert!(said(false, "args size >10").is_empty());
    }
}
