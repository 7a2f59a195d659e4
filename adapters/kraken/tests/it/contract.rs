use crate::{open, records};
use marketprism_adapter_kraken::Kraken;
use marketprism_adapter_sdk::testkit::{OwnedFrame, answers, remarks};
use marketprism_adapter_sdk::{Adapter, Feed, Heartbeat, Instrument, Remark, ResyncAction, log};

fn feed(symbols: &[&str], depth: u32) -> Feed {
    Feed { depth, ..crate::feed("kraken_spot", symbols) }
}

#[test]
fn pairs_have_the_names_of_the_sockets() {
    let chosen = |symbols: &[&str]| {
        Kraken::instruments(&feed(symbols, 10), answers([&records("kraken_spot")[0].data]))
    };
    let named: Vec<(String, bool)> = chosen(&["BTC-USD", "OLD-USD", "DOGE-USD"])
        .unwrap()
        .into_iter()
        .map(|one| (one.venue_symbol, one.trading))
        .collect();
    let expected = [("BTC/USD", true), ("DOGE/USD", true), ("OLD/USD", false)];
    assert_eq!(named, expected.map(|(name, trading)| (name.to_owned(), trading)));
    assert_eq!(chosen(&["XBT-USD"]).unwrap_err().field, "symbols", "the sockets know no XBT");
    let body = r#"{"error":["EGeneral:Temporary lockout","EService:Busy"]}"#;
    let refused = Kraken::instruments(&feed(&[], 10), answers([body])).unwrap_err();
    assert_eq!(refused.value, "EGeneral:Temporary lockout, EService:Busy");
    // An empty result beside the error is no list: every pair would be taken for delisted.
    let beside = r#"{"error":["EService:Unavailable"],"result":{}}"#;
    for body in
        [beside, r#"{"error":["EGeneral:Temporary lockout"]}"#, r#"{"error":[],"result":[]}"#, "<html>"]
    {
        assert_eq!(
            Kraken::instruments(&feed(&[], 10), answers([body])).unwrap_err().field,
            "instruments",
            "{body}"
        );
    }
}

#[test]
fn a_pair_trades_unless_its_orders_are_not_matched_and_a_warning_is_no_refusal() {
    let list = records("kraken_spot")[0].data.replacen(r#""error":[]"#, r#""error":["WGeneral:Danger"]"#, 1);
    let states = [
        ("online", true),
        ("limit_only", true),
        ("reduce_only", true),
        ("post_only", false),
        ("cancel_only", false),
    ];
    for (state, trades) in states {
        let body = list.replace("online", state);
        let listed = Kraken::instruments(&feed(&["BTC-USD"], 10), answers([body.as_str()])).unwrap();
        assert_eq!(listed[0].trading, trades, "{state}");
    }
}

#[test]
fn a_pair_whose_name_no_symbol_can_hold_is_named() {
    let stock =
        r#"{"error":[],"result":{"BRK.BxUSD":{"wsname":"BRK.Bx/USD","pair_decimals":2,"lot_decimals":8}}}"#;
    let pairs = records("kraken_spot")[0].data.clone();
    log::captured();
    let listed = Kraken::instruments(&feed(&["BTC-USD"], 10), answers([pairs.as_str(), stock])).unwrap();
    assert_eq!(listed.len(), 1);
    let lines = log::captured();
    let named = lines.iter().find(|(_, line)| line.contains("BRK.Bx-USD"));
    assert!(
        matches!(named, Some((log::Level::Info, _))),
        "no warning, only the venue can change it: {lines:?}"
    );
}

/// They close what a connection missed.
#[test]
fn trades_are_asked_for_with_the_last_ones() {
    for connection in open(&feed(&["BTC-USD"], 10)).plan.connections {
        let is_trade = connection.name.starts_with("trade");
        let again = connection.streams.iter().flat_map(|stream| &stream.resubscribe);
        for text in connection.on_open.iter().chain(again) {
            let asks = text.contains(r#""channel":"trade","snapshot":true"#);
            assert_eq!(asks, is_trade && text.contains(r#""method":"subscribe""#), "{text}");
        }
    }
}

/// A hole may be the venue's own: `VENUE.md`.
#[test]
fn holes_in_trade_ids_are_not_claimed_to_be_losses() {
    let venue = Kraken::describe().venues.remove(0);
    assert!(venue.capabilities.iter().all(|one| !one.contiguous_trade_ids && !one.backfill));
}

#[test]
fn a_refusal_for_now_closes_a_connection_only_if_it_names_no_book_of_it() {
    let mut session = open(&feed(&["BTC-USD", "ETH-USD"], 10));
    let names: Vec<&str> = session.plan.connections.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["trade-1", "book-1"]);
    let book = session.instruments.iter().position(|one| one.symbol == "ETH-USD").unwrap();
    let closing = || Remark::Closing("EService:Busy".to_owned());
    for (source, symbol, expected) in [
        (1, r#","symbol":"ETH/USD""#, Remark::RestartBook(u32::try_from(book).unwrap())),
        (1, r#","symbol":"SOL/USD""#, closing()),
        (1, "", closing()),
        (0, r#","symbol":"ETH/USD""#, closing()),
    ] {
        let text = format!(r#"{{"error":"EService:Busy","method":"subscribe","success":false{symbol}}}"#);
        let notes = remarks(session.normalize(&[OwnedFrame::new(text, source)], 1));
        assert_eq!(notes[0], expected, "{source} {symbol}");
        assert!(matches!(notes[1..], [Remark::VenueError(_)]), "{notes:?}");
    }
}

#[test]
fn tokenised_stocks_have_a_list_of_their_own_that_may_be_refused() {
    let lists = records("kraken_spot");
    let requests = Kraken::instrument_requests(&feed(&[], 10), &[]).unwrap();
    let asked: Vec<&str> = requests.iter().map(|request| request.url.as_str()).collect();
    assert_eq!(asked, [lists[0].url.as_deref().unwrap(), lists[1].url.as_deref().unwrap()]);
    let (pairs, stocks) = (lists[0].data.as_str(), lists[1].data.as_str());
    let listed = |bodies: [&str; 2]| {
        let listed = Kraken::instruments(&feed(&[], 10), answers(bodies))?;
        let symbols: Vec<String> = listed.into_iter().map(|one| one.symbol).collect();
        Ok::<_, marketprism_adapter_sdk::Refusal>(
            ["BTC-USD", "AAPLx-USD"].map(|symbol| symbols.iter().filter(|one| *one == symbol).count()),
        )
    };
    assert_eq!(listed([pairs, stocks]).unwrap(), [1, 1]);
    assert_eq!(listed([pairs, pairs]).unwrap(), [1, 0], "lists may overlap");
    let unknown = r#"{"error":["EQuery:Invalid asset class"]}"#;
    for answer in [unknown, r#"{"error":["EGeneral:Invalid arguments"]}"#] {
        assert_eq!(listed([pairs, answer]).unwrap(), [1, 0], "{answer}");
    }
    // Another fault does not tell that the venue has no stocks: all would be taken for delisted.
    for refused in [r#"{"error":["EGeneral:Too many requests"]}"#, r#"{"error":[],"result":[]}"#, unknown] {
        let lists = if refused == unknown { [refused, stocks] } else { [pairs, refused] };
        assert_eq!(listed(lists).unwrap_err().field, "instruments", "{refused}");
    }
}

#[test]
fn books_have_the_smallest_depth_that_is_enough() {
    for (asked, subscribed) in [(1, 10), (10, 10), (11, 25), (100, 100), (101, 500), (1000, 1000)] {
        let plan = open(&feed(&["BTC-USD"], asked)).plan;
        assert_eq!(plan.resyncs[0].depth_limit, Some(subscribed), "{asked}");
        let ResyncAction::Resubscribe(again) = &plan.resyncs[0].action else { panic!("in-band") };
        assert!(again.messages.iter().all(|text| text.contains(&format!("\"depth\":{subscribed},"))));
        assert!(plan.connections[1].on_open[0].contains(&format!("\"depth\":{subscribed},")));
    }
    assert_eq!(Kraken::instrument_requests(&feed(&[], 1001), &[]).unwrap_err().field, "depth");
}

#[test]
fn messages_are_json_and_connections_share_the_pairs() {
    let feed = feed(&["BTC-USD"], 10);
    let one = open(&feed).instruments[0].clone();
    let many = (0..250).map(|number| Instrument { venue_symbol: format!("A{number}/USD"), ..one.clone() });
    let plan = Kraken::load(feed, many.collect()).unwrap().plan().unwrap();
    assert_eq!(
        plan.connections.iter().map(|one| one.streams.len()).collect::<Vec<_>>(),
        [100, 100, 50, 100, 100, 50]
    );
    for connection in &plan.connections {
        let asked = connection.streams.iter().flat_map(|stream| &stream.resubscribe);
        for text in connection.on_open.iter().chain(asked) {
            let value: serde_json::Value = serde_json::from_str(text).unwrap();
            assert!(value["params"]["symbol"].as_array().is_some_and(|symbols| symbols.len() <= 100));
        }
    }
    let connection_of = |index: usize| match &plan.resyncs[index].action {
        ResyncAction::Resubscribe(again) => again.connection,
        ResyncAction::Request(_) => panic!("in-band"),
    };
    assert_eq!([0, 99, 100, 249].map(connection_of), [3, 3, 4, 5]);
}

/// The venue's heartbeats come every second with any subscription, its pongs without one too.
#[test]
fn pongs_alone_keep_no_connection() {
    for connection in open(&feed(&["BTC-USD"], 10)).plan.connections {
        let Heartbeat::Text(ping) = connection.heartbeat else { panic!("{}", connection.name) };
        let (idle_ms, ping_ms) = (connection.idle_timeout_ms, ping.every_ms);
        assert!((5_000..ping_ms).contains(&idle_ms), "{}: {idle_ms} of {ping_ms} ms", connection.name);
    }
}
