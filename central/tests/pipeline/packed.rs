//! Several events in one message: each is stored once, however edges and journals group them.

use std::collections::HashSet;

use async_nats::HeaderMap;
use async_nats::jetstream::Context;
use marketprism_schema::{Body, Event, EventId, WireForm, split_packed_header};
use marketprism_tests::wait::eventually;

use crate::events::{heard_by, message, now_us, publish, publish_bytes, trade};
use crate::ingest::all_acknowledged;
use crate::sharing::Pair;
use crate::stack::Stack;

/// Publishes events of one edge in messages of so many, as an edge does; without ids as its journal does. Returns the number of messages.
pub async fn publish_packed(jetstream: &Context, events: &[Event<'_>], size: usize, has_ids: bool) -> u64 {
    let mut sent = 0;
    for group in events.chunks(size) {
        let (subject, _) = message(&group[0]);
        let mut payload = Vec::new();
        for event in group {
            let mut one = Vec::new();
            WireForm::Protobuf.encode(event, &mut one);
            let header = split_packed_header(&one).unwrap().0.len();
            payload.extend(one.drain(if payload.is_empty() { 0 } else { header }..));
        }
        let mut headers = HeaderMap::new();
        if has_ids {
            let id = EventId::of_message(group.iter().map(|event| event.header.event_id));
            headers.insert("Nats-Msg-Id", id.to_string());
        }
        publish_bytes(jetstream, &subject, headers, payload).await;
        sent += 1;
    }
    sent
}

/// Two edges of one venue group the same trades differently, a third one sends some alone, and a journal sends all of the first edge again
/// in other groups; the owner of the stream is killed meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn events_in_messages_of_several_are_stored_once_however_they_are_grouped() {
    const TRADES: u64 = 4_000;
    const ALONE: u64 = TRADES / 5;
    let Some(stack) = Stack::start().await else { return };
    let mut pair = Pair::start(&stack, "[batch]\nmax_age_ms = 100\ntrades = 500\n").await;
    let (jetstream, base) = (stack.jetstream().await, now_us());
    let first: Vec<_> = (0..TRADES).map(|n| trade(n, base)).collect();
    let second: Vec<_> = first.iter().cloned().map(|event| heard_by(event, "edge-two")).collect();
    let alone = first.iter().step_by(5).cloned().map(|event| heard_by(event, "edge-three"));
    let (one, two, ()) = tokio::join!(
        publish_packed(&jetstream, &first, 16, true),
        publish_packed(&jetstream, &second, 7, true),
        publish(&jetstream, alone),
    );
    stack.has_trades(1).await;
    pair.kill_holder_of("MARKET_DATA");
    // The same messages once more: the broker knows them by their ids.
    publish_packed(&jetstream, &first, 16, true).await;
    let again = publish_packed(&jetstream, &first, 11, false).await;
    let copies = 2 * TRADES + ALONE;
    eventually("each event of each message to be a row or a copy", || async {
        let (rows, found) = (stack.trades().await?, stack.copies().await?);
        assert!(rows <= TRADES && found <= copies, "{rows} rows, {found} copies");
        (rows == TRADES && found == copies).then_some(())
    })
    .await;
    all_acknowledged(&stack, "MARKET_DATA", one + two + ALONE + again).await;
    let messages = "SELECT uniqExact(stream_seq) FROM (SELECT stream_seq FROM marketprism_hot.trades UNION ALL \
                    SELECT stream_seq FROM marketprism_hot.copied_events)";
    assert_eq!(
        stack.number(messages).await,
        Some(one + two + ALONE + again),
        "rows have the sequence of their message"
    );
}

/// A false event among true ones, one that came before, and one that came before with another receive time.
#[tokio::test(flavor = "multi_thread")]
async fn a_false_event_takes_none_of_its_message_along() {
    let settings = "[batch]\nmax_age_ms = 50\n";
    let Some((stack, _central, jetstream)) = Stack::ready(settings).await else { return };
    let base = now_us();
    let mut events: Vec<_> = (0..10).map(|n| trade(n, base)).collect();
    if let Body::Trade(trade) = &mut events[4].body {
        trade.price.mantissa = -1;
    }
    events[4].header.event_id = EventId::of(&events[4]);
    let repeated = events[0].clone();
    let mut received_again = repeated.clone();
    received_again.header.received_at_ns += 1_000;
    events.extend([repeated, received_again]);
    publish_packed(&jetstream, &events, 12, true).await;
    stack.holds_once("trades", 9).await;
    // Without its acknowledgement it would come again; what has a dead letter is terminated.
    all_acknowledged(&stack, "MARKET_DATA", 1).await;
    let letters = "SELECT reason, hex(payload), content_type FROM marketprism_hot.dead_letters";
    let letters = stack.hot().query_raw(letters).fetch_all::<(String, String, String)>().await.unwrap();
    let [(reason, payload, content_type)] = &letters[..] else { panic!("{letters:?}") };
    assert!(reason.contains("allowed: above 0"), "{reason}");
    let byte = |at: usize| u8::from_str_radix(&payload[at..at + 2], 16).unwrap();
    let payload: Vec<u8> = (0..payload.len()).step_by(2).map(byte).collect();
    let form = WireForm::of_message(content_type, &payload).unwrap();
    assert_eq!(form.decode(&payload).unwrap(), events[4], "its own event only, as it came");
    assert_eq!(
        stack.copies().await,
        Some(1),
        "the audit of its edge counts a record with another receive time"
    );

    // Corrected by its sender, the event is stored with others that are known.
    if let Body::Trade(trade) = &mut events[4].body {
        trade.price.mantissa = 1;
    }
    events[4].header.event_id = EventId::of(&events[4]);
    publish_packed(&jetstream, &events[..10], 10, true).await;
    stack.holds_once("trades", 10).await;
    all_acknowledged(&stack, "MARKET_DATA", 2).await;
    let ids: HashSet<u128> = events.iter().map(|event| event.header.event_id.0).collect();
    let stored = "SELECT event_id FROM marketprism_hot.trades";
    let stored = stack.hot().query_raw(stored).fetch_all::<u128>().await.unwrap();
    assert_eq!(stored.into_iter().collect::<HashSet<u128>>(), ids);
}
