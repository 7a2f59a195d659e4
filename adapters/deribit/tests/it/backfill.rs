use crate::{feed_of, open};
use marketprism_adapter_sdk::testkit::OwnedFrame;
use marketprism_adapter_sdk::{Adapter, DataType, Payload, Remark, TradeRange};

const ROW: &str = r#"{"timestamp":1765531356452,"price":92294.5,"amount":10.0,"direction":"sell","index_price":92276.75,"instrument_name":"BTC-PERPETUAL","trade_seq":271252854,"mark_price":92287.11,"tick_direction":2,"contracts":1.0,"trade_id":"403691824"}"#;

#[test]
fn a_past_trade_is_that_of_the_channel_and_no_liquidation() {
    let mut session = open(&feed_of(&["BTC-USD"], &[]));
    let plan = &session.plan;
    let source = (plan.connections.len() + plan.polls.len() + plan.resyncs.len()) as u32;
    let live = format!(
        r#"{{"jsonrpc":"2.0","method":"subscription","params":{{"channel":"trades.BTC-PERPETUAL.100ms","data":[{ROW}]}}}}"#
    );
    let marked = ROW.replace("\"trade_id\"", "\"liquidation\":\"T\",\"trade_id\"");
    let past = format!(r#"{{"jsonrpc":"2.0","result":{{"trades":[{marked}],"has_more":false}}}}"#);
    let refused = r#"{"jsonrpc":"2.0","error":{"message":"too_many_requests","code":10028}}"#;
    let frames = [OwnedFrame::new(live, 0), OwnedFrame::new(past, source), OwnedFrame::new(refused, source)];
    let normalized = session.normalize(&frames, 16);
    let [live, past] = &normalized.events[..] else { panic!("{:?}", normalized.events) };
    assert!(matches!(live.payload, Payload::Trade(_)));
    assert_eq!(live.payload, past.payload);
    assert!(matches!(&normalized.notes[..], [note] if matches!(note.remark, Remark::VenueError(_))));
}

#[test]
fn past_trades_are_requested_by_their_sequence_at_most_a_thousand_a_page() {
    let session = open(&feed_of(&["BTC-USD"], &[DataType::Trade]));
    let asked = |first, last| {
        let request = session.adapter.backfill(TradeRange { instrument: 0, first, last }).unwrap();
        assert_eq!(
            (request.charges[0].budget.as_str(), request.charges[0].units),
            ("deribit_derivatives.requests", 500)
        );
        request.url
    };
    let url =
        "https://www.deribit.com/api/v2/public/get_last_trades_by_instrument?instrument_name=BTC-PERPETUAL";
    assert_eq!(asked(7, 9), format!("{url}&start_seq=7&end_seq=9&count=3&sorting=asc"));
    assert_eq!(asked(7, 90_000), format!("{url}&start_seq=7&end_seq=90000&count=1000&sorting=asc"));
    let indices = open(&feed_of(&["BTC"], &[DataType::VolatilityIndex]));
    let refusal = indices.adapter.backfill(TradeRange { instrument: 0, first: 1, last: 1 }).unwrap_err();
    assert_eq!((refusal.field.as_str(), refusal.value.as_str()), ("backfill", "btc_usd"));
}
