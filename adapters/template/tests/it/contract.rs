use crate::{feed, open, records};
use marketprism_adapter_sdk::testkit::{answers, endpoint};
use marketprism_adapter_sdk::{Adapter, DataType, Feed, Instrument, Refusal, ResyncAction};
use marketprism_adapter_template::Template;

fn whole() -> Feed {
    feed("template_spot", &[])
}

fn instruments(feed: &Feed) -> Result<Vec<Instrument>, Refusal> {
    Template::instruments(feed, answers([&records("template_spot")[0].data]))
}

#[test]
fn what_cannot_be_served_is_refused() {
    let refused = |change: &dyn Fn(&mut Feed)| {
        let mut feed = whole();
        change(&mut feed);
        let refusal = instruments(&feed).unwrap_err();
        (refusal.field, refusal.allowed)
    };
    let (field, allowed) = refused(&|feed| feed.symbols = vec!["BTC-USD".to_owned(), "ETHUSD".to_owned()]);
    assert!(field == "symbols" && allowed.contains("ETH-USD"), "{allowed}");
    assert_eq!(refused(&|feed| feed.data_types.push(DataType::FundingRate)).0, "data_types");
    assert_eq!(refused(&|feed| feed.depth = 501).0, "depth");
    for body in ["", "{}", "<html>", r#"{"instruments":[]}"#, r#"{"instruments":[{"name":"A"}]}"#] {
        assert!(Template::instruments(&whole(), answers([body])).is_err(), "{body}");
    }
}

#[test]
fn the_feed_chooses_instruments() {
    let mut feed = whole();
    feed.symbols = vec!["OLD-USD".to_owned(), "BTC-USD".to_owned()];
    let chosen: Vec<String> = instruments(&feed).unwrap().into_iter().map(|one| one.symbol).collect();
    assert_eq!(chosen, ["BTC-USD", "OLD-USD"]);
}

#[test]
fn plans_keep_the_venues_limits() {
    let mut feed = whole();
    feed.endpoints = vec![endpoint("ws", "ws://127.0.0.1:9/x")];
    let one = open(&feed).instruments[0].clone();
    let many = (0..120).map(|number| Instrument { venue_symbol: format!("A{number}_USD"), ..one.clone() });
    let plan = Template::load(feed, many.collect()).unwrap().plan().unwrap();
    assert_eq!(plan.connections.iter().map(|one| one.streams.len()).collect::<Vec<_>>(), [100, 100, 40]);
    assert!(plan.connections.iter().all(|one| one.url == "ws://127.0.0.1:9/x/v1"));
    assert_eq!(plan.resyncs.len(), 120);
    for resync in &plan.resyncs {
        let ResyncAction::Resubscribe(again) = &resync.action else { panic!("in-band") };
        let streams = &plan.connections[again.connection as usize].streams;
        assert!(streams.iter().any(|stream| stream.instrument == Some(resync.instrument)
            && stream.data_type == DataType::Orderbook
            && stream.resubscribe == again.messages));
    }
}
