//! What the adapter asks for, and what it refuses.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use marketprism_adapter_sdk::testkit::{self, Session};
use marketprism_adapter_sdk::{Adapter, Answer, DataType, Endpoint, Feed, Instrument, Refusal, ResyncAction};
use marketprism_adapter_template::Template;
use std::path::Path;

fn list() -> Vec<testkit::Record> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("frames");
    testkit::read(&folder.join("template_spot.instruments.jsonl")).unwrap()
}

fn whole() -> Feed {
    testkit::whole_feed::<Template>("template_spot").unwrap()
}

fn instruments(feed: &Feed) -> Result<Vec<Instrument>, Refusal> {
    Template::instruments(feed, vec![Answer { request: 0, body: list()[0].data.clone().into_bytes() }])
}

// Goal: what cannot be served is refused before anything is opened, by field and with what was meant. Method: a wrong value in
// each field that this adapter reads, and broken lists.
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
        let answers = vec![Answer { request: 0, body: body.as_bytes().to_vec() }];
        assert!(Template::instruments(&whole(), answers).is_err(), "{body}");
    }
}

// Goal: symbols choose instruments; one that is named but rests is served too. Method: named symbols against the list.
#[test]
fn the_feed_chooses_instruments() {
    let mut feed = whole();
    feed.symbols = vec!["OLD-USD".to_owned(), "BTC-USD".to_owned()];
    let chosen: Vec<String> = instruments(&feed).unwrap().into_iter().map(|one| one.symbol).collect();
    assert_eq!(chosen, ["BTC-USD", "OLD-USD"]);
}

// Goal: the plan keeps the venue's limits, and each book has its resync on its own connection. Method: 120 instruments at another
// address.
#[test]
fn plans_keep_the_venues_limits() {
    let mut feed = whole();
    feed.endpoints = vec![Endpoint { name: "ws".to_owned(), default_url: "ws://127.0.0.1:9/x".to_owned() }];
    let one = Session::<Template>::open(&feed, &list()).unwrap().instruments[0].clone();
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
