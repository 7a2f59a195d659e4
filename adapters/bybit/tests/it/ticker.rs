use crate::{feed, open};
use marketprism_adapter_bybit::Bybit;
use marketprism_adapter_sdk::testkit::{OwnedFrame, Session};
use marketprism_adapter_sdk::{Decimal, FundingRate, Ignored, Payload, Remark, decimal, log};

/// Receive time of the first frame, in milliseconds.
const BEGIN_MS: i64 = 1_765_531_356_452;

const HOUR_MS: i64 = 3_600_000;

fn session() -> Session<Bybit> {
    open(&feed("bybit_derivatives", &["BTC-USDT"]))
}

/// A message with a time `after_ms` of the begin.
fn ticker(kind: &str, after_ms: i64, fields: &str) -> OwnedFrame {
    let ts = BEGIN_MS + after_ms;
    let data = format!(r#"{{"symbol":"BTCUSDT",{fields}}}"#);
    OwnedFrame::new(format!(r#"{{"topic":"tickers.BTCUSDT","type":"{kind}","ts":{ts},"data":{data}}}"#), 0)
}

fn terms() -> String {
    let next = BEGIN_MS + HOUR_MS;
    format!(r#""nextFundingTime":"{next}","fundingIntervalHour":"8""#)
}

fn snapshot() -> OwnedFrame {
    ticker("snapshot", 0, &format!(r#""fundingRate":"0.0001","markPrice":"5","indexPrice":"6",{}"#, terms()))
}

fn rates(session: &mut Session<Bybit>, frames: &[OwnedFrame]) -> Vec<FundingRate> {
    let events = session.normalize(frames, 64).events.into_iter();
    let rates = events.map(|event| match event.payload {
        Payload::FundingRate(rate) => rate,
        other => panic!("{other:?}"),
    });
    rates.collect()
}

fn prices(rates: &[FundingRate]) -> Vec<String> {
    let price = |rate: &FundingRate| rate.mark_price.map(decimal::to_text).unwrap_or_default();
    rates.iter().map(price).collect()
}

/// It replaces one that faulted, is of another version, or corrects a span of time that begins later.
#[test]
fn an_instance_that_begins_behind_the_snapshot_gives_the_same_rate() {
    let mut new = session();
    let list = new.plan.polls.iter().position(|poll| poll.reference).unwrap();
    let source = u32::try_from(new.plan.connections.len() + list).unwrap();
    let row = format!(r#"{{"symbol":"BTCUSDT","fundingRate":"0.0009","markPrice":"8",{}}}"#, terms());
    let list = format!(r#"{{"retCode":0,"retMsg":"OK","result":{{"category":"linear","list":[{row}]}}}}"#);
    let list = OwnedFrame::new(list, source);
    let change = ticker("delta", 2, r#""fundingRate":"0.0002","markPrice":"7","indexPrice":"6""#);
    let running = rates(&mut session(), &[snapshot(), change.clone()]);
    let seen = rates(&mut new, &[list, change]);
    assert_eq!(seen.as_slice(), &running[1..], "the list itself is no event");
    assert_eq!(seen[0].interval_hours, Some(8));
    // The charge of the list has passed, and the list of after it has not come.
    let later = rates(&mut new, &[ticker("delta", HOUR_MS + 1, r#""fundingRate":"0.0003""#)]);
    assert_eq!((later[0].next_funding_time_us, later[0].interval_hours), (None, Some(8)));
}

#[test]
fn a_copy_on_the_slower_of_two_connections_is_no_other_rate() {
    let mut session = session();
    let change = ticker("delta", 20, r#""fundingRate":"0.0002""#);
    let price = ticker("delta", 50, r#""markPrice":"7""#);
    assert_eq!(prices(&rates(&mut session, &[snapshot(), change.clone(), price])), ["5", "5"]);
    let copy = session.normalize(&[change], 64);
    assert!(copy.events.is_empty(), "{:?}", copy.events);
    assert_eq!(copy.notes[0].remark, Remark::Ignored(Ignored::Repeated));
    // From before the snapshot, so that the other connection has not given it; and one that says something else.
    for (after_ms, rate) in [(-20, "0.0002"), (40, "0.0003")] {
        let older = ticker("delta", after_ms, &format!(r#""fundingRate":"{rate}""#));
        let older = rates(&mut session, &[older]);
        assert_eq!(older.len(), 1, "{after_ms}");
        let next_us = (BEGIN_MS + HOUR_MS) * 1000;
        assert_eq!((older[0].next_funding_time_us, older[0].interval_hours), (Some(next_us), Some(8)));
    }
    let next = ticker("delta", 60, &terms());
    assert_eq!(
        decimal::to_text(rates(&mut session, &[next])[0].rate),
        "0.0002",
        "older ones change no state"
    );
}

#[test]
fn a_late_ticker_takes_nothing_that_came_after_its_time() {
    let mut session = session();
    let rate = |after_ms: i64, rate: &str| ticker("delta", after_ms, &format!(r#""fundingRate":"{rate}""#));
    let price = ticker("delta", 50, r#""markPrice":"7""#);
    let late = rates(&mut session, &[snapshot(), price, rate(60, "0.0003"), rate(40, "0.0002")]).remove(2);
    let text = |price: Option<Decimal>| price.map(decimal::to_text);
    assert_eq!((text(late.mark_price), text(late.index_price)), (None, Some("6".to_owned())));
    let next_us = (BEGIN_MS + HOUR_MS) * 1000;
    assert_eq!((late.next_funding_time_us, late.interval_hours), (Some(next_us), Some(8)));
    // The only rate that is known came after it.
    let terms = session.normalize(&[ticker("delta", 45, r#""fundingIntervalHour":"4""#)], 64);
    assert!(terms.events.is_empty(), "{:?}", terms.events);
    let frames = [
        ticker("snapshot", 100, r#""singleOpenInterest":"10","singleOpenInterestValue":"100""#),
        ticker("delta", 150, r#""singleOpenInterest":"12","singleOpenInterestValue":"120""#),
        ticker("delta", 140, r#""singleOpenInterest":"11""#),
        ticker("delta", 130, r#""openInterest":"22""#),
    ];
    let seen = session.normalize(&frames, 64);
    let [_, _, late] = seen.events.as_slice() else { panic!("{:?}", seen.events) };
    let Payload::OpenInterest(late) = &late.payload else { panic!("{late:?}") };
    assert_eq!((text(late.base), text(late.value_usd)), (Some("11".to_owned()), None));
}

#[test]
fn a_time_of_the_future_or_a_clock_set_back_stops_no_ticker() {
    let mut session = session();
    let at = |after_ms: i64, frame: OwnedFrame| OwnedFrame { at: (BEGIN_MS + after_ms) * 1_000_000, ..frame };
    let price = |after_ms: i64, price: &str| ticker("delta", after_ms, &format!(r#""markPrice":"{price}""#));
    let rate = |after_ms: i64| ticker("delta", after_ms, r#""fundingRate":"0.0002""#);
    let future = ticker("delta", 1_000_000 * HOUR_MS, r#""lastPrice":"1""#);
    let frames = [snapshot(), future, at(6_000, price(6_000, "7")), at(6_100, rate(6_100))];
    assert_eq!(prices(&rates(&mut session, &frames)), ["5", "7"]);
    log::captured();
    let frames = [at(6_200, price(-120_000, "8")), at(6_300, rate(-119_900))];
    assert_eq!(prices(&rates(&mut session, &frames)), ["8"]);
    let lines: Vec<String> = log::captured().into_iter().map(|(_, line)| line).collect();
    assert!(lines.len() == 1 && lines[0].contains("`ts` went back by 126 s"), "{lines:?}");
    // What was known before the clock was set back is known to a late message too.
    let late = at(6_400, ticker("delta", -119_950, r#""fundingRate":"0.0009""#));
    let late = rates(&mut session, &[late]);
    assert_eq!(
        (prices(&late), late[0].index_price.map(decimal::to_text).as_deref()),
        (vec!["8".to_owned()], Some("6"))
    );
}
